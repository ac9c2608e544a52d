// Blocks in a RocksDB database on local disk: `rocksdb:/path?ttl=600s`. The options are rocksdb_options.h, what is
// stored is docs/disk-format.md.
//
// Thread-safe. Every read verifies header and payload, whatever RocksDB has checked itself. Owns its directory for as
// long as it lives: one process at a time. Batches go to RocksDB as such, in pieces that bound the memory they take;
// the deadline is kept between pieces, and passed on for reads.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/stored_block.h"
#include "reprise/store.h"
#include "store/rocksdb/rocksdb_options.h"

namespace reprise {

namespace rocks {
class Database;
struct Counts;
}  // namespace rocks

class RocksdbStore final : public Store {
 public:
  /// Seconds since 1970, for ages of blocks; for any thread.
  using Seconds = std::function<std::uint64_t()>;

  /// Fails with kConfig naming the option or the directory.
  [[nodiscard]] static Result<std::unique_ptr<Store>> open(std::string_view url);
  /// Without a clock, the system's.
  [[nodiscard]] static Result<std::unique_ptr<RocksdbStore>> open(const RocksdbOptions& options, Seconds now = {});
  ~RocksdbStore() override;

  [[nodiscard]] const StoreInfo& info() const override { return info_; }
  [[nodiscard]] Result<void> contains(std::span<const BlockId> ids, std::span<bool> present,
                                      Deadline deadline) override;
  void read(std::span<ReadOp> ops, Deadline deadline) override;
  /// With a deadline, kBusy when RocksDB is behind with its files: it would have made the caller wait.
  void write(std::span<WriteOp> ops, Deadline deadline) override;
  [[nodiscard]] Result<std::size_t> erase(std::span<const BlockId> ids, Deadline deadline) override;
  /// Also waits for stable storage.
  [[nodiscard]] Result<void> flush(Deadline deadline) override;
  /// Blocks and bytes are counted from RocksDB's estimate at opening.
  [[nodiscard]] TierStats stats() const override;

  /// Writes everything to files and merges them all, which drops what is too old. Takes as long as it takes.
  [[nodiscard]] Result<void> compact();

 private:
  RocksdbStore(const RocksdbOptions& options, Seconds now);

  void read_some(std::span<ReadOp> ops, Deadline deadline);
  Reason settle(ReadOp& op, Bytes value);
  Reason lose(const BlockId& id, std::uint64_t payload, Reason reason, std::string_view why);
  struct Head {
    bool sound = false;  ///< A header of this block, perhaps too old.
    bool fresh = false;  ///< And not too old.
    StoredBlock block;
  };
  struct Incoming {
    WriteOp* op;
    Head head;  ///< Of what is there.
  };
  void write_some(std::span<const Incoming> incoming, Deadline deadline);
  /// What is known of each id without its payload. Fails as RocksDB does.
  [[nodiscard]] Result<std::vector<Head>> heads(std::span<const BlockId> ids, Deadline deadline);
  void remove(const BlockId& id, std::uint64_t payload);
  Reason trouble(std::string_view what, Reason reason);
  [[nodiscard]] bool may_log();

  const RocksdbOptions options_;
  const StoreInfo info_;
  const Seconds now_;
  std::unique_ptr<rocks::Counts> counts_;  // before the database, whose threads count until it is closed
  std::unique_ptr<rocks::Database> database_;
  std::atomic<std::uint64_t> hits_{0};
  std::atomic<std::uint64_t> read_bytes_{0};
  std::atomic<std::uint64_t> writes_{0};
  std::atomic<std::uint64_t> write_bytes_{0};
  std::atomic<std::uint64_t> corrupt_{0};
  std::atomic<std::uint64_t> foreign_{0};
  std::atomic<std::uint64_t> errors_{0};
  std::atomic<std::int64_t> next_line_{0};  // steady clock
};

}  // namespace reprise
