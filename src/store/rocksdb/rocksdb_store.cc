#include "store/rocksdb/rocksdb_store.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <string>
#include <unordered_set>
#include <utility>

#include "base/kernels.h"
#include "base/log.h"
#include "store/rocksdb/database.h"

namespace reprise {
namespace {

using rocks::guarded;
using rocks::slice;
using rocksdb::Status;

constexpr std::uint64_t kMaxBlock = 512ULL << 20;
constexpr std::uint64_t kPieceBytes = 32 << 20;  // of payload, in memory of RocksDB's at once
constexpr std::chrono::seconds kLogEvery{10};

bool late(Deadline deadline) {
  return !deadline.is_never() && deadline.passed(std::chrono::steady_clock::now());
}

rocksdb::ReadOptions read_options(Deadline deadline) {
  rocksdb::ReadOptions options;
  options.fill_cache = false;  // L1 is above
  if (deadline.is_never()) return options;
  const auto left = deadline.when() - std::chrono::steady_clock::now();
  const auto until = std::chrono::system_clock::now() + left;  // the clock RocksDB goes by
  options.deadline = std::chrono::duration_cast<std::chrono::microseconds>(until.time_since_epoch());
  return options;
}

Reason reason_of(const Status& status) {
  if (status.IsTimedOut()) return Reason::kTimeout;
  if (status.IsIncomplete() || status.IsBusy()) return Reason::kBusy;
  if (status.IsNoSpace() || status.subcode() == Status::kSpaceLimit) return Reason::kFull;
  return Reason::kUnavailable;
}

}  // namespace

Result<std::unique_ptr<Store>> RocksdbStore::open(std::string_view url) {
  const auto options = RocksdbOptions::parse(url);
  if (!options) return std::unexpected(options.error());
  return open(*options);
}

Result<std::unique_ptr<RocksdbStore>> RocksdbStore::open(const RocksdbOptions& options, Seconds now) {
  if (const auto ok = options.check(); !ok) return std::unexpected(ok.error());
  if (!now) {
    now = [] {
      const auto since = std::chrono::system_clock::now().time_since_epoch();
      return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(since).count());
    };
  }
  std::unique_ptr<RocksdbStore> store(new RocksdbStore(options, std::move(now)));
  auto database = rocks::Database::open(options, store->now_, *store->counts_);
  if (!database) return std::unexpected(database.error());
  store->database_ = std::move(*database);
  return store;
}

RocksdbStore::RocksdbStore(const RocksdbOptions& options, Seconds now)
    : options_(options),
      info_{.name = "rocksdb", .alignment = 1, .max_block_bytes = kMaxBlock, .persistent = true, .can_erase = true},
      now_(std::move(now)),
      counts_(std::make_unique<rocks::Counts>()) {}

RocksdbStore::~RocksdbStore() = default;

bool RocksdbStore::may_log() {
  const std::int64_t now = std::chrono::steady_clock::now().time_since_epoch().count();
  std::int64_t next = next_line_.load(std::memory_order_relaxed);
  const std::int64_t until = now + std::chrono::nanoseconds(kLogEvery).count();
  return now >= next && next_line_.compare_exchange_strong(next, until);
}

Reason RocksdbStore::trouble(std::string_view what, Reason reason) {
  if (reason == Reason::kTimeout || reason == Reason::kBusy) return reason;
  errors_.fetch_add(1, std::memory_order_relaxed);
  if (may_log()) log::warn("rocksdb: " + std::string(what) + " (further errors are only counted)");
  return reason;
}

Result<std::vector<RocksdbStore::Head>> RocksdbStore::heads(std::span<const BlockId> ids, Deadline deadline) {
  std::vector<Head> heads(ids.size());
  std::vector<rocks::DbKey> keys;
  std::vector<rocksdb::Slice> slices;
  keys.reserve(ids.size());
  for (const BlockId& id : ids) keys.push_back(rocks::db_key(id));
  for (const rocks::DbKey& key : keys) slices.push_back(slice(key));
  std::vector<rocksdb::PinnableSlice> values(ids.size());
  std::vector<Status> statuses(ids.size());
  rocksdb::ReadOptions options = read_options(deadline);
  options.fill_cache = true;  // small, and asked for again and again
  const Status done = guarded([&] {
    database_->db().MultiGet(options, database_->heads(), slices.size(), slices.data(), values.data(), statuses.data());
    return Status::OK();
  });
  if (!done.ok()) return fail(ErrorCode::kIo, "rocksdb: " + done.ToString());
  const std::uint64_t now = now_();
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (statuses[i].IsNotFound() || statuses[i].IsTimedOut()) continue;
    // A damaged head is no head: the block is written again, over it.
    if (statuses[i].IsCorruption()) continue;
    if (!statuses[i].ok()) return fail(ErrorCode::kIo, "rocksdb: " + statuses[i].ToString());
    Head& head = heads[i];
    head.sound =
        decode_stored_block(rocks::bytes_of(values[i]), head.block) == StoredDefect::kNone && head.block.id == ids[i];
    head.fresh = head.sound && !outlived(head.block, now, options_.ttl_seconds);
  }
  return heads;
}

