// Blocks in a directory that many hosts may share: `fs:/path?capacity=0&ttl=0`. One file a block, on any POSIX file
// system (NFS, Lustre, a local disk). The layout is docs/disk-format.md, the options are fs_options.h.
//
// Thread-safe, and safe beside any number of other processes: a file is written under a name of its own and then takes
// its place in one step, so a reader finds a whole block or none; whatever else it finds does not match its checksum.
// Every read verifies. Operations of a batch go on side by side; the deadline is kept between operations. Nothing runs
// in the background: whoever writes also tidies up, a little (census.h).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/env.h"
#include "base/stored_block.h"
#include "reprise/store.h"
#include "store/fs/census.h"
#include "store/fs/fs_options.h"
#include "store/fs/layout.h"
#include "store/fs/workers.h"

namespace reprise {

class FsStore final : public Store {
 public:
  /// What time it is, for ages of files; for any thread.
  using WallClock = std::function<WallTime()>;

  /// Fails with kConfig naming the option or the directory, kVersion when a newer version made the directory.
  [[nodiscard]] static Result<std::unique_ptr<Store>> open(std::string_view url);
  /// `env` outlives the store. Without a clock, the system's.
  [[nodiscard]] static Result<std::unique_ptr<FsStore>> open(const FsOptions& options, Env& env, WallClock clock = {});
  ~FsStore() override;

  [[nodiscard]] const StoreInfo& info() const override { return info_; }
  /// By name and age; fails with kIo when the file system does.
  [[nodiscard]] Result<void> contains(std::span<const BlockId> ids, std::span<bool> present,
                                      Deadline deadline) override;
  void read(std::span<ReadOp> ops, Deadline deadline) override;
  void write(std::span<WriteOp> ops, Deadline deadline) override;
  [[nodiscard]] Result<std::size_t> erase(std::span<const BlockId> ids, Deadline deadline) override;
  /// Nothing is left to do: what write() has returned is with the file system.
  [[nodiscard]] Result<void> flush(Deadline deadline) override;
  /// Blocks and bytes are what this process has written and not seen go; with capacity= or ttl=, about what is there.
  [[nodiscard]] TierStats stats() const override;

 private:
  FsStore(const FsOptions& options, Env& env, std::unique_ptr<Env> owned, WallClock clock);
  [[nodiscard]] static Result<std::unique_ptr<FsStore>> make(const FsOptions& options, Env& env,
                                                             std::unique_ptr<Env> owned, WallClock clock);
  [[nodiscard]] Result<void> start();
  [[nodiscard]] Result<void> claim_root();
  [[nodiscard]] IoResult<std::string> read_marker();
  [[nodiscard]] Result<void> make_marker();

  Reason read_one(ReadOp& op, Deadline deadline);
  Reason settle(ReadOp& op, const File& file, const std::string& path, Bytes header, bool whole);
  Reason lose(const BlockId& id, const std::string& path, std::uint64_t payload, Reason reason, std::string_view why);
  Reason write_one(const WriteOp& op, Deadline deadline);
  [[nodiscard]] IoResult<void> put_file(const WriteOp& op, const std::string& path, Deadline deadline);
  [[nodiscard]] IoResult<void> fill(const std::string& path, const WriteOp& op, Deadline deadline);
  /// Makes a directory under the root, but not the root itself.
  [[nodiscard]] IoResult<void> make_under_root(const std::string& path);
  void sweep();

  Reason trouble(const IoError& error);
  void mark_used(File& file, const BlockId& id);
  [[nodiscard]] std::uint64_t seconds() const;
  [[nodiscard]] bool expired(const FileInfo& info) const;
  [[nodiscard]] bool may_log();

  const FsOptions options_;
  const StoreInfo info_;
  const WallClock clock_;
  const fs::Layout layout_;
  const std::string writer_;
  std::unique_ptr<Env> owned_env_;  // when opened by URL
  Env& env_;
  std::unique_ptr<fs::Census> census_;
  std::unique_ptr<fs::Workers> workers_;
  std::atomic<std::uint64_t> next_temporary_{0};
  std::atomic<std::int64_t> next_sweep_{0};  // seconds since 1970
  std::atomic<std::uint64_t> hits_{0};
  std::atomic<std::uint64_t> read_bytes_{0};
  std::atomic<std::uint64_t> writes_{0};
  std::atomic<std::uint64_t> write_bytes_{0};
  std::atomic<std::uint64_t> expired_{0};
  std::atomic<std::uint64_t> corrupt_{0};
  std::atomic<std::uint64_t> foreign_{0};
  std::atomic<std::uint64_t> errors_{0};
  std::atomic<std::int64_t> next_line_{0};  // steady clock
  // Blocks marked as used within the last minute or so, as (part of the key, minute): a mark costs a round trip.
  std::array<std::atomic<std::uint64_t>, 4096> marked_{};
};

}  // namespace reprise
