// Everything at once, on a cache so small that every call makes others lose something. Whatever happens, a block that
// was handed out holds the bytes that belong to its key; and when all have gone, nothing is left behind.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/kernels.h"
#include "l1/memory_cache.h"
#include "l1/test_util.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define REPRISE_SANITIZED 1
#endif
#endif

namespace reprise {
namespace {

using l1_test::holds_block;
using l1_test::key_of;
using l1_test::kKiB;
using l1_test::kMiB;
using l1_test::TestCache;

// How many calls a test makes of the `base` it names: ten times as many in the long form, fewer under sanitizers.
int calls(int base) {
#ifdef REPRISE_SANITIZED
  base /= 8;
#endif
  return std::getenv("REPRISE_LONG") != nullptr ? 10 * base : base;
}

struct Load {
  std::vector<std::uint64_t> sizes;
  std::uint64_t chains = 40;
  std::size_t length = 12;
  int calls = 0;  // of each thread
};

class Worker {
 public:
  Worker(const TestCache& cache, const std::vector<Namespace>& spaces, const Load& load, std::uint32_t seed)
      : cache_(cache.cache), spaces_(spaces), load_(load), random_(seed) {}

  void run() {
    for (int call = 0; call < load_.calls; ++call) {
      ns_ = &spaces_[random_() % spaces_.size()];
      keys_ = l1_test::keys_from(1000 * (random_() % load_.chains), 1 + random_() % load_.length);
      switch (random_() % 12) {
        case 0:
        case 1:
        case 2:
        case 3: write(); break;
        case 4: erase(); break;
        case 5: save(); break;
        case 6: pass_through(); break;
        case 7: hold(); break;
        default: read(); break;
      }
    }
    held_.clear();
  }
  [[nodiscard]] int wrong() const { return wrong_; }
  [[nodiscard]] std::uint64_t checked() const { return checked_; }

 private:
  void check(const PinnedBlock& block) {
    const BlockId id = cache_->id(block);
    wrong_ += holds_block(block, id.ns, id.key) ? 0 : 1;
    ++checked_;
  }
  void check(const Pins& pins) {
    for (std::size_t i = 0; i < pins.size(); ++i) {
      check(pins[i]);
      if (cache_->id(pins[i]).key != keys_[i]) ++wrong_;
    }
  }
  void finish(Outflow out) {
    for (const PinnedBlock& block : out.evicted.blocks()) check(block);
    if (!out.evicted.empty() && cache_->checksum_of(out.evicted[0]) != checksum(out.evicted.bytes(0))) ++wrong_;
    end(out.hot);
  }
  void end(Pins& outbound) {
    for (std::size_t i = 0; i < outbound.size(); ++i) {
      check(outbound[i]);
      // As a reader does that finds the block waiting to be written.
      const bool take_over = random_() % 4 == 0;
      const PinnedBlock block = outbound.take(i);
      if (take_over) cache_->repin(block);
      cache_->end_outbound(block, random_() % 2 == 0);
      if (!take_over) continue;
      check(block);
      cache_->unpin(block.slot);
    }
  }
  Pins pin() {
    Pins pins(cache_);
    cache_->pin_run(ns_->id(), keys_, pins);
    check(pins);
    return pins;
  }
  void read() {
    const Pins pins = pin();
    finish(cache_->touch(pins.blocks()));
  }
  void hold() {
    if (held_.size() >= 2) held_.erase(held_.begin());
    held_.push_back(pin());
    std::this_thread::yield();
    for (const Pins& pins : held_) {
      for (const PinnedBlock& block : pins.blocks()) check(block);
    }
  }
  void write() {
    const bool rooted = random_() % 4 != 0;
    const std::size_t from = rooted ? cache_->match_run(ns_->id(), keys_).blocks : random_() % keys_.size();
    Admission admission = cache_->admit(*ns_, keys_, from, keys_.size(), rooted);
    const std::size_t complete = random_() % 3 == 0 ? random_() % (admission.filling.size() + 1) : ~std::size_t{0};
    std::size_t next = 0;
    for (std::size_t i = 0; i < admission.fates.size(); ++i) {
      if (admission.fates[i] != Fate::kAdmitted) continue;
      const PinnedBlock& block = admission.filling[next];
      l1_test::write_block(block, ns_->id(), keys_[from + i]);
      if (next++ < complete) cache_->publish(block, 0, random_() % 8 == 0);
    }
    if (next != admission.filling.size()) ++wrong_;
    admission.filling.truncate(complete);
    Pins outbound = cache_->begin_outbound(admission.filling.blocks());
    admission.filling.release();
    finish(std::move(admission.out));
    end(outbound);
  }
  void erase() { cache_->erase(ns_->id(), std::span(keys_).subspan(random_() % keys_.size())); }
  void save() {
    Pins pins = pin();
    Pins outbound = cache_->begin_outbound(pins.blocks());
    pins.release();
    std::this_thread::yield();
    end(outbound);
  }
  void pass_through() {
    const auto block = cache_->allocate_transit({ns_->id(), keys_[0]}, static_cast<std::uint32_t>(ns_->block_bytes()));
    if (!block) return;
    l1_test::write_block(*block, ns_->id(), keys_[0]);
    std::this_thread::yield();
    check(*block);
    cache_->unpin(block->slot);
  }

