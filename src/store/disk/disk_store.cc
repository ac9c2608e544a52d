#include "store/disk/disk_store.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <string>
#include <utility>

#include "base/kernels.h"
#include "base/log.h"
#include "base/size.h"
#include "store/disk/read_plan.h"
#include "store/disk/recovery.h"

namespace reprise {
namespace {

constexpr std::uint64_t kCarryShare = 5;              // one in five bytes of a segment
constexpr std::uint64_t kCarryChunkBytes = 16 << 20;  // copied at a time
constexpr std::chrono::seconds kLogEvery{10};

std::uint64_t file_limit() {
  rlimit limit{};
  return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 1024;
}

Error config(std::string message) {
  return {ErrorCode::kConfig, "disk: " + std::move(message)};
}

}  // namespace

Result<std::unique_ptr<Store>> DiskStore::open(std::string_view url) {
  const auto options = DiskOptions::parse(url);
  if (!options) return std::unexpected(options.error());
  if (const auto ok = options->check(file_limit()); !ok) return std::unexpected(ok.error());
  auto env = make_env(options->io);
  if (!env) return std::unexpected(config("io=uring: " + env.error().message));
  Env& borrowed = **env;
  return make(*options, borrowed, std::move(*env));
}

Result<std::unique_ptr<DiskStore>> DiskStore::open(const DiskOptions& options, Env& env) {
  if (const auto ok = options.check(file_limit()); !ok) return std::unexpected(ok.error());
  return make(options, env, nullptr);
}

Result<std::unique_ptr<DiskStore>> DiskStore::make(const DiskOptions& options, Env& env, std::unique_ptr<Env> owned) {
  std::unique_ptr<DiskStore> store(new DiskStore(options, env, std::move(owned)));
  if (const auto started = store->start(); !started) return std::unexpected(started.error());
  return store;
}

DiskStore::DiskStore(const DiskOptions& options, Env& env, std::unique_ptr<Env> owned)
    : options_(options),
      info_{.name = "disk",
            .alignment = kPageBytes,
            .max_block_bytes = disk::SegmentLog::max_block(options.segment),
            .persistent = true,
            .can_erase = true},
      owned_env_(std::move(owned)),
      env_(env) {}

DiskStore::~DiskStore() = default;

Result<std::unique_ptr<File>> DiskStore::claim_directory() {
  const std::string& path = options_.path;
  if (const auto made = env_.make_directory(path); !made) return std::unexpected(config(made.error().message));
  auto lock = env_.lock(path + "/LOCK");
  if (!lock && lock.error().status == IoStatus::kBusy) {
    return std::unexpected(config(path + " is in use by another cache; give each its own directory"));
  }
  if (!lock) return std::unexpected(config(lock.error().message));
  // Whether files can be made here, and opened as asked for, is better known now than at the first write.
  const auto probe = env_.open(path + "/PROBE", OpenMode::kCreate, options_.direct);
  if (!probe && probe.error().status != IoStatus::kNoSpace) {
    return std::unexpected(config((options_.direct == Direct::kOn ? "direct=on: " : "") + probe.error().message));
  }
  if (probe) (void)env_.remove(path + "/PROBE");
  return std::move(*lock);
}

Result<void> DiskStore::start() {
  auto lock = claim_directory();
  if (!lock) return std::unexpected(lock.error());
  if (options_.unverified) {
    log::error("disk: unverified=for-tests: " + options_.path + " GIVES OUT DAMAGED BLOCKS. Never use this elsewhere");
  }
  auto files = disk::open_segments(env_, options_.path, options_.direct);
  if (!files) return std::unexpected(files.error());
  std::uint64_t largest = options_.segment;
  for (const disk::SegmentFile& file : *files) largest = std::max(largest, file.bytes);
  std::random_device device;
  catalog_ = std::make_unique<disk::Catalog>(static_cast<std::uint32_t>(largest / kPageBytes), device());
  auto recovered = disk::recover(env_, std::move(*files), *catalog_);
  if (!recovered) return std::unexpected(recovered.error());
  scanned_ = recovered->scanned;
  log_ = std::make_unique<disk::SegmentLog>(
      env_, *catalog_, disk::LogOptions{options_.path, options_.capacity, options_.segment, options_.direct},
      std::move(recovered->segments), recovered->next_sequence, std::move(*lock));
  writer_ = std::make_unique<disk::GroupWriter>(env_, *catalog_, *log_, options_.segment);
  while (const auto victim = log_->take_victim()) log_->drop_victim(*victim);  // the capacity was lowered
  const auto room = env_.free_space(options_.path);
  if (room && *room + log_->disk_bytes() < options_.capacity) {
    log::warn("disk: capacity=" + format_size(options_.capacity) + " but " + options_.path + " has room for " +
              format_size(*room + log_->disk_bytes()) + "; the tier will be smaller");
  }
  return {};
}

Result<void> DiskStore::contains(std::span<const BlockId> ids, std::span<bool> present, Deadline) {
  if (present.size() != ids.size()) return fail(ErrorCode::kInvalid, "contains: ids and present differ in length");
  disk::Place place;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    present[i] = catalog_->find(ids[i], 0, place) == disk::Catalog::Found::kYes;
  }
  return {};
}

