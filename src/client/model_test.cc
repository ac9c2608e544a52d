// Random requests against a dictionary: whatever the tiers, the policy and the rules, bytes are never wrong, nothing is
// found that was not put, and with room for everything exactly what was put is found.
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <random>
#include <set>
#include <string>
#include <thread>

#include "reprise/cache.h"
#include "testing/chains.h"

namespace reprise {
namespace {

using testing::Buffers;
using testing::is_payload;
using testing::make_keys;
using testing::make_namespace;
using testing::Payloads;

struct Tiers {
  const char* name;
  const char* l2;
  Ingest ingest;
  std::uint64_t capacity;
  bool complete;  // keeps everything, in one tier or the other
};

class Model {
 public:
  Model(const Tiers& setup, const std::string& policy, unsigned seed) : setup_(setup), random_(seed) {
    CacheOptions options;
    options.l1_capacity = setup.capacity;
    options.l1_policy = policy;
    options.l1_populate = false;
    options.l2_url = setup.l2;
    options.l2_ingest = setup.ingest;
    options.l2_queue_bytes = 64 << 20;
    options.policy_salt = seed;
    auto opened = open("embedded:", options);
    EXPECT_TRUE(opened.has_value()) << opened.error().message;
    cache_ = std::move(*opened);
  }

  void step() {
    std::vector<Chain> chains(random_() % 3 == 0 ? 2 : 1);
    std::vector<std::vector<BlockKey>> keys;
    for (std::size_t c = 0; c < chains.size(); ++c) keys.push_back(make_keys(random_() % 10, 1 + random_() % 12));
    for (std::size_t c = 0; c < chains.size(); ++c) {
      // The second chain of a call is another group of layers: other bytes of another size, under the same tokens.
      chains[c] = Chain(c == 0 ? ns_ : small_, keys[c], rule());
    }
    switch (random_() % 8) {
      case 0:
      case 1:
      case 2: return put(chains);
      case 3: return reserve(chains[0]);
      case 4: return match(chains);
      case 5: return acquire(chains);
      case 6: return get(chains);
      default:
        if (random_() % 4 == 0) return erase(chains);
        ASSERT_TRUE(cache_->prefetch(chains, Deadline::never()).has_value());
    }
  }
  [[nodiscard]] std::size_t found() const { return found_; }
  [[nodiscard]] CacheStats stats() const { return cache_->stats(); }

 private:
  using Id = std::pair<const Namespace*, BlockKey>;