  const std::shared_ptr<MemoryCache> cache_;
  const std::vector<Namespace>& spaces_;
  const Load& load_;
  std::mt19937 random_;
  const Namespace* ns_ = nullptr;
  std::vector<BlockKey> keys_;
  std::vector<Pins> held_;
  int wrong_ = 0;
  std::uint64_t checked_ = 0;
};

void run_load(const TestCache& cache, const Load& load) {
  std::vector<Namespace> spaces;
  for (const std::uint64_t size : load.sizes) spaces.push_back(l1_test::make_namespace(size));
  std::vector<Worker> workers;
  for (std::uint32_t t = 0; t < 4; ++t) workers.emplace_back(cache, spaces, load, t + 1);
  std::vector<std::jthread> threads;
  for (Worker& worker : workers) threads.emplace_back([&worker] { worker.run(); });
  threads.clear();
  std::uint64_t checked = 0;
  for (const Worker& worker : workers) {
    EXPECT_EQ(worker.wrong(), 0);
    checked += worker.checked();
  }
  EXPECT_GT(checked, static_cast<std::uint64_t>(load.calls)) << "blocks were read";
  CacheStats stats;
  cache->add_stats(stats);
  EXPECT_GT(stats.l1.evictions, static_cast<std::uint64_t>(load.calls) / 10) << "and others had to go";
  const auto census = cache.checked();
  EXPECT_EQ(census.held, 0);
  EXPECT_EQ(census.transit, 0);
  EXPECT_EQ(census.filling, 0);
}

class StressTest : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Policies, StressTest, ::testing::Values("lru", "s3fifo", "adaptive"),
                         [](const auto& param) { return std::string(param.param); });

TEST_P(StressTest, SmallBlocksUnderConstantEviction) {
  const Load load{.sizes = {1024, 3000}, .calls = calls(30'000)};
  run_load(TestCache(
               MemoryCacheOptions{
                   .capacity = 100 * kKiB, .transit_bytes = 20 * kKiB, .keep_evicted = true, .keep_hot = true},
               GetParam()),
           load);
}

TEST_P(StressTest, LargeBlocksOfManySizesThatTakeMemoryFromEachOther) {
  const Load load{.sizes = {kMiB, kMiB + 64, 2 * kMiB + 512, 3 * kMiB, 700 * kKiB, 5 * kMiB},
                  .chains = 6,
                  .length = 4,
                  .calls = calls(1'500)};
  run_load(
      TestCache(MemoryCacheOptions{.capacity = 32 * kMiB, .transit_bytes = 8 * kMiB, .keep_evicted = true}, GetParam()),
      load);
}

}  // namespace
}  // namespace reprise
