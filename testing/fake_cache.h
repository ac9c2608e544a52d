// A cache in a hash map, for tests of what sits on top of `Cache`: exact LRU (suffix before prefix), one tier, no
// expiry. Thread-safe. Bytes live as long as the lease that shows them, so nothing is pinned.
#pragma once

#include <algorithm>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "reprise/cache.h"

namespace reprise::testing {

class FakeCache final : public Cache {
 public:
  explicit FakeCache(std::uint64_t capacity_bytes) : capacity_(capacity_bytes) {}

  using Cache::acquire;
  using Cache::erase;
  using Cache::get;
  using Cache::match;
  using Cache::prefetch;
  using Cache::put;

  [[nodiscard]] Result<Match> match(std::span<const Chain> chains, Deadline /*deadline*/) override {
    const std::lock_guard lock(mutex_);
    return find_run(chains, 0);
  }

  [[nodiscard]] Result<Acquired> acquire(std::span<const Chain> chains, Deadline /*deadline*/) override {
    const std::lock_guard lock(mutex_);
    Acquired out;
    out.match = find_run(chains, 0);
    auto body = std::make_unique<LeaseBody>();
    for (const Chain& chain : chains) {
      const NeededBlocks needed = needed_blocks(chain.rule, out.match.blocks);
      for (std::size_t i = needed.first; i < needed.last; ++i) body->blocks.push_back(at(chain, i)->payload);
      touch(chain, needed.first, needed.last);
    }
    count_request(chains, out.match);
    if (out.match.blocks > 0) out.lease = Lease(std::move(body));
    return out;
  }

  [[nodiscard]] Result<Match> get(std::span<const Chain> chains, std::size_t from, std::span<const MutableBytes> out,
                                  Deadline /*deadline*/) override {
    const std::lock_guard lock(mutex_);
    Match found = find_run(chains, from);
    const std::size_t per_chain = chains.empty() ? 0 : out.size() / chains.size();
    found.blocks = std::min(found.blocks, per_chain);
    for (std::size_t c = 0; c < chains.size(); ++c) {
      for (std::size_t i = 0; i < found.blocks; ++i) {
        const auto payload = at(chains[c], from + i)->payload;
        std::copy(payload->begin(), payload->end(), out[c * per_chain + i].begin());
      }
      touch(chains[c], from, from + found.blocks);
    }
    return found;
  }

  [[nodiscard]] Result<Stored> put(std::span<const Chain> chains, std::size_t from, std::span<const Bytes> blocks,
                                   Deadline /*deadline*/) override {
    const std::lock_guard lock(mutex_);
    Stored out;
    const std::size_t per_chain = chains.empty() ? 0 : blocks.size() / chains.size();
    for (std::size_t c = 0; c < chains.size(); ++c) {
      for (std::size_t i = per_chain; i-- > 0;) {  // deepest first: a prefix outlives its suffix
        insert(chains[c], from + i, blocks[c * per_chain + i], out);
      }
      touch(chains[c], 0, std::min(from, chains[c].size()));
    }
    evict();
    for (std::size_t c = 0; c < chains.size(); ++c) {
      for (std::size_t i = 0; i < per_chain; ++i) {
        const bool declined = at(chains[c], from + i) == nullptr;
        out.declined_blocks.push_back(declined);
        out.declined += declined ? 1 : 0;
        out.accepted -= declined ? 1 : 0;
      }
    }
    if (out.declined == 0) out.declined_blocks.clear();
    if (out.declined > 0) out.reason = Reason::kDeclined;
    stats_.declined += out.declined;
    return out;
  }

  [[nodiscard]] Result<Reservation> reserve(const Chain& /*chain*/, std::size_t /*from*/, Deadline /*d*/) override {
    return Reservation();  // nothing accepted
  }
  [[nodiscard]] Result<Match> prefetch(std::span<const Chain> chains, Deadline deadline) override {
    return match(chains, deadline);
  }
  [[nodiscard]] Result<std::size_t> erase(std::span<const Chain> chains, Deadline /*deadline*/) override {
    const std::lock_guard lock(mutex_);
    std::size_t dropped = 0;
    for (const Chain& chain : chains) {
      for (const BlockKey& key : chain.keys) {
        const auto found = map_.find(BlockId{chain.ns->id(), key});
        if (found == map_.end()) continue;
        drop(found);
        ++dropped;
      }
    }
    return dropped;
  }
  [[nodiscard]] Result<Lease> attach(const LeaseToken& /*token*/) override {
    return fail(ErrorCode::kDenied, "unknown lease token");
  }
  [[nodiscard]] Result<bool> flush(Deadline /*deadline*/) override { return true; }