void DiskStore::read(std::span<ReadOp> ops, Deadline deadline) {
  disk::ReadPlan plan;
  plan.reads.reserve(ops.size());
  for (std::size_t i = 0; i < ops.size(); ++i) {
    disk::Place place;
    const auto found = catalog_->find(ops[i].id, ops[i].into.size(), place);
    if (found == disk::Catalog::Found::kYes && !ops[i].into.empty()) {
      ops[i].result = Reason::kTimeout;
      plan.reads.push_back({i, std::move(place), nullptr});
    } else if (found == disk::Catalog::Found::kNo) {
      ops[i].result = Reason::kMiss;
    } else {
      ops[i].result = Reason::kForeign;
      foreign_.fetch_add(1, std::memory_order_relaxed);
    }
  }
  if (plan.reads.empty()) return;
  plan.build(ops);
  const auto done = [&](std::size_t request, IoStatus status) {
    for (std::size_t i = plan.first[request]; i < plan.first[request + 1]; ++i) {
      const disk::PlannedRead& planned = plan.reads[i];
      ops[planned.op].result = settle(ops[planned.op], planned.place, planned.bounced, status);
    }
  };
  env_.read(plan.requests, done, deadline);
}

Reason DiskStore::settle(ReadOp& op, const disk::Place& place, const std::byte* bounced, IoStatus status) {
  switch (status) {
    case IoStatus::kOk: break;
    case IoStatus::kTimeout: return Reason::kTimeout;
    case IoStatus::kShort:
      corrupt_.fetch_add(1, std::memory_order_relaxed);
      lose(op.id, place, "its segment was cut short");
      return Reason::kCorrupt;
    default:
      errors_.fetch_add(1, std::memory_order_relaxed);
      lose(op.id, place, to_string(status));
      return Reason::kUnavailable;
  }
  op.checksum = bounced == nullptr ? checksum(op.into) : copy_block_checksum(op.into, {bounced, op.into.size()});
  if (op.checksum != place.checksum && !options_.unverified) {
    corrupt_.fetch_add(1, std::memory_order_relaxed);
    lose(op.id, place, "its bytes do not match their checksum");
    return Reason::kCorrupt;
  }
  catalog_->mark_hit(place);
  hits_.fetch_add(1, std::memory_order_relaxed);
  read_bytes_.fetch_add(op.into.size(), std::memory_order_relaxed);
  return Reason::kNone;
}

void DiskStore::lose(const BlockId& id, const disk::Place& place, std::string_view why) {
  catalog_->drop(id, place);
  const std::int64_t now = std::chrono::steady_clock::now().time_since_epoch().count();
  std::int64_t next = next_line_.load(std::memory_order_relaxed);
  const std::int64_t until = now + std::chrono::nanoseconds(kLogEvery).count();
  if (now < next || !next_line_.compare_exchange_strong(next, until)) return;
  log::warn("disk: dropped block " + id.key.hex() + " of namespace " + id.ns.hex() + " in " + place.segment->path +
            " at page " + std::to_string(place.page) + ": " + std::string(why) + " (further ones are only counted)");
}

Reason DiskStore::outcome(IoStatus status) {
  switch (status) {
    case IoStatus::kOk: return Reason::kNone;
    case IoStatus::kTimeout: return Reason::kTimeout;
    case IoStatus::kNoSpace:
      log_->shrink_to_fit();
      errors_.fetch_add(1, std::memory_order_relaxed);
      return Reason::kFull;
    default: errors_.fetch_add(1, std::memory_order_relaxed); return Reason::kUnavailable;
  }
}

void DiskStore::write(std::span<WriteOp> ops, Deadline deadline) {
  std::vector<disk::Incoming> incoming;
  std::vector<std::size_t> which;
  incoming.reserve(ops.size());
  which.reserve(ops.size());
  for (std::size_t i = 0; i < ops.size(); ++i) {
    WriteOp& op = ops[i];
    op.result = Reason::kNone;
    if (op.payload.empty() || op.payload.size() > info_.max_block_bytes) {
      op.result = Reason::kUnsupported;
      continue;
    }
    disk::Place place;
    const auto found = catalog_->find(op.id, op.payload.size(), place);
    if (found == disk::Catalog::Found::kYes) continue;
    // A namespace has one length, so the copy of another one is nobody's: it makes way.
    if (found == disk::Catalog::Found::kOtherLength) catalog_->erase(op.id);
    disk::Incoming in;
    in.record = {op.id, op.checksum, static_cast<std::uint32_t>(op.payload.size()), 0};
    in.payload = op.payload;
    incoming.push_back(in);
    which.push_back(i);
  }
  if (incoming.empty()) return;
  writer_->write(incoming, deadline);
  for (std::size_t i = 0; i < incoming.size(); ++i) {
    WriteOp& op = ops[which[i]];
    op.result = outcome(incoming[i].status);
    if (op.result != Reason::kNone) continue;
    writes_.fetch_add(1, std::memory_order_relaxed);
    write_bytes_.fetch_add(op.payload.size(), std::memory_order_relaxed);
  }
  reclaim();
}

