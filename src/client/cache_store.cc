#include "client/cache_store.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/kernels.h"

namespace reprise {
namespace {

constexpr std::size_t kMostNamespaces = 4'096;            // what a session may open
constexpr std::uint64_t kBatchBytes = 64ULL << 20;        // of one request, where it can be split
constexpr std::size_t kBatchBlocks = 1 << 16;             // likewise
constexpr std::chrono::milliseconds kStatsPatience{250};  // counters are asked for by people and by scrapers
constexpr auto kRelaxed = std::memory_order_relaxed;

}  // namespace

CacheStore::CacheStore(std::string scheme, std::shared_ptr<LinkPool> pool, std::unique_ptr<AttachedCache> cache,
                       bool shared)
    : info_{.name = std::move(scheme),
            .alignment = 1,
            .max_block_bytes = wire::kMaxPayload,
            .persistent = true,
            .can_erase = true,
            .local_index = false,
            .needs_namespaces = true},
      shared_(shared),
      pool_(std::move(pool)),
      cache_(std::move(cache)) {}

// --- namespaces ------------------------------------------------------------------------------------------------------

void CacheStore::introduce(const Namespace& ns) {
  if (find(ns.id()) != nullptr) return;
  auto kept = std::make_shared<const Namespace>(ns);
  const std::unique_lock lock(mutex_);
  if (namespaces_.size() < kMostNamespaces) namespaces_.emplace(ns.id(), std::move(kept));
}

std::shared_ptr<const Namespace> CacheStore::find(const NamespaceId& id) const {
  const std::shared_lock lock(mutex_);
  const auto found = namespaces_.find(id);
  return found != namespaces_.end() ? found->second : nullptr;
}

Chain CacheStore::Batch::chain() const {
  // No block asks for the one before it in memory: who knows whether it is that.
  return {*ns, keys, MatchRule::last(static_cast<std::uint32_t>(keys.size()))};
}

// `id_of` answers nullptr for what is not to be asked about.
template <typename Items, typename Id>
std::vector<CacheStore::Batch> CacheStore::batches_of(const Items& items, const Id& id_of) const {
  std::vector<Batch> batches;
  std::unordered_map<NamespaceId, std::size_t> open;  // the batch to be filled
  for (std::size_t i = 0; i < items.size(); ++i) {
    const BlockId* id = id_of(items[i]);
    if (id == nullptr) continue;
    auto at = open.find(id->ns);
    const bool full =
        at != open.end() && (batches[at->second].keys.size() + 1) * batches[at->second].ns->block_bytes() > kBatchBytes;
    if (at == open.end() || full || batches[at->second].keys.size() == kBatchBlocks) {
      auto ns = find(id->ns);
      if (ns == nullptr) continue;
      at = open.insert_or_assign(id->ns, batches.size()).first;
      batches.push_back({.ns = std::move(ns), .keys = {}, .at = {}});
    }
    batches[at->second].keys.push_back(id->key);
    batches[at->second].at.push_back(i);
  }
  return batches;
}

Reason CacheStore::failed(Reason reason) {
  counters_.errors.fetch_add(1, kRelaxed);
  return reason;
}

// --- reading ---------------------------------------------------------------------------------------------------------

Result<void> CacheStore::contains(std::span<const BlockId> ids, std::span<bool> present, Deadline deadline) {
  if (present.size() != ids.size()) return fail(ErrorCode::kInvalid, "contains: ids and present differ in length");
  std::ranges::fill(present, false);
  deadline = pool_->limited(deadline);
  for (const Batch& batch : batches_of(ids, [](const BlockId& id) { return &id; })) {
    const auto found = find_each(*pool_, batch.chain(), deadline);
    if (!found) return fail(ErrorCode::kIo, "L2 cannot say: " + std::string(to_string(failed(found.error()))));
    for (std::size_t k = 0; k < batch.at.size(); ++k) present[batch.at[k]] = (*found)[k];
  }
  return {};
}

void CacheStore::read(std::span<ReadOp> ops, Deadline deadline) {
  deadline = pool_->limited(deadline);
  const auto readable = [this](ReadOp& op) -> const BlockId* {
    op.result = Reason::kMiss;
    const auto ns = find(op.id.ns);
    if (ns == nullptr) return nullptr;
    if (op.into.size() == ns->block_bytes()) return &op.id;
    op.result = Reason::kForeign;
    counters_.foreign.fetch_add(1, kRelaxed);
    return nullptr;
  };
  for (const Batch& batch : batches_of(ops, readable)) read_batch(batch, ops, deadline);
}

void CacheStore::read_batch(const Batch& batch, std::span<ReadOp> ops, Deadline deadline) {
  std::vector<MutableBytes> into;
  into.reserve(batch.at.size());
  for (const std::size_t i : batch.at) into.push_back(ops[i].into);
  const auto reads =
      shared_ ? copy_each(pool_, batch.chain(), into, deadline) : receive_each(*pool_, batch.chain(), into, deadline);
  std::uint64_t hits = 0;
  std::uint64_t corrupt = 0;
  Reason failure = Reason::kNone;
  for (std::size_t k = 0; k < reads.size(); ++k) {
    ReadOp& op = ops[batch.at[k]];
    op.result = reads[k].result;
    op.checksum = reads[k].checksum;
    hits += op.result == Reason::kNone ? 1 : 0;
    corrupt += op.result == Reason::kCorrupt ? 1 : 0;
    if (op.result == Reason::kUnavailable || op.result == Reason::kTimeout) failure = op.result;
  }
  if (failure != Reason::kNone) failed(failure);
  counters_.hits.fetch_add(hits, kRelaxed);
  counters_.read_bytes.fetch_add(hits * batch.ns->block_bytes(), kRelaxed);
  counters_.corrupt.fetch_add(corrupt, kRelaxed);
}

// --- writing ---------------------------------------------------------------------------------------------------------

void CacheStore::write(std::span<WriteOp> ops, Deadline deadline) {
  deadline = pool_->limited(deadline);
  const auto writable = [this](WriteOp& op) -> const BlockId* {
    const auto ns = find(op.id.ns);
    const bool fits = ns != nullptr && op.payload.size() == ns->block_bytes() && op.payload.size() <= wire::kMaxPayload;
    op.result = Reason::kUnsupported;
    return fits ? &op.id : nullptr;
  };
  for (const Batch& batch : batches_of(ops, writable)) write_batch(batch, ops, deadline);
}

void CacheStore::write_batch(const Batch& batch, std::span<WriteOp> ops, Deadline deadline) {
  // Over a Unix socket put asks for memory first, and copies only what gets some.
  const Batch absent = shared_ ? batch : not_there(batch, ops, deadline);
  Batch sound{.ns = batch.ns, .keys = {}, .at = {}};
  for (std::size_t k = 0; k < absent.at.size(); ++k) {
    WriteOp& op = ops[absent.at[k]];
    if (checksum(op.payload) == op.checksum) {
      sound.keys.push_back(absent.keys[k]);
      sound.at.push_back(absent.at[k]);
    } else {
      op.result = Reason::kCorrupt;
      counters_.corrupt.fetch_add(1, kRelaxed);
    }
  }
  if (!sound.at.empty()) put(sound, ops, deadline);
}

// What the server has is done, what cannot be asked about is given up.
CacheStore::Batch CacheStore::not_there(const Batch& batch, std::span<WriteOp> ops, Deadline deadline) {
  Batch absent{.ns = batch.ns, .keys = {}, .at = {}};
  const auto found = find_each(*pool_, batch.chain(), deadline);
  const Reason failure = found ? Reason::kNone : failed(found.error());
  for (std::size_t k = 0; k < batch.at.size(); ++k) {
    ops[batch.at[k]].result = failure;
    if (!found || (*found)[k]) continue;
    absent.keys.push_back(batch.keys[k]);
    absent.at.push_back(batch.at[k]);
  }
  return absent;
}

void CacheStore::put(const Batch& batch, std::span<WriteOp> ops, Deadline deadline) {
  std::vector<Bytes> payload;
  payload.reserve(batch.at.size());
  for (const std::size_t i : batch.at) payload.push_back(ops[i].payload);
  const auto stored = cache_->put(batch.chain(), 0, payload, deadline);
  const Reason refused = stored ? stored->reason : Reason::kUnavailable;
  for (std::size_t k = 0; k < batch.at.size(); ++k) {
    const bool declined = !stored || (!stored->declined_blocks.empty() && stored->declined_blocks[k]);
    ops[batch.at[k]].result = declined ? refused : Reason::kNone;
  }
  if (refused == Reason::kUnavailable || refused == Reason::kTimeout) failed(refused);
  if (!stored) return;
  counters_.writes.fetch_add(stored->accepted, kRelaxed);
  counters_.write_bytes.fetch_add(stored->accepted * batch.ns->block_bytes(), kRelaxed);
}

// --- the rest --------------------------------------------------------------------------------------------------------

Result<std::size_t> CacheStore::erase(std::span<const BlockId> ids, Deadline deadline) {
  deadline = pool_->limited(deadline);
  std::size_t erased = 0;
  for (const Batch& batch : batches_of(ids, [](const BlockId& id) { return &id; })) {
    const auto count = erase_each(*pool_, batch.chain(), deadline);
    if (!count) return fail(ErrorCode::kIo, "L2 did not erase: " + std::string(to_string(failed(count.error()))));
    erased += *count;
  }
  return erased;
}

Result<void> CacheStore::flush(Deadline deadline) {
  const auto session = pool_->borrow(pool_->limited(deadline));
  if (session) return {};
  return fail(ErrorCode::kIo, "L2 is not there: " + std::string(to_string(failed(session.reason()))));
}

TierStats CacheStore::stats() const {
  const TierStats memory = cache_->stats_by(Deadline::after(kStatsPatience)).l1;
  TierStats stats;
  stats.name = info_.name;
  stats.capacity_bytes = memory.capacity_bytes;
  stats.used_bytes = memory.used_bytes;
  stats.blocks = memory.blocks;
  stats.evictions = memory.evictions;
  stats.hits = counters_.hits.load(kRelaxed);
  stats.read_bytes = counters_.read_bytes.load(kRelaxed);
  stats.writes = counters_.writes.load(kRelaxed);
  stats.write_bytes = counters_.write_bytes.load(kRelaxed);
  stats.corrupt = counters_.corrupt.load(kRelaxed);
  stats.foreign = counters_.foreign.load(kRelaxed);
  stats.errors = counters_.errors.load(kRelaxed);
  return stats;
}

}  // namespace reprise
