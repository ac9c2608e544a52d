#include "store/rocksdb/database.h"

#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "base/stored_block.h"

namespace reprise::rocks {
namespace {

constexpr std::size_t kLogBytes = 1 << 20;  // twice: the current log and the one before
constexpr std::uint64_t kMinMergeSeconds = 60;
constexpr std::uint64_t kHeadBuffer = 4 << 20;  // headers are small

}  // namespace

DbKey db_key(const BlockId& id) {
  DbKey key;
  std::memcpy(key.data(), id.ns.bytes.data(), 16);
  std::memcpy(key.data() + 16, id.key.bytes.data(), 16);
  return key;
}

bool AgeFilter::Filter(int, const rocksdb::Slice&, const rocksdb::Slice& value, std::string*, bool*) const {
  StoredBlock block;
  switch (decode_stored_block(bytes_of(value), block)) {
    case StoredDefect::kNewer: return false;
    case StoredDefect::kDamaged: return true;
    case StoredDefect::kNone: break;
  }
  if (!outlived(block, now_(), ttl_seconds_)) return false;
  if (counts_ == nullptr) return true;
  counts_->change(-1, -static_cast<std::int64_t>(block.length));
  counts_->expired.fetch_add(1, std::memory_order_relaxed);
  return true;
}

Database::Database(const RocksdbOptions& options, Seconds now, Counts& counts)
    : options_(options),
      block_filter_(options.ttl_seconds, now, nullptr),
      head_filter_(options.ttl_seconds, now, &counts) {}

Database::~Database() {
  if (db_ == nullptr) return;
  for (rocksdb::ColumnFamilyHandle* family : families_) {
    (void)guarded([&] { return db_->DestroyColumnFamilyHandle(family); });
  }
  (void)guarded([&] { return db_->Close(); });
}

rocksdb::DBOptions Database::db_options() const {
  rocksdb::DBOptions options;
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  options.max_total_wal_size = options_.max_wal;
  options.max_background_jobs = static_cast<int>(options_.background_jobs);
  // What RocksDB says of itself stays small.
  options.info_log_level = rocksdb::WARN_LEVEL;
  options.max_log_file_size = kLogBytes;
  options.keep_log_file_num = 2;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  return options;
}

std::vector<rocksdb::ColumnFamilyDescriptor> Database::families() const {
  rocksdb::BlockBasedTableOptions table;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  rocksdb::ColumnFamilyOptions blocks;
  blocks.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  blocks.compression = rocksdb::kNoCompression;  // KV bytes hardly shrink
  blocks.write_buffer_size = options_.write_buffer;
  blocks.target_file_size_base = options_.target_file;
  blocks.max_write_buffer_number = static_cast<int>(options_.max_write_buffers);
  // Files are looked at again when what is in them may have grown too old, also where nothing is written.
  blocks.periodic_compaction_seconds = options_.ttl_seconds == 0 ? 0 : std::max(options_.ttl_seconds, kMinMergeSeconds);
  rocksdb::ColumnFamilyOptions heads = blocks;
  heads.write_buffer_size = std::min<std::uint64_t>(options_.write_buffer, kHeadBuffer);
  blocks.compaction_filter = &block_filter_;
  heads.compaction_filter = &head_filter_;
  return {{rocksdb::kDefaultColumnFamilyName, blocks}, {"heads", heads}};
}

Result<std::unique_ptr<Database>> Database::open(const RocksdbOptions& options, Seconds now, Counts& counts) {
  std::unique_ptr<Database> database(new Database(options, std::move(now), counts));
  if (const auto started = database->start(); !started) return std::unexpected(started.error());
  std::uint64_t blocks = 0;
  std::uint64_t bytes = 0;
  (void)guarded([&] {
    database->db().GetIntProperty(database->heads(), rocksdb::DB::Properties::kEstimateNumKeys, &blocks);
    database->db().GetIntProperty(database->blocks(), rocksdb::DB::Properties::kEstimateLiveDataSize, &bytes);
    return rocksdb::Status::OK();
  });
  if (blocks > 0) counts.change(static_cast<std::int64_t>(blocks), static_cast<std::int64_t>(bytes));
  return database;
}

rocksdb::Status Database::put(std::span<const Value> values, bool wait) {
  rocksdb::WriteOptions options;
  options.no_slowdown = !wait;
  return guarded([&] {
    rocksdb::WriteBatch batch;
    for (const Value& value : values) {
      const DbKey key = db_key(value.id);
      const rocksdb::Slice key_slice = slice(key);
      const std::array<rocksdb::Slice, 2> parts{slice(value.header), slice(value.payload)};
      rocksdb::Status done = batch.Put(blocks(), rocksdb::SliceParts(&key_slice, 1),
                                       rocksdb::SliceParts(parts.data(), static_cast<int>(parts.size())));
      if (done.ok()) done = batch.Put(heads(), key_slice, parts[0]);
      if (!done.ok()) return done;
    }
    return db_->Write(options, &batch);
  });
}

rocksdb::Status Database::remove(std::span<const BlockId> ids, bool wait) {
  rocksdb::WriteOptions options;
  options.no_slowdown = !wait;
  return guarded([&] {
    rocksdb::WriteBatch batch;
    for (const BlockId& id : ids) {
      const DbKey key = db_key(id);
      rocksdb::Status done = batch.Delete(blocks(), slice(key));
      if (done.ok()) done = batch.Delete(heads(), slice(key));
      if (!done.ok()) return done;
    }
    return db_->Write(options, &batch);
  });
}

Result<void> Database::start() {
  const auto failed = [this](const std::string& why) {
    return fail(ErrorCode::kConfig, "rocksdb: " + options_.path + ": " + why);
  };
  std::error_code error;
  std::filesystem::create_directories(options_.path, error);
  if (error) return failed(error.message());
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status =
      guarded([&] { return rocksdb::DB::Open(db_options(), options_.path, families(), &families_, &db); });
  db_.reset(db);
  if (status.ok()) return {};
  const std::string words = status.ToString();
  if (status.IsIOError() && words.find("lock") != std::string::npos) {
    return failed("in use by another cache; give each its own directory (" + words + ")");
  }
  if (status.IsCorruption())
    return failed("damaged: delete the directory, its blocks are only a cache (" + words + ")");
  return failed(words);
}

}  // namespace reprise::rocks
