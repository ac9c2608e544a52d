// What the tests of this room share: blocks whose bytes follow from their key, and a policy that checks how it is used.
// Nothing shipped includes this.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "l1/memory_cache.h"

namespace reprise::l1_test {

inline constexpr std::uint64_t kKiB = 1024;
inline constexpr std::uint64_t kMiB = 1024 * kKiB;

inline Namespace make_namespace(std::uint64_t block_bytes) {
  auto made = Namespace::create({.model = "m",
                                 .revision = "none",
                                 .dtype = "bfloat16",
                                 .layout = "canonical",
                                 .block_tokens = 16,
                                 .block_bytes = block_bytes,
                                 .layers = IndexRange{0, 1},
                                 .heads = IndexRange{0, 1},
                                 .salt = "",
                                 .extras = {}});
  EXPECT_TRUE(made) << made.error().message;
  return *made;
}

inline std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

inline BlockKey key_of(std::uint64_t n) {
  return BlockKey::from_words(mix(n + 1), n);
}

/// Keys first, first + 1, ...
inline std::vector<BlockKey> keys_from(std::uint64_t first, std::size_t count) {
  std::vector<BlockKey> keys;
  for (std::size_t i = 0; i < count; ++i) keys.push_back(key_of(first + i));
  return keys;
}

// A word every 512 bytes, and the last one: enough to tell any two blocks, and any two places in one, apart.
template <typename Visit>
bool each_stamp(const NamespaceId& ns, const BlockKey& key, std::uint64_t bytes, Visit visit) {
  const std::uint64_t seed = identity_hash(ns, key);
  for (std::uint64_t at = 0; at + 8 <= bytes; at = at + 512 + 8 > bytes && at + 8 != bytes ? bytes - 8 : at + 512) {
    if (!visit(at, mix(seed + at))) return false;
  }
  return true;
}

inline void write_block(const PinnedBlock& block, const NamespaceId& ns, const BlockKey& key) {
  each_stamp(ns, key, block.bytes, [&](std::uint64_t at, std::uint64_t word) {
    std::memcpy(block.data + at, &word, 8);
    return true;
  });
}

[[nodiscard]] inline bool holds_block(const PinnedBlock& block, const NamespaceId& ns, const BlockKey& key) {
  return each_stamp(ns, key, block.bytes,
                    [&](std::uint64_t at, std::uint64_t word) { return std::memcmp(block.data + at, &word, 8) == 0; });
}

/// Offers, fills and publishes; releases everything, outflow included.
inline std::vector<Fate> put(MemoryCache& cache, const Namespace& ns, std::span<const BlockKey> keys,
                             std::size_t from = 0, bool rooted = true) {
  Admission admission = cache.admit(ns, keys, from, keys.size(), rooted);
  std::size_t next = 0;
  for (std::size_t i = 0; i < admission.fates.size(); ++i) {
    if (admission.fates[i] != Fate::kAdmitted) continue;
    const PinnedBlock& block = admission.filling[next++];
    write_block(block, ns.id(), keys[from + i]);
    cache.publish(block, 0, false);
  }
  return admission.fates;
}

inline Fate put_one(MemoryCache& cache, const Namespace& ns, const BlockKey& key) {
  return put(cache, ns, std::span(&key, 1)).front();
}

inline Pins pin(const std::shared_ptr<MemoryCache>& cache, const Namespace& ns, std::span<const BlockKey> keys) {
  Pins pins(cache);
  cache->pin_run(ns.id(), keys, pins);
  return pins;
}

inline bool has(MemoryCache& cache, const Namespace& ns, const BlockKey& key) {
  return cache.match_run(ns.id(), std::span(&key, 1)).blocks == 1;
}

/// Wraps a real policy, and notes every call that breaks the contract of reprise/eviction.h. `script` says which blocks
/// it names as victims before it asks the real one; `hook` runs in the middle of an eviction, under the cache's mutex.
class CheckedPolicy final : public EvictionPolicy {
 public:
  struct Notes {
    std::vector<std::string> broken;
    std::set<BlockSlot> resident;
    std::vector<BlockSlot> touched;  // in order
    std::deque<BlockSlot> script;
    std::function<void(BlockSlot)> after_accept;
    std::function<void(BlockSlot)> on_remove;
    int grown = 0;
  };
  CheckedPolicy(std::unique_ptr<EvictionPolicy> inner, std::shared_ptr<Notes> notes)
      : inner_(std::move(inner)), notes_(std::move(notes)) {}