Result<std::size_t> DiskStore::erase(std::span<const BlockId> ids, Deadline deadline) {
  std::vector<disk::Incoming> tombstones;
  for (const BlockId& id : ids) {
    if (!catalog_->erase(id)) continue;
    disk::Incoming in;
    in.record.id = id;
    tombstones.push_back(in);
  }
  const std::size_t erased = tombstones.size();
  if (erased == 0) return erased;
  writer_->write(tombstones, deadline);
  reclaim();
  for (const disk::Incoming& in : tombstones) {
    if (outcome(in.status) == Reason::kNone) continue;
    return fail(ErrorCode::kIo, "disk: erased in memory, but not on disk (" + std::string(to_string(in.status)) +
                                    "): the blocks may come back after a restart");
  }
  return erased;
}

Result<void> DiskStore::flush(Deadline) {
  return {};
}

void DiskStore::reclaim() {
  while (const auto victim = log_->take_victim()) {
    carry_over(*victim);
    log_->drop_victim(*victim);
  }
}

void DiskStore::carry_over(const disk::SealedSegment& victim) {
  std::vector<disk::Catalog::Hot> hot = catalog_->hot(victim.slot, options_.segment / kCarryShare);
  for (std::size_t begin = 0; begin < hot.size();) {
    std::size_t end = begin;
    for (std::uint64_t bytes = 0; end < hot.size() && (bytes == 0 || bytes < kCarryChunkBytes); ++end) {
      bytes += disk::payload_extent(hot[end].record.length);
    }
    carry_some(std::span(hot).subspan(begin, end - begin));
    begin = end;
  }
}

void DiskStore::carry_some(std::span<disk::Catalog::Hot> hot) {
  std::uint64_t bytes = 0;
  for (const auto& block : hot) bytes += disk::payload_extent(block.record.length);
  const AlignedBuffer memory(bytes);
  std::vector<ReadOp> ops(hot.size());
  disk::ReadPlan plan;
  std::byte* next = memory.data();
  for (std::size_t i = 0; i < hot.size(); ++i) {
    ops[i].id = hot[i].record.id;
    ops[i].into = {next, hot[i].record.length};
    next += disk::payload_extent(hot[i].record.length);
    plan.reads.push_back({i, hot[i].place, nullptr});
  }
  plan.build(ops);
  std::vector<disk::Incoming> copies;
  const auto done = [&](std::size_t request, IoStatus status) {
    for (std::size_t i = plan.first[request]; i < plan.first[request + 1]; ++i) {
      const std::size_t at = plan.reads[i].op;
      if (status != IoStatus::kOk || checksum(ops[at].into) != hot[at].record.checksum) continue;
      disk::Incoming in;
      in.record = hot[at].record;
      in.payload = ops[at].into;
      in.moved_from = &hot[at].place;
      copies.push_back(in);
    }
  };
  env_.read(plan.requests, done, Deadline::never());
  writer_->write(copies, Deadline::never(), /*may_roll=*/false);
  // A block erased while it was being copied would come back at the next start: its copy is newer than its tombstone.
  std::vector<disk::Incoming> tombstones;
  disk::Place place;
  for (const disk::Incoming& in : copies) {
    if (!in.dead || catalog_->find(in.record.id, 0, place) != disk::Catalog::Found::kNo) continue;
    disk::Incoming tombstone;
    tombstone.record.id = in.record.id;
    tombstones.push_back(tombstone);
  }
  writer_->write(tombstones, Deadline::never(), /*may_roll=*/false);
}

TierStats DiskStore::stats() const {
  TierStats stats;
  stats.name = info_.name;
  stats.capacity_bytes = log_->capacity();
  stats.used_bytes = catalog_->payload_bytes();
  stats.blocks = catalog_->blocks();
  stats.hits = hits_.load(std::memory_order_relaxed);
  stats.read_bytes = read_bytes_.load(std::memory_order_relaxed);
  stats.writes = writes_.load(std::memory_order_relaxed);
  stats.write_bytes = write_bytes_.load(std::memory_order_relaxed);
  stats.evictions = log_->evicted();
  stats.corrupt = corrupt_.load(std::memory_order_relaxed);
  stats.foreign = foreign_.load(std::memory_order_relaxed);
  stats.errors = errors_.load(std::memory_order_relaxed);
  return stats;
}

}  // namespace reprise