  MatchRule rule() {
    switch (random_() % 6) {
      case 0: return MatchRule::last(1 + random_() % 4);
      case 1: return MatchRule::exact(random_() % 8);
      default: return MatchRule::prefix();
    }
  }
  // By definition; see common_run_test.cc.
  std::size_t expected(std::span<const Chain> chains) const {
    std::size_t best = 0;
    for (std::size_t n = 1; n <= 12; ++n) {
      bool usable = true;
      for (const Chain& chain : chains) {
        usable = usable && n <= chain.size();
        if (chain.rule.kind == MatchRule::Kind::kExact) usable = usable && n == std::size_t{chain.rule.arg} + 1;
        const NeededBlocks needed = needed_blocks(chain.rule, n);
        for (std::size_t i = needed.first; usable && i < needed.last; ++i) {
          usable = dictionary_.contains({chain.ns, chain.keys[i]});
        }
      }
      if (usable) best = n;
    }
    return best;
  }
  bool comes_to(std::span<const Chain> chains, std::size_t want) {
    for (const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);;) {
      const auto match = cache_->match(chains, Deadline::never());
      if (match && match->blocks == want) return true;
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::yield();
    }
  }
  // `blocks` is an answer about `chains`.
  void check(std::span<const Chain> chains, std::size_t blocks) {
    const std::size_t want = expected(chains);
    if (setup_.complete && blocks != want) {
      ASSERT_LT(blocks, want);
      // A load in the background, a prefetch's, evicts too: between L1 and the queue a block is nowhere for a moment.
      ASSERT_EQ(setup_.ingest, Ingest::kEvicted);
      ASSERT_TRUE(comes_to(chains, want)) << "lost for good: " << blocks << " of " << want;
    }
    for (const Chain& chain : chains) {
      const NeededBlocks needed = needed_blocks(chain.rule, blocks);
      for (std::size_t i = needed.first; i < needed.last; ++i) {
        ASSERT_TRUE(dictionary_.contains({chain.ns, chain.keys[i]})) << "found what was never put, or erased";
      }
    }
    found_ += blocks;
  }
  void put(std::span<const Chain> chains) {
    std::size_t shortest = chains[0].size();
    for (const Chain& chain : chains) shortest = std::min(shortest, chain.size());
    const std::size_t from = random_() % 3 == 0 ? random_() % shortest : 0;
    Payloads payloads(*chains[0].ns, chains[0].keys.subspan(from, shortest - from));
    for (const Chain& chain : chains.subspan(1)) payloads.add(*chain.ns, chain.keys.subspan(from, shortest - from));
    const auto stored = cache_->put(chains, from, payloads.views, Deadline::never());
    ASSERT_TRUE(stored.has_value());
    ASSERT_EQ(stored->accepted + stored->present + stored->declined, payloads.views.size());
    ASSERT_EQ(stored->declined_blocks.size(), stored->declined == 0 ? 0 : payloads.views.size());
    ASSERT_EQ(stored->declined, std::count(stored->declined_blocks.begin(), stored->declined_blocks.end(), true));
    for (std::size_t c = 0, k = 0; c < chains.size(); ++c) {
      for (std::size_t i = from; i < shortest; ++i, ++k) {
        const bool declined = !stored->declined_blocks.empty() && stored->declined_blocks[k];
        if (!declined) dictionary_.insert({chains[c].ns, chains[c].keys[i]});
      }
    }
  }
  void reserve(const Chain& chain) {
    auto reserved = cache_->reserve(chain, 0, Deadline::never());
    ASSERT_TRUE(reserved.has_value());
    ASSERT_EQ(reserved->size(), chain.size());
    std::vector<bool> filled;
    for (std::size_t i = 0; i < chain.size(); ++i) {
      const MutableBytes memory = reserved->block(i);
      filled.push_back(!memory.empty());
      if (memory.empty()) continue;
      ASSERT_EQ(memory.size(), chain.ns->block_bytes());
      std::memcpy(memory.data(), testing::payload(*chain.ns, chain.keys[i]).data(), memory.size());
    }
    if (random_() % 3 == 0) return;  // dropped without a commit
    const std::size_t count = random_() % (chain.size() + 1);
    reserved->commit(count);
    for (std::size_t i = 0; i < count; ++i) {
      if (filled[i]) dictionary_.insert({chain.ns, chain.keys[i]});
    }
  }
  void match(std::span<const Chain> chains) {
    const auto match = cache_->match(chains, Deadline::never());
    ASSERT_TRUE(match.has_value());
    check(chains, match->blocks);
  }
  void acquire(std::span<const Chain> chains) {
    auto acquired = cache_->acquire(chains, Deadline::never());
    ASSERT_TRUE(acquired.has_value());
    check(chains, acquired->match.blocks);
    std::size_t at = 0;
    for (const Chain& chain : chains) {
      const NeededBlocks needed = needed_blocks(chain.rule, acquired->match.blocks);
      for (std::size_t i = needed.first; i < needed.last; ++i) {
        ASSERT_TRUE(is_payload(*chain.ns, chain.keys[i], acquired->lease.block(at++)));
      }
    }
    ASSERT_EQ(at, acquired->lease.size());
    ASSERT_EQ(at, acquired->match.from_l1 + acquired->match.from_l2);
    ASSERT_TRUE(acquired->lease.still_valid());
    if (random_() % 4 == 0) held_.push_back(std::move(acquired->lease));
    if (held_.size() > 3) held_.erase(held_.begin());
  }
  void get(std::span<const Chain> all) {
    std::size_t n = all[0].size();
    for (const Chain& chain : all) n = std::min(n, chain.size());
    Buffers out(*all[0].ns, n);
    for (const Chain& chain : all.subspan(1)) out.add(*chain.ns, n);
    std::vector<Chain> chains(all.begin(), all.end());
    for (Chain& chain : chains) chain.keys = chain.keys.first(n);
    const auto match = cache_->get(chains, 0, out.views, Deadline::never());
    ASSERT_TRUE(match.has_value());
    check(chains, match->blocks);
    for (std::size_t c = 0; c < chains.size(); ++c) {
      const NeededBlocks needed = needed_blocks(chains[c].rule, match->blocks);
      for (std::size_t i = 0; i < n; ++i) {
        if (i >= needed.first && i < needed.last) {
          ASSERT_TRUE(is_payload(*chains[c].ns, chains[c].keys[i], out.bytes[c * n + i]));
        } else {
          ASSERT_TRUE(out.untouched(c * n + i));
        }
      }
    }
  }
  void erase(std::span<const Chain> chains) {
    ASSERT_TRUE(cache_->erase(chains, Deadline::never()).has_value());
    for (const Chain& chain : chains) {
      for (const BlockKey& key : chain.keys) dictionary_.erase({chain.ns, key});
    }
  }

  const Tiers setup_;
  std::mt19937 random_;
  const Namespace ns_ = make_namespace(2048);
  const Namespace small_ = make_namespace(512, "other");
  std::unique_ptr<Cache> cache_;
  std::set<Id> dictionary_;
  std::vector<Lease> held_;
  std::size_t found_ = 0;
};

class ModelTest : public ::testing::TestWithParam<const char*> {};

TEST_P(ModelTest, AgreesWithADictionary) {
  const std::vector<Tiers> setups = {
      {"L1 alone, large", "", Ingest::kAll, 64 << 20, true},
      {"L1 alone, small", "", Ingest::kAll, 40 << 10, false},
      {"all", "mock:", Ingest::kAll, 40 << 10, true},
      {"all, small L2", "mock:?capacity=60KiB", Ingest::kAll, 40 << 10, false},
      {"no L1", "mock:", Ingest::kAll, 0, true},
      {"hot", "mock:", Ingest::kHot, 40 << 10, false},
      {"evicted", "mock:", Ingest::kEvicted, 40 << 10, true},
  };
  for (const Tiers& setup : setups) {
    for (unsigned seed = 1; seed <= 3; ++seed) {
      SCOPED_TRACE(std::string(setup.name) + ", seed " + std::to_string(seed));
      Model model(setup, GetParam(), seed);
      for (int i = 0; i < 1500; ++i) {
        SCOPED_TRACE("step " + std::to_string(i));
        model.step();
        if (HasFatalFailure() || HasFailure()) return;
      }
      EXPECT_GT(model.found(), 100);
      EXPECT_EQ(model.stats().ingest_dropped, 0);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Policies, ModelTest, ::testing::Values("lru", "s3fifo", "adaptive"),
                         [](const auto& param) { return std::string(param.param); });

}  // namespace
}  // namespace reprise
