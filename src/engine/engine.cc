#include "engine/engine.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "base/log.h"
#include "base/size.h"

namespace reprise {
namespace {

constexpr std::size_t kMaxChains = 1024;
constexpr std::size_t kMaxKeys = 1 << 20;
// Keeps deadlines far from the ends of the clock.
constexpr std::chrono::milliseconds kLongest = std::chrono::hours(24 * 365);
constexpr std::uint32_t kMaxThreads = 256;
constexpr std::uint32_t kMaxAbandoned = 1024;

MemoryCacheOptions memory_options(const CacheOptions& options, const Store* store, const Clock* observe) {
  MemoryCacheOptions memory;
  memory.observe = observe;
  memory.capacity = options.l1_capacity;
  memory.memory = options.l1_memory;
  memory.huge_pages = options.l1_huge_pages;
  memory.populate = options.l1_populate;
  if (store != nullptr) {
    memory.transit_bytes = options.l2_queue_bytes;
    memory.alignment = static_cast<std::uint32_t>(std::max<std::size_t>(store->info().alignment, memory.alignment));
    memory.keep_evicted = options.l2_ingest == Ingest::kEvicted;
    memory.keep_hot = options.l2_ingest == Ingest::kHot;
  }
  return memory;
}

}  // namespace

namespace {

Result<void> check_span(const char* option, std::chrono::milliseconds span) {
  if (span > std::chrono::milliseconds::zero() && span <= kLongest) return {};
  return fail(ErrorCode::kConfig, std::string(option) + " is " + std::to_string(span.count()) +
                                      " ms; the range is 1 ms to " + std::to_string(kLongest.count()) + " ms");
}

Result<void> check_count(const char* option, std::uint32_t count, std::uint32_t most) {
  if (count > 0 && count <= most) return {};
  return fail(ErrorCode::kConfig,
              std::string(option) + " is " + std::to_string(count) + "; the range is 1 to " + std::to_string(most));
}

Result<void> check_memory(const char* option, std::uint64_t bytes) {
  ArenaOptions arena;
  arena.populate_bytes = arena.reserve_bytes = bytes;
  if (auto ok = Arena::check(arena); !ok) {
    return fail(ErrorCode::kConfig, std::string(option) + ": " + ok.error().message);
  }
  return {};
}

Result<void> check_l2_options(const CacheOptions& options) {
  if (options.l2_queue_bytes == 0) return fail(ErrorCode::kConfig, "l2.queue-bytes is 0: nothing could reach L2");
  if (auto ok = check_memory("l2.queue-bytes", options.l2_queue_bytes); !ok) return ok;
  if (auto ok = check_count("l2.threads", options.l2_threads, kMaxThreads); !ok) return ok;
  if (auto ok = check_count("l2.max-abandoned", options.l2_max_abandoned, kMaxAbandoned); !ok) return ok;
  if (auto ok = check_span("l2.timeout", options.l2_timeout); !ok) return ok;
  return check_span("l2.eject-for", options.l2_eject_for);
}

}  // namespace

Result<void> check_options(const CacheOptions& options) {
  if (options.l1_capacity == 0 && options.l2_url.empty()) {
    return fail(ErrorCode::kConfig, "l1.capacity is 0 and l2.url is empty: nothing could be kept; set one of them");
  }
  if (options.l1_capacity > 0) {
    if (auto ok = check_memory("l1.capacity", options.l1_capacity); !ok) return ok;
  }
  if (auto ok = check_span("lease.ttl", options.lease_ttl); !ok) return ok;
  return options.l2_url.empty() ? Result<void>() : check_l2_options(options);
}

Result<void> check_chains(std::span<const Chain> chains) {
  if (chains.empty()) return fail(ErrorCode::kInvalid, "the call names no chain");
  if (chains.size() > kMaxChains) {
    return fail(ErrorCode::kInvalid,
                std::to_string(chains.size()) + " chains in one call; the limit is " + std::to_string(kMaxChains));
  }
  for (const Chain& chain : chains) {
    if (chain.ns == nullptr) return fail(ErrorCode::kInvalid, "a chain has no namespace");
    if (chain.size() > kMaxKeys) {
      return fail(ErrorCode::kInvalid,
                  "a chain of " + std::to_string(chain.size()) + " blocks; the limit is " + std::to_string(kMaxKeys));
    }
    if (chain.rule.kind == MatchRule::Kind::kLast && chain.rule.arg == 0) {
      return fail(ErrorCode::kInvalid, "match rule last(0): the window is at least 1 block");
    }
  }
  return {};
}

Result<std::unique_ptr<Engine>> Engine::create(const CacheOptions& options, std::unique_ptr<EvictionPolicy> policy,
                                               std::unique_ptr<Store> store, const Clock& clock, EngineExtras extras) {
  std::shared_ptr<LeaseWords> words;  // the lease book ends them, the engine shows them
  if (extras.shared_leases) {
    auto made = LeaseWords::create();
    if (!made) return std::unexpected(made.error());
    words = std::move(*made);
  }
  auto cache =
      MemoryCache::create(memory_options(options, store.get(), extras.observe ? &clock : nullptr), std::move(policy));
  if (!cache) return std::unexpected(cache.error());
  return std::unique_ptr<Engine>(new Engine(options, std::move(*cache), std::move(store), clock, std::move(words)));
}

Engine::Engine(const CacheOptions& options, std::shared_ptr<MemoryCache> cache, std::shared_ptr<Store> store,
               const Clock& clock, std::shared_ptr<LeaseWords> lease_words)
    : options_(options),
      clock_(clock),
      cache_(std::move(cache)),
      lease_words_(std::move(lease_words)),
      leases_(std::make_shared<LeaseBook>(clock, options.lease_ttl, lease_words_)),
      store_(std::move(store)),
      loader_(store_ ? std::make_unique<Loader>(store_, cache_, options, clock) : nullptr),
      outlet_{cache_, store_ ? std::make_shared<IngestQueue>(store_, cache_, options) : nullptr, options.l2_ingest} {}

Engine::~Engine() {
  if (!loader_) return;
  const auto end = std::chrono::steady_clock::now() + close_grace_;
  outlet_.ingest->close(close_grace_);
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
  loader_->set_grace(std::max(left, std::chrono::milliseconds(10)));
}

void Engine::introduce(std::span<const Chain> chains) const {
  if (!store_ || !store_->info().needs_namespaces) return;
  try {
    for (const Chain& chain : chains) store_->introduce(*chain.ns);
  } catch (...) {
    log::warn("the store threw when it was told of a namespace: its blocks may not be found there");
  }
}

Result<std::size_t> Engine::erase(std::span<const Chain> chains, Deadline deadline) {
  if (auto ok = check_chains(chains); !ok) return std::unexpected(ok.error());
  introduce(chains);
  if (loader_) deadline = loader_->capped(deadline);
  std::size_t erased = 0;
  for (const Chain& chain : chains) {
    erased += erase_ids(chain.ns->id(), chain.keys, DepartureWhy::kErased, deadline);
  }
  return erased;
}

std::size_t Engine::erase_ids(const NamespaceId& ns, std::span<const BlockKey> keys, DepartureWhy why,
                              Deadline deadline) {
  if (!loader_) return cache_->erase(ns, keys, why);
  std::vector<BlockId> ids;
  ids.reserve(keys.size());
  for (const BlockKey& key : keys) ids.push_back({ns, key});
  loader_->forget(ids);  // before L1: what is read until then is visible there, the rest never will be
  const std::size_t erased = cache_->erase(ns, keys, why);
  // The queue before L2: what is written until then is erased below, what is being written is erased after.
  outlet_.ingest->forget(ids, deadline);
  return erased + loader_->erase(std::move(ids), deadline);
}

Result<Lease> Engine::attach(const LeaseToken& token) {
  return leases_->attach(token);
}

Result<bool> Engine::flush(Deadline deadline) {
  return outlet_.ingest ? outlet_.ingest->flush(deadline) : true;
}

CacheStats Engine::stats() const {
  constexpr auto kRelaxed = std::memory_order_relaxed;
  CacheStats stats;
  if (store_) stats.l2 = store_->stats();
  cache_->add_stats(stats);
  if (loader_) loader_->add_stats(stats);
  if (outlet_.ingest) outlet_.ingest->add_stats(stats);
  stats.requested = counters_.requested.load(kRelaxed);
  stats.l1.hits = counters_.l1_hits.load(kRelaxed);
  stats.l1.read_bytes = counters_.l1_read_bytes.load(kRelaxed);
  stats.l2.hits = counters_.l2_hits.load(kRelaxed);
  stats.l2.read_bytes = counters_.l2_read_bytes.load(kRelaxed);
  stats.declined = counters_.declined.load(kRelaxed);
  stats.leases = leases_->live();
  stats.leased_blocks = leases_->live_blocks();
  stats.leases_expired = leases_->expired();
  for (std::size_t i = 0; i < stats.reasons.size(); ++i) stats.reasons[i] = counters_.reasons[i].load(kRelaxed);
  return stats;
}

}  // namespace reprise