Result<void> RocksdbStore::contains(std::span<const BlockId> ids, std::span<bool> present, Deadline deadline) {
  if (present.size() != ids.size()) return fail(ErrorCode::kInvalid, "contains: ids and present differ in length");
  std::ranges::fill(present, false);
  if (ids.empty() || late(deadline)) return {};
  const auto found = heads(ids, deadline);
  if (!found) {
    (void)trouble(found.error().message, Reason::kUnavailable);
    return std::unexpected(found.error());
  }
  for (std::size_t i = 0; i < ids.size(); ++i) present[i] = (*found)[i].fresh;
  return {};
}

void RocksdbStore::read(std::span<ReadOp> ops, Deadline deadline) {
  while (!ops.empty()) {
    std::size_t count = 0;
    for (std::uint64_t bytes = 0;
         count < ops.size() && (count == 0 || bytes + ops[count].into.size() <= kPieceBytes);) {
      bytes += ops[count++].into.size();
    }
    if (late(deadline)) {
      for (ReadOp& op : ops.first(count)) op.result = Reason::kTimeout;
    } else {
      read_some(ops.first(count), deadline);
    }
    ops = ops.subspan(count);
  }
}

void RocksdbStore::read_some(std::span<ReadOp> ops, Deadline deadline) {
  std::vector<rocks::DbKey> keys;
  std::vector<rocksdb::Slice> slices;
  keys.reserve(ops.size());
  for (const ReadOp& op : ops) keys.push_back(rocks::db_key(op.id));
  for (const rocks::DbKey& key : keys) slices.push_back(slice(key));
  std::vector<rocksdb::PinnableSlice> values(ops.size());
  std::vector<Status> statuses(ops.size());
  const Status done = guarded([&] {
    database_->db().MultiGet(read_options(deadline), database_->blocks(), slices.size(), slices.data(), values.data(),
                             statuses.data());
    return Status::OK();
  });
  for (std::size_t i = 0; i < ops.size(); ++i) {
    const Status& status = done.ok() ? statuses[i] : done;
    if (status.ok()) {
      ops[i].result = settle(ops[i], rocks::bytes_of(values[i]));
    } else if (status.IsNotFound()) {
      ops[i].result = Reason::kMiss;
    } else if (status.IsCorruption()) {
      ops[i].result = lose(ops[i].id, 0, Reason::kCorrupt, status.ToString());
    } else {
      ops[i].result = trouble(status.ToString(), reason_of(status));
    }
    values[i].Reset();
  }
}

Reason RocksdbStore::settle(ReadOp& op, Bytes value) {
  StoredBlock stored;
  const std::uint64_t held = value.size() - std::min(value.size(), kStoredBlockHeaderBytes);
  switch (judge_stored_block(value, op.id, op.into.size(), stored)) {
    case Verdict::kGood: break;
    case Verdict::kDamaged: return lose(op.id, held, Reason::kCorrupt, "its header is damaged");
    case Verdict::kWrongPlace: return lose(op.id, held, Reason::kForeign, "it holds another block");
    case Verdict::kOtherLength:
    case Verdict::kNewer: foreign_.fetch_add(1, std::memory_order_relaxed); return Reason::kForeign;
  }
  if (held != op.into.size()) return lose(op.id, held, Reason::kCorrupt, "its length does not match its header");
  op.checksum = copy_block_checksum(op.into, value.subspan(kStoredBlockHeaderBytes));
  if (op.checksum != stored.checksum) {
    return lose(op.id, held, Reason::kCorrupt, "its bytes do not match their checksum");
  }
  if (outlived(stored, now_(), options_.ttl_seconds)) {
    remove(op.id, held);
    counts_->expired.fetch_add(1, std::memory_order_relaxed);
    return Reason::kMiss;
  }
  hits_.fetch_add(1, std::memory_order_relaxed);
  read_bytes_.fetch_add(op.into.size(), std::memory_order_relaxed);
  return Reason::kNone;
}

void RocksdbStore::remove(const BlockId& id, std::uint64_t payload) {
  // It can wait: the block will be found out again.
  const Status status = database_->remove(std::span(&id, 1), /*wait=*/false);
  if (status.ok()) counts_->change(-1, -static_cast<std::int64_t>(payload));
}

Reason RocksdbStore::lose(const BlockId& id, std::uint64_t payload, Reason reason, std::string_view why) {
  (reason == Reason::kForeign ? foreign_ : corrupt_).fetch_add(1, std::memory_order_relaxed);
  remove(id, payload);
  if (may_log()) {
    log::warn("rocksdb: dropped block " + id.key.hex() + " of namespace " + id.ns.hex() + ": " + std::string(why) +
              " (further ones are only counted)");
  }
  return reason;
}