  [[nodiscard]] CacheStats stats() const override {
    const std::lock_guard lock(mutex_);
    CacheStats out = stats_;
    out.l1.name = "l1";
    out.l1.capacity_bytes = capacity_;
    out.l1.blocks = map_.size();
    return out;
  }

 private:
  using Payload = std::shared_ptr<const std::vector<std::byte>>;
  struct IdHash {
    std::size_t operator()(const BlockId& id) const { return std::hash<BlockKey>{}(id.key) ^ id.ns.word(0); }
  };
  struct Entry {
    Payload payload;
    std::list<BlockId>::iterator order;
  };
  using Map = std::unordered_map<BlockId, Entry, IdHash>;

  struct LeaseBody final : Lease::Body {
    std::vector<Payload> blocks;
    [[nodiscard]] std::size_t size() const override { return blocks.size(); }
    [[nodiscard]] Bytes block(std::size_t i) const override { return *blocks.at(i); }
    [[nodiscard]] bool still_valid() const override { return true; }
    [[nodiscard]] Result<LeaseToken> token() override { return fail(ErrorCode::kInvalid, "a fake has no tokens"); }
    [[nodiscard]] bool renew(Duration /*span*/) override { return true; }
  };

  [[nodiscard]] const Entry* at(const Chain& chain, std::size_t i) const {
    const auto found = map_.find(BlockId{chain.ns->id(), chain.keys[i]});
    return found == map_.end() ? nullptr : &found->second;
  }

  // The largest n, counted from `from`, whose needed blocks are present in every chain.
  [[nodiscard]] Match find_run(std::span<const Chain> chains, std::size_t from) const {
    Match out;
    if (chains.empty()) return out;
    std::size_t longest = chains[0].size();
    for (const Chain& chain : chains) longest = std::min(longest, chain.size());
    for (std::size_t n = longest; n > from && out.blocks == 0; --n) {
      const bool usable = std::all_of(chains.begin(), chains.end(), [&](const Chain& chain) {
        const NeededBlocks needed = needed_blocks(chain.rule, n);
        for (std::size_t i = std::max(needed.first, from); i < needed.last; ++i) {
          if (at(chain, i) == nullptr) return false;
        }
        return true;
      });
      if (usable) out.blocks = n - from;
    }
    for (const Chain& chain : chains) {
      const NeededBlocks needed = needed_blocks(chain.rule, out.blocks);
      out.from_l1 += needed.last - needed.first;
    }
    if (from + out.blocks < longest) out.reason = Reason::kMiss;
    return out;
  }

  void touch(const Chain& chain, std::size_t first, std::size_t last) {
    for (std::size_t i = last; i-- > first;) {
      if (const Entry* entry = at(chain, i)) order_.splice(order_.begin(), order_, entry->order);
    }
  }

  void insert(const Chain& chain, std::size_t i, Bytes bytes, Stored& out) {
    if (const Entry* entry = at(chain, i)) {
      order_.splice(order_.begin(), order_, entry->order);
      ++out.present;
      return;
    }
    const BlockId id{chain.ns->id(), chain.keys[i]};
    order_.push_front(id);
    map_[id] = {std::make_shared<const std::vector<std::byte>>(bytes.begin(), bytes.end()), order_.begin()};
    stats_.l1.used_bytes += bytes.size();
    ++stats_.l1.writes;
    ++out.accepted;
  }

  void evict() {
    while (stats_.l1.used_bytes > capacity_) {
      drop(map_.find(order_.back()));
      ++stats_.l1.evictions;
    }
  }

  void drop(Map::iterator entry) {
    stats_.l1.used_bytes -= entry->second.payload->size();
    order_.erase(entry->second.order);
    map_.erase(entry);
  }

  void count_request(std::span<const Chain> chains, const Match& answer) {
    for (const Chain& chain : chains) stats_.requested += chain.size();
    stats_.l1.hits += answer.from_l1;
    ++stats_.reasons[static_cast<std::size_t>(answer.reason)];
  }

  const std::uint64_t capacity_;
  mutable std::mutex mutex_;
  std::list<BlockId> order_;  // guarded by mutex_; most recent first
  Map map_;                   // guarded by mutex_
  CacheStats stats_;          // guarded by mutex_
};

}  // namespace reprise::testing
