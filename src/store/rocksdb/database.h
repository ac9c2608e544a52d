// RocksDB as a `rocksdb:` store uses it: opening, the two column families, and the filter that drops old blocks while
// files are merged. Nothing of RocksDB is seen outside this folder, and none of its exceptions.
//
// Two families: "default" has the blocks (header and payload), "heads" the headers alone, so that asking for a block
// does not read megabytes. Both change in one step.
#pragma once

#include <rocksdb/compaction_filter.h>
#include <rocksdb/db.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "reprise/store.h"
#include "store/rocksdb/rocksdb_options.h"

namespace reprise::rocks {

using DbKey = std::array<char, 32>;
[[nodiscard]] DbKey db_key(const BlockId& id);
[[nodiscard]] inline rocksdb::Slice slice(const DbKey& key) {
  return {key.data(), key.size()};
}
[[nodiscard]] inline rocksdb::Slice slice(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
[[nodiscard]] inline Bytes bytes_of(const rocksdb::Slice& slice) {
  return std::as_bytes(std::span(slice.data(), slice.size()));
}

/// Seconds since 1970; for any thread.
using Seconds = std::function<std::uint64_t()>;

/// How many blocks there are, as far as this process can tell. Threads of RocksDB count too.
struct Counts {
  std::atomic<std::int64_t> blocks{0};
  std::atomic<std::int64_t> bytes{0};
  std::atomic<std::uint64_t> expired{0};

  void change(std::int64_t more_blocks, std::int64_t more_bytes) {
    blocks.fetch_add(more_blocks, std::memory_order_relaxed);
    bytes.fetch_add(more_bytes, std::memory_order_relaxed);
  }
};

/// Runs while files are merged: blocks older than the limit go, and so does what is not a block at all.
class AgeFilter final : public rocksdb::CompactionFilter {
 public:
  /// `counts`: where to subtract what goes; nullptr for a family that is not counted. Outlives the filter.
  AgeFilter(std::uint64_t ttl_seconds, Seconds now, Counts* counts)
      : ttl_seconds_(ttl_seconds), now_(std::move(now)), counts_(counts) {}
  bool Filter(int level, const rocksdb::Slice& key, const rocksdb::Slice& value, std::string* new_value,
              bool* value_changed) const override;
  const char* Name() const override { return "reprise.age"; }

 private:
  const std::uint64_t ttl_seconds_;
  const Seconds now_;
  Counts* const counts_;
};

/// `call` with its exceptions as a status.
template <typename Call>
[[nodiscard]] rocksdb::Status guarded(Call call) {
  try {
    return call();
  } catch (const std::bad_alloc&) {
    return rocksdb::Status::MemoryLimit("out of memory");
  } catch (const std::exception& error) {
    return rocksdb::Status::Aborted(error.what());
  }
}

/// An open database. Closes itself, waiting for flushes and compactions that run.
class Database {
 public:
  /// `counts` outlives it. Fails with kConfig, naming the directory.
  [[nodiscard]] static Result<std::unique_ptr<Database>> open(const RocksdbOptions& options, Seconds now,
                                                              Counts& counts);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  struct Value {
    BlockId id;
    Bytes header;
    Bytes payload;
  };
  /// All or none, into both families. `wait`: for RocksDB to catch up with its files; Status::Incomplete otherwise.
  [[nodiscard]] rocksdb::Status put(std::span<const Value> values, bool wait);
  /// Likewise; fine for blocks that are not there.
  [[nodiscard]] rocksdb::Status remove(std::span<const BlockId> ids, bool wait);

  [[nodiscard]] rocksdb::DB& db() { return *db_; }
  [[nodiscard]] rocksdb::ColumnFamilyHandle* blocks() { return families_[0]; }
  [[nodiscard]] rocksdb::ColumnFamilyHandle* heads() { return families_[1]; }

 private:
  Database(const RocksdbOptions& options, Seconds now, Counts& counts);
  [[nodiscard]] rocksdb::DBOptions db_options() const;
  [[nodiscard]] std::vector<rocksdb::ColumnFamilyDescriptor> families() const;
  [[nodiscard]] Result<void> start();

  const RocksdbOptions options_;
  const AgeFilter block_filter_;
  const AgeFilter head_filter_;
  std::unique_ptr<rocksdb::DB> db_;
  std::vector<rocksdb::ColumnFamilyHandle*> families_;  // owned by db_, given back before it goes
};

}  // namespace reprise::rocks