void RocksdbStore::write(std::span<WriteOp> ops, Deadline deadline) {
  std::vector<WriteOp*> todo;
  std::vector<BlockId> ids;
  for (WriteOp& op : ops) {
    op.result = Reason::kTimeout;
    if (op.payload.empty() || op.payload.size() > info_.max_block_bytes) {
      op.result = Reason::kUnsupported;
    } else {
      todo.push_back(&op);
      ids.push_back(op.id);
    }
  }
  if (todo.empty() || late(deadline)) return;
  const auto there = heads(ids, deadline);
  if (!there) {
    const Reason reason = trouble(there.error().message, Reason::kUnavailable);
    for (WriteOp* op : todo) op->result = reason;
    return;
  }
  std::vector<Incoming> piece;
  std::uint64_t bytes = 0;
  const auto send = [&] {
    if (!piece.empty() && !late(deadline)) write_some(piece, deadline);
    piece.clear();
    bytes = 0;
  };
  for (std::size_t i = 0; i < todo.size(); ++i) {
    const Head& head = (*there)[i];
    if (head.fresh && head.block.length == todo[i]->payload.size()) {
      todo[i]->result = Reason::kNone;
      continue;
    }
    if (bytes + todo[i]->payload.size() > kPieceBytes) send();
    piece.push_back({todo[i], head});
    bytes += todo[i]->payload.size();
  }
  send();
}

void RocksdbStore::write_some(std::span<const Incoming> incoming, Deadline deadline) {
  const std::uint64_t now = now_();
  std::vector<std::array<std::byte, kStoredBlockHeaderBytes>> headers(incoming.size());
  std::vector<rocks::Database::Value> values;
  values.reserve(incoming.size());
  for (std::size_t i = 0; i < incoming.size(); ++i) {
    const WriteOp& op = *incoming[i].op;
    encode_stored_block({op.id, op.payload.size(), op.checksum, now}, headers[i]);
    values.push_back({op.id, headers[i], op.payload});
  }
  const Status status = database_->put(values, /*wait=*/deadline.is_never());
  const Reason reason = status.ok() ? Reason::kNone : trouble(status.ToString(), reason_of(status));
  for (const auto& [op, head] : incoming) {
    op->result = reason;
    if (reason != Reason::kNone) continue;
    counts_->change(1, static_cast<std::int64_t>(op->payload.size()));
    if (head.sound) counts_->change(-1, -static_cast<std::int64_t>(head.block.length));  // It was replaced.
    writes_.fetch_add(1, std::memory_order_relaxed);
    write_bytes_.fetch_add(op->payload.size(), std::memory_order_relaxed);
  }
}

Result<std::size_t> RocksdbStore::erase(std::span<const BlockId> ids, Deadline deadline) {
  if (ids.empty() || late(deadline)) return std::size_t{0};
  const auto there = heads(ids, deadline);
  if (!there) return std::unexpected(there.error());
  std::unordered_set<BlockKey> seen;  // An id that is given twice is one block.
  std::size_t erased = 0;
  std::int64_t bytes = 0;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (!(*there)[i].sound || !seen.insert(ids[i].key).second) continue;
    ++erased;
    bytes += static_cast<std::int64_t>((*there)[i].block.length);
  }
  const Status status = database_->remove(ids, /*wait=*/deadline.is_never());
  if (!status.ok()) {
    errors_.fetch_add(1, std::memory_order_relaxed);
    return fail(ErrorCode::kIo, "rocksdb: " + status.ToString());
  }
  counts_->change(-static_cast<std::int64_t>(erased), -bytes);
  return erased;
}

Result<void> RocksdbStore::flush(Deadline) {
  const Status status = guarded([&] { return database_->db().FlushWAL(/*sync=*/true); });
  if (!status.ok()) return fail(ErrorCode::kIo, "rocksdb: " + status.ToString());
  return {};
}

Result<void> RocksdbStore::compact() {
  const Status status = guarded([&] {
    rocksdb::CompactRangeOptions options;
    options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForce;
    for (rocksdb::ColumnFamilyHandle* family : {database_->blocks(), database_->heads()}) {
      Status done = database_->db().Flush(rocksdb::FlushOptions(), family);
      if (done.ok()) done = database_->db().CompactRange(options, family, nullptr, nullptr);
      if (!done.ok()) return done;
    }
    return Status::OK();
  });
  if (!status.ok()) return fail(ErrorCode::kIo, "rocksdb: " + status.ToString());
  return {};
}

TierStats RocksdbStore::stats() const {
  TierStats stats;
  stats.name = info_.name;
  stats.used_bytes = static_cast<std::uint64_t>(std::max<std::int64_t>(counts_->bytes.load(), 0));
  stats.blocks = static_cast<std::uint64_t>(std::max<std::int64_t>(counts_->blocks.load(), 0));
  stats.hits = hits_.load(std::memory_order_relaxed);
  stats.read_bytes = read_bytes_.load(std::memory_order_relaxed);
  stats.writes = writes_.load(std::memory_order_relaxed);
  stats.write_bytes = write_bytes_.load(std::memory_order_relaxed);
  stats.evictions = counts_->expired.load(std::memory_order_relaxed);
  stats.corrupt = corrupt_.load(std::memory_order_relaxed);
  stats.foreign = foreign_.load(std::memory_order_relaxed);
  stats.errors = errors_.load(std::memory_order_relaxed);
  return stats;
}

}  // namespace reprise
