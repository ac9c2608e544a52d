// Blocks on local disk: `disk:/path?capacity=10GiB`. The format is docs/disk-format.md, the options are disk_options.h.
//
// Thread-safe. Reads go straight into the caller's memory and are verified as they arrive; writes are grouped and
// gathered into a log of segments; the oldest segment makes room, and what was read of it lately moves on. Nothing runs
// in the background: the write that fills a segment also sees to the next one. Owns its directory for as long as it
// lives.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/env.h"
#include "reprise/store.h"
#include "store/disk/catalog.h"
#include "store/disk/disk_options.h"
#include "store/disk/group_writer.h"
#include "store/disk/segment_log.h"

namespace reprise {

class DiskStore final : public Store {
 public:
  /// Fails with kConfig naming the option, or kVersion naming the file.
  [[nodiscard]] static Result<std::unique_ptr<Store>> open(std::string_view url);
  /// `env` outlives the store; `options.io` is not looked at.
  [[nodiscard]] static Result<std::unique_ptr<DiskStore>> open(const DiskOptions& options, Env& env);
  ~DiskStore() override;

  [[nodiscard]] const StoreInfo& info() const override { return info_; }
  [[nodiscard]] Result<void> contains(std::span<const BlockId> ids, std::span<bool> present,
                                      Deadline deadline) override;
  void read(std::span<ReadOp> ops, Deadline deadline) override;
  void write(std::span<WriteOp> ops, Deadline deadline) override;
  [[nodiscard]] Result<std::size_t> erase(std::span<const BlockId> ids, Deadline deadline) override;
  /// Nothing is left to do: what write() has returned is with the kernel.
  [[nodiscard]] Result<void> flush(Deadline deadline) override;
  [[nodiscard]] TierStats stats() const override;

  /// Bytes of memory the index takes.
  [[nodiscard]] std::uint64_t index_bytes() const { return catalog_->memory_bytes(); }
  /// Highest sequence number of a segment this process has sealed; 0 for none.
  [[nodiscard]] std::uint64_t last_sealed() const { return log_->last_sealed(); }
  /// Segments that had to be scanned when the store was opened.
  [[nodiscard]] std::uint64_t scanned_at_open() const { return scanned_; }

 private:
  DiskStore(const DiskOptions& options, Env& env, std::unique_ptr<Env> owned);
  [[nodiscard]] static Result<std::unique_ptr<DiskStore>> make(const DiskOptions& options, Env& env,
                                                               std::unique_ptr<Env> owned);
  [[nodiscard]] Result<void> start();
  [[nodiscard]] Result<std::unique_ptr<File>> claim_directory();

  Reason settle(ReadOp& op, const disk::Place& place, const std::byte* bounced, IoStatus status);
  void lose(const BlockId& id, const disk::Place& place, std::string_view why);
  Reason outcome(IoStatus status);
  void reclaim();
  void carry_over(const disk::SealedSegment& victim);
  void carry_some(std::span<disk::Catalog::Hot> hot);

  const DiskOptions options_;
  const StoreInfo info_;
  std::unique_ptr<Env> owned_env_;  // when opened by URL
  Env& env_;
  std::unique_ptr<disk::Catalog> catalog_;
  std::unique_ptr<disk::SegmentLog> log_;
  std::unique_ptr<disk::GroupWriter> writer_;
  std::uint64_t scanned_ = 0;
  std::atomic<std::uint64_t> hits_{0};
  std::atomic<std::uint64_t> read_bytes_{0};
  std::atomic<std::uint64_t> writes_{0};
  std::atomic<std::uint64_t> write_bytes_{0};
  std::atomic<std::uint64_t> corrupt_{0};
  std::atomic<std::uint64_t> foreign_{0};
  std::atomic<std::uint64_t> errors_{0};
  std::atomic<std::int64_t> next_line_{0};  // steady nanoseconds before which losses are not logged
};

}  // namespace reprise
