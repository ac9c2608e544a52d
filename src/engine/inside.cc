// What a daemon and its operators ask an engine. See inside.h.

#include "engine/inside.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "engine/engine.h"

namespace reprise {

std::string_view to_string(Explained::Where where) {
  switch (where) {
    case Explained::Where::kL1: return "l1";
    case Explained::Where::kFilling: return "l1 filling";
    case Explained::Where::kOutbound: return "on its way to l2";
    case Explained::Where::kL2: return "l2";
    case Explained::Where::kNowhere: return "nowhere";
  }
  return "unknown";
}

LeaseInside Engine::inside(const Lease& lease) const {
  return LeaseBook::inside(lease);
}

std::vector<std::uint64_t> Engine::checksums(const Lease& lease) {
  std::vector<std::uint64_t> sums;
  // Held once more: the lease may run out while the blocks are read.
  const Pins held = leases_->hold_again(lease);
  sums.reserve(held.size());
  for (const PinnedBlock& block : held.blocks()) sums.push_back(cache_->checksum_of(block));
  return sums;
}

Result<Engine::EachAcquired> Engine::acquire_each(const Chain& chain, Deadline deadline) {
  auto each = find_each(chain, deadline);
  if (!each) return std::unexpected(each.error());
  EachAcquired out{.each = std::move(*each), .lease = {}};
  if (out.each.match.blocks == 0) return out;
  std::vector<BlockKey> keys;
  for (std::size_t i = 0; i < chain.size(); ++i) {
    if (out.each.found[i]) keys.push_back(chain.keys[i]);
  }
  // Needs all of them, as a prefix would, but none its predecessor in memory.
  auto acquired = acquire(Chain(*chain.ns, keys, MatchRule::last(static_cast<std::uint32_t>(keys.size()))), deadline);
  if (!acquired) return std::unexpected(acquired.error());
  const Reason missing = out.each.match.reason;
  out.each.match = acquired->match;
  if (out.each.match.reason == Reason::kNone) out.each.match.reason = missing;
  out.lease = std::move(acquired->lease);
  std::size_t left = out.each.match.blocks;
  for (std::size_t i = 0; i < chain.size(); ++i) {
    if (out.each.found[i] && left-- == 0) {
      std::fill(out.each.found.begin() + static_cast<std::ptrdiff_t>(i), out.each.found.end(), false);
      break;
    }
  }
  return out;
}

Result<Explained> Engine::explain(const NamespaceId& ns, const BlockKey& key, Deadline deadline) {
  using Where = Explained::Where;
  const BlockId id{ns, key};
  const auto look = cache_->look(ns, key);
  Explained found;
  found.bytes = look.bytes;
  found.readers = look.readers;
  found.saved = look.saved;
  found.age = look.age;
  found.hits = look.hits;
  if (look.left) found.last_departure = Explained::Departure{look.left->why, look.left->ago};
  if (look.where != MemoryCache::Look::Where::kNowhere) {
    found.where = look.where == MemoryCache::Look::Where::kResident ? Where::kL1 : Where::kFilling;
    if (found.where == Where::kL1) found.memory = look.memory;
    return found;
  }
  if (!loader_) return found;
  Pins pending(cache_);
  pending.adopt({});
  outlet_.ingest->pin_pending(std::span(&id, 1), pending);
  if (pending[0].slot != kNoSlot) {
    found.where = Where::kOutbound;
    found.bytes = pending[0].bytes;
    return found;
  }
  std::vector<bool> present;
  found.l2 = loader_->contains(std::span(&id, 1), present, loader_->capped(deadline), false);
  if (!present.empty() && present[0]) {
    found.where = Where::kL2;
    found.saved = true;
  }
  return found;
}

std::vector<NamespaceUsage> Engine::usage() const {
  std::unordered_map<NamespaceId, NamespaceUsage> by_id;
  std::vector<MemoryCache::Scanned> found;
  for (BlockSlot at = 0; at != kNoSlot;) {
    at = cache_->scan(at, found);
    for (const auto& block : found) {
      if (!block.visible) continue;
      NamespaceUsage& usage = by_id.try_emplace(block.id.ns, NamespaceUsage{block.id.ns}).first->second;
      ++usage.blocks;
      usage.bytes += block.bytes;
    }
  }
  std::vector<NamespaceUsage> all;
  all.reserve(by_id.size());
  for (const auto& [id, usage] : by_id) all.push_back(usage);
  std::ranges::sort(all,
                    [](const auto& a, const auto& b) { return a.bytes != b.bytes ? a.bytes > b.bytes : a.id < b.id; });
  return all;
}

std::size_t Engine::purge(std::optional<NamespaceId> ns, Deadline deadline) {
  std::size_t purged = 0;
  std::vector<MemoryCache::Scanned> found;
  for (BlockSlot at = 0; at != kNoSlot;) {
    at = cache_->scan(at, found);
    std::unordered_map<NamespaceId, std::vector<BlockKey>> keys;
    for (const auto& block : found) {
      if (!ns || block.id.ns == *ns) keys[block.id.ns].push_back(block.id.key);
    }
    for (const auto& [id, its] : keys) {
      purged += erase_ids(id, its, DepartureWhy::kPurged, loader_ ? loader_->capped(deadline) : deadline);
    }
  }
  return purged;
}

}  // namespace reprise
