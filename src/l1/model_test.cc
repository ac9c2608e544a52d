// Random calls, one at a time, against a model of what an LRU cache of chains must hold after each.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "l1/memory_cache.h"
#include "l1/test_util.h"

namespace reprise {
namespace {

using l1_test::TestCache;

constexpr std::uint64_t kBlock = 1024;
constexpr std::size_t kChains = 8;
constexpr std::size_t kLength = 12;

// Says what is resident, by the rules of LRU over chains: suffixes go before prefixes, what is held stays.
class LruModel {
 public:
  explicit LruModel(std::size_t capacity) : capacity_(capacity) {}

  std::vector<Fate> put(const std::vector<BlockKey>& keys) {
    std::vector<BlockKey> parents, run;
    std::set<BlockKey> newcomers;
    const auto flush = [&] {
      if (run.empty()) return;
      for (auto key = run.rbegin(); key != run.rend(); ++key) used_[*key] = ++now_;
      for (auto key = parents.rbegin(); key != parents.rend(); ++key) used_[*key] = ++now_;
      parents.insert(parents.end(), run.begin(), run.end());
      run.clear();
    };
    std::vector<Fate> fates;
    for (const BlockKey& key : keys) {
      if (used_.contains(key)) {
        flush();
        parents.push_back(key);
        fates.push_back(Fate::kPresent);
      } else {
        run.push_back(key);
        newcomers.insert(key);
        fates.push_back(Fate::kAdmitted);
      }
    }
    flush();
    while (used_.size() > capacity_) {
      auto oldest = used_.end();
      for (auto at = used_.begin(); at != used_.end(); ++at) {
        if (held_.contains(at->first) && !newcomers.contains(at->first)) continue;
        if (oldest == used_.end() || at->second < oldest->second) oldest = at;
      }
      const auto offered = std::ranges::find(keys, oldest->first);
      if (newcomers.contains(oldest->first)) fates[static_cast<std::size_t>(offered - keys.begin())] = Fate::kDeclined;
      used_.erase(oldest);
    }
    return fates;
  }
  std::size_t run(const std::vector<BlockKey>& keys) const {
    const auto end = std::ranges::find_if(keys, [&](const BlockKey& key) { return !used_.contains(key); });
    return static_cast<std::size_t>(end - keys.begin());
  }
  void touch(const std::vector<BlockKey>& keys, std::size_t run) {
    for (std::size_t i = run; i-- > 0;) used_[keys[i]] = ++now_;
  }
  std::size_t erase(const std::vector<BlockKey>& keys, std::size_t from) {
    std::size_t erased = 0;
    for (std::size_t i = from; i < keys.size(); ++i) {
      erased += used_.erase(keys[i]);
      held_.erase(keys[i]);  // a block put again under this key is another one
    }
    return erased;
  }
  void hold(const BlockKey& key) { held_.insert(key); }
  void let_go() { held_.clear(); }
  bool has(const BlockKey& key) const { return used_.contains(key); }
  std::size_t size() const { return used_.size(); }

 private:
  const std::size_t capacity_;
  std::map<BlockKey, std::uint64_t> used_;  // when last
  std::multiset<BlockKey> held_;
  std::uint64_t now_ = 0;
};

class ModelTest : public ::testing::TestWithParam<std::uint32_t> {};
INSTANTIATE_TEST_SUITE_P(Seeds, ModelTest, ::testing::Range(1U, 6U));

TEST_P(ModelTest, AgreesAfterEveryCall) {
  constexpr std::size_t kCapacity = 40;
  const Namespace ns = l1_test::make_namespace(kBlock);
  TestCache cache(MemoryCacheOptions{.capacity = kCapacity * kBlock});
  LruModel model(kCapacity);
  std::mt19937 random(GetParam());
  std::vector<std::vector<BlockKey>> chains;
  for (std::size_t c = 0; c < kChains; ++c) {
    chains.push_back(l1_test::keys_from(100 * c, kLength));
    // Chains in pairs have their first blocks in common.
    if (c % 2 == 1) std::copy_n(chains[c - 1].begin(), 5, chains[c].begin());
  }
  std::vector<Pins> held;
  for (int step = 0; step < 3'000; ++step) {
    const auto& chain = chains[random() % kChains];
    const std::vector<BlockKey> keys(chain.begin(), chain.begin() + 1 + random() % kLength);
    SCOPED_TRACE("step " + std::to_string(step));
    switch (random() % 8) {
      case 0:
      case 1:
      case 2: ASSERT_EQ(l1_test::put(*cache, ns, keys), model.put(keys)); break;
      case 3:
      case 4: {
        const Pins pins = l1_test::pin(cache.cache, ns, keys);
        ASSERT_EQ(pins.size(), model.run(keys));
        for (std::size_t i = 0; i < pins.size(); ++i) ASSERT_TRUE(l1_test::holds_block(pins[i], ns.id(), keys[i]));
        cache->touch(pins.blocks());
        model.touch(keys, pins.size());
        break;
      }
      case 5: {
        if (held.size() >= 3) break;  // at most 36 of 40 blocks: newcomers still find room
        held.push_back(l1_test::pin(cache.cache, ns, keys));
        for (std::size_t i = 0; i < held.back().size(); ++i) model.hold(keys[i]);
        break;
      }
      case 6:
        held.clear();
        model.let_go();
        break;
      case 7: {
        const std::size_t from = random() % keys.size();
        ASSERT_EQ(cache->erase(ns.id(), std::span(keys).subspan(from)), model.erase(keys, from));
        break;
      }
    }
    for (const auto& each : chains) {
      bool present[kLength];
      cache->match_each(ns.id(), each, present);
      for (std::size_t i = 0; i < kLength; ++i) ASSERT_EQ(present[i], model.has(each[i])) << each[i].hex();
    }
    if (step % 50 != 0) continue;
    ASSERT_EQ(cache.checked().visible, model.size());
  }
  held.clear();
  const auto census = cache.checked();
  EXPECT_EQ(census.held, 0);
  EXPECT_EQ(census.transit, 0);
}

}  // namespace
}  // namespace reprise