  void touch(std::span<const BlockSlot> chain, std::vector<BlockSlot>& hot) override {
    for (const BlockSlot slot : chain) expect(slot, true, "touched");
    notes_->touched.insert(notes_->touched.end(), chain.begin(), chain.end());
    inner_->touch(chain, hot);
  }
  void insert(std::span<const BlockSlot> parents, std::span<const NewBlock> blocks,
              std::vector<BlockSlot>& hot) override {
    for (const BlockSlot slot : parents) expect(slot, true, "named as a parent");
    for (const NewBlock& block : blocks) {
      expect(block.slot, false, "inserted");
      notes_->resident.insert(block.slot);
      if (block.slot >= slots_) notes_->broken.push_back("inserted beyond the slots it was told");
    }
    inner_->insert(parents, blocks, hot);
  }
  std::optional<BlockSlot> victim(VictimFilter& filter) override {
    std::optional<BlockSlot> slot;
    while (!slot && !notes_->script.empty()) {
      const BlockSlot named = notes_->script.front();
      notes_->script.pop_front();
      if (!filter.accept(named)) continue;
      inner_->remove(named);
      slot = named;
    }
    if (!slot) slot = inner_->victim(filter);
    if (!slot) return slot;
    expect(*slot, true, "evicted");
    notes_->resident.erase(*slot);
    if (notes_->after_accept) notes_->after_accept(*slot);
    return slot;
  }
  void restore(BlockSlot slot) override {
    expect(slot, true, "restored");
    inner_->restore(slot);
  }
  void remove(BlockSlot slot) override {
    expect(slot, true, "removed");
    notes_->resident.erase(slot);
    if (notes_->on_remove) notes_->on_remove(slot);
    inner_->remove(slot);
  }
  void grow(std::uint32_t slots, std::uint64_t capacity_blocks) override {
    ++notes_->grown;
    slots_ = std::max(slots_, slots);
    inner_->grow(slots, capacity_blocks);
  }
  [[nodiscard]] bool is_hot(BlockSlot slot) const override { return inner_->is_hot(slot); }
  [[nodiscard]] Footprint footprint() const override { return inner_->footprint(); }

 private:
  void expect(BlockSlot slot, bool resident, const char* what) {
    if (notes_->resident.contains(slot) == resident) return;
    notes_->broken.push_back("block " + std::to_string(slot) + (resident ? " is not" : " is already") + " resident, " +
                             what);
  }

  std::unique_ptr<EvictionPolicy> inner_;
  std::shared_ptr<Notes> notes_;
  std::uint32_t slots_ = 0;
};

struct TestCache {
  std::shared_ptr<MemoryCache> cache;
  std::shared_ptr<CheckedPolicy::Notes> notes = std::make_shared<CheckedPolicy::Notes>();

  explicit TestCache(MemoryCacheOptions options, std::string_view policy = "lru") {
    options.huge_pages = false;
    options.populate = false;
    auto inner = PolicyRegistry::with_builtins().make(policy, PolicyConfig{});
    EXPECT_TRUE(inner) << inner.error().message;
    auto made = MemoryCache::create(options, std::make_unique<CheckedPolicy>(std::move(*inner), notes));
    EXPECT_TRUE(made) << made.error().message;
    cache = std::move(*made);
  }
  MemoryCache* operator->() const { return cache.get(); }
  MemoryCache& operator*() const { return *cache; }

  /// The census, after checking everything there is to check.
  MemoryCache::Census checked() const {
    const auto census = cache->check_invariants();
    EXPECT_TRUE(census) << census.error().message;
    EXPECT_THAT(notes->broken, ::testing::IsEmpty());
    if (!census) return {};
    EXPECT_EQ(notes->resident.size(), census->visible + census->filling) << "blocks the policy knows";
    return *census;
  }
};

}  // namespace reprise::l1_test
