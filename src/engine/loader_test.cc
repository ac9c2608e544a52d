#include "engine/loader.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <thread>

#include "base/kernels.h"
#include "testing/chains.h"
#include "testing/hook_store.h"

namespace reprise {
namespace {

using namespace std::chrono_literals;
using testing::Gate;
using testing::HookStore;
using testing::is_payload;
using testing::make_keys;
using testing::make_namespace;
using testing::Payloads;

constexpr std::uint32_t kBlock = 4096;

class LoaderTest : public ::testing::Test {
 protected:
  LoaderTest() {
    options.l2_threads = 1;
    options.l2_max_abandoned = 3;
    options.l2_timeout = 20ms;
    options.l2_eject_for = std::chrono::hours(1);
    options.l2_url = "hook:";
  }
  void start(std::uint64_t l1_blocks = 16, std::uint64_t transit_blocks = 4) {
    MemoryCacheOptions memory;
    memory.capacity = l1_blocks * kBlock;
    memory.transit_bytes = transit_blocks * kBlock;
    memory.populate = false;
    auto made = MemoryCache::create(memory, *PolicyRegistry::with_builtins().make("lru", {}));
    ASSERT_TRUE(made.has_value());
    cache = std::move(*made);
    loader = std::make_unique<Loader>(std::make_shared<HookStore>(hooks), cache, options, clock);
    loader->set_grace(50ms);
  }
  void store(std::span<const BlockKey> keys) {
    const Payloads payloads(ns, keys);
    std::vector<WriteOp> ops;
    for (std::size_t i = 0; i < keys.size(); ++i) {
      ops.push_back({{ns.id(), keys[i]}, payloads.views[i], checksum(payloads.views[i]), Reason::kNone});
    }
    hooks->mock.write(ops, Deadline::never());
  }
  std::vector<BlockId> ids(std::span<const BlockKey> keys) const {
    std::vector<BlockId> made;
    for (const BlockKey& key : keys) made.push_back({ns.id(), key});
    return made;
  }
  Pins transit(std::span<const BlockKey> keys) {
    Pins pins(cache);
    for (const BlockKey& key : keys) {
      const auto memory = cache->allocate_transit({ns.id(), key}, kBlock);
      EXPECT_TRUE(memory.has_value());
      if (memory) pins.adopt(*memory);
    }
    return pins;
  }
  Reason ask(std::span<const BlockKey> keys, Deadline deadline, bool will_read = true) {
    return loader->contains(ids(keys), present, deadline, will_read);
  }
  CacheStats stats() const {
    CacheStats stats;
    loader->add_stats(stats);
    return stats;
  }
  // Calls left behind finish on their own threads, a moment after whatever held them lets go.
  void await_running(std::uint64_t n) {
    while (stats().abandoned_running != n) std::this_thread::sleep_for(1ms);
  }

  const Namespace ns = make_namespace(kBlock);
  const SteadyClock clock;
  CacheOptions options;
  std::shared_ptr<HookStore::Hooks> hooks = std::make_shared<HookStore::Hooks>();
  std::shared_ptr<MemoryCache> cache;
  std::unique_ptr<Loader> loader;
  std::vector<bool> present;
};

TEST_F(LoaderTest, ReadsAndPublishes) {
  start();
  const auto keys = make_keys(1, 3);
  store(std::span(keys).first(2));
  EXPECT_EQ(ask(keys, Deadline::never()), Reason::kNone);
  EXPECT_EQ(present, (std::vector<bool>{true, true, false}));
  Admission admission = cache->admit(ns, keys, 0, 3, true);
  ASSERT_EQ(admission.filling.size(), 3);
  std::vector<Reason> outcomes;
  Pins loaded(cache);
  loader->read(std::move(admission.filling), {true, true, true}, Deadline::never(), outcomes, loaded);
  EXPECT_EQ(outcomes, (std::vector<Reason>{Reason::kNone, Reason::kNone, Reason::kMiss}));
  ASSERT_EQ(loaded.size(), 3);
  EXPECT_TRUE(is_payload(ns, keys[0], loaded.bytes(0)));
  EXPECT_TRUE(is_payload(ns, keys[1], loaded.bytes(1)));
  EXPECT_EQ(loaded[2].slot, kNoSlot);
  EXPECT_EQ(cache->match_run(ns.id(), keys).blocks, 2) << "what was read is in L1, what was not is given up";
}

TEST_F(LoaderTest, TimesOutWhileTheStoreStillHangs) {
  start();
  const auto gate = std::make_shared<Gate>();
  hooks->contains = [gate] { gate->pass(); };
  EXPECT_EQ(ask(make_keys(1, 1), Deadline::after(20ms)), Reason::kTimeout);
  EXPECT_FALSE(gate->is_open());
  EXPECT_EQ(stats().abandoned, 1);
  EXPECT_EQ(stats().abandoned_running, 1);
  gate->open();
  await_running(0);
  EXPECT_EQ(stats().abandoned, 1);
  EXPECT_EQ(ask(make_keys(1, 1), Deadline::never()), Reason::kNone);
}

// A store that gives up at its deadline can only answer that it found nothing, and may do so a moment before the caller
// leaves: that is no miss.
TEST_F(LoaderTest, WhatAStoreDoesNotKnowByTheDeadlineIsNoMiss) {
  std::atomic<TimePoint> when;
  hooks->contains = [&when] { std::this_thread::sleep_until(when.load()); };
  start();
  for (int round = 0; round < 60; ++round) {
    const Deadline deadline = Deadline::after(1ms);
    when = deadline.when();
    ASSERT_EQ(ask(make_keys(1, 1), deadline), Reason::kTimeout) << round;
    await_running(0);
  }
}

TEST_F(LoaderTest, DeadlineInThePastAsksNobody) {
  start();
  EXPECT_EQ(ask(make_keys(1, 1), Deadline::now()), Reason::kTimeout);
  EXPECT_EQ(hooks->contains_calls, 0);
  std::vector<Reason> outcomes;
  Pins loaded(cache);
  loader->read(transit(make_keys(1, 2)), {false, false}, Deadline::now(), outcomes, loaded);
  EXPECT_EQ(outcomes, (std::vector<Reason>{Reason::kTimeout, Reason::kTimeout}));
  EXPECT_EQ(hooks->read_calls, 0);
  EXPECT_EQ(stats().abandoned, 0);
}

TEST_F(LoaderTest, LateReadKeepsItsMemoryToItself) {
  start(16, 2);
  const auto keys = make_keys(1, 1);
  const auto others = make_keys(2, 2);
  store(keys);
  const auto gate = std::make_shared<Gate>();
  hooks->read = [gate] { gate->pass(); };
  std::vector<Reason> outcomes;
  Pins loaded(cache);
  loader->read(transit(keys), {false}, Deadline::after(20ms), outcomes, loaded);
  EXPECT_EQ(outcomes[0], Reason::kTimeout);
  EXPECT_EQ(loaded[0].slot, kNoSlot);
  gate->await(1);
  // One of two transit blocks is the late read's: only the other one can be had.
  Pins mine = transit(std::span(others).first(1));
  EXPECT_FALSE(cache->allocate_transit({ns.id(), others[1]}, kBlock).has_value());
  const auto bytes = testing::payload(ns, others[0]);
  std::memcpy(mine[0].data, bytes.data(), kBlock);
  gate->open();
  await_running(0);
  EXPECT_TRUE(is_payload(ns, others[0], mine.bytes(0)));
  hooks->read = nullptr;
}

TEST_F(LoaderTest, LateReadStillReachesL1) {
  start();
  const auto keys = make_keys(1, 2);
  store(keys);
  const auto gate = std::make_shared<Gate>();
  hooks->read = [gate] { gate->pass(); };
  Admission admission = cache->admit(ns, keys, 0, 2, true);
  std::vector<Reason> outcomes;
  Pins loaded(cache);
  loader->read(std::move(admission.filling), {true, true}, Deadline::after(20ms), outcomes, loaded);
  EXPECT_EQ(cache->match_run(ns.id(), keys).blocks, 0);
  gate->open();
  await_running(0);
  Pins found(cache);
  ASSERT_EQ(cache->pin_run(ns.id(), keys, found), 2);
  for (std::size_t i = 0; i < 2; ++i) EXPECT_TRUE(is_payload(ns, keys[i], found.bytes(i)));
}

TEST_F(LoaderTest, ReadThatNeverStartedGivesItsMemoryBackAtOnce) {
  start(16, 2);
  const auto gate = std::make_shared<Gate>();
  hooks->contains = hooks->read = [gate] { gate->pass(); };
  // Four calls occupy the thread and its three spares; the fifth waits in the queue.
  for (int i = 0; i < 3; ++i) EXPECT_EQ(ask(make_keys(1, 1), Deadline::after(20ms)), Reason::kTimeout);
  std::vector<Reason> outcomes;
  Pins loaded(cache);
  loader->read(transit(make_keys(2, 1)), {false}, Deadline::after(20ms), outcomes, loaded);
  gate->await(4);
  loader->read(transit(make_keys(3, 1)), {false}, Deadline::after(20ms), outcomes, loaded);
  EXPECT_EQ(outcomes[0], Reason::kTimeout);
  EXPECT_TRUE(cache->allocate_transit({ns.id(), make_keys(4, 1)[0]}, kBlock).has_value())
      << "a read that will never run must not hold memory";
  gate->open();
  await_running(0);
}

TEST_F(LoaderTest, EjectsTheStoreAfterTooManyHangingCalls) {
  start();
  const auto gate = std::make_shared<Gate>();
  hooks->contains = [gate] { gate->pass(); };
  for (int i = 0; i < 3; ++i) EXPECT_EQ(ask(make_keys(1, 1), Deadline::after(20ms)), Reason::kTimeout);
  EXPECT_EQ(stats().ejections, 1);
  const int calls = hooks->contains_calls;
  EXPECT_EQ(ask(make_keys(1, 1), Deadline::never()), Reason::kUnavailable);
  EXPECT_EQ(hooks->contains_calls, calls) << "an ejected store is left alone";
  EXPECT_EQ(loader->erase(ids(make_keys(1, 1)), Deadline::never()), 0);
  EXPECT_FALSE(loader->read_ahead(transit(make_keys(1, 1)), {false}));
  // Calls that come back after all end the ejection before its time.
  gate->open();
  await_running(0);
  EXPECT_EQ(ask(make_keys(1, 1), Deadline::never()), Reason::kNone);
}

TEST_F(LoaderTest, ProbeEndsAnEjectionWhileOldCallsHangForEver) {
  options.l2_eject_for = 1ms;
  start();
  const auto gate = std::make_shared<Gate>();
  std::atomic<bool> hang = true;
  hooks->contains = [gate, &hang] {
    if (hang) gate->pass();
  };
  const auto keys = make_keys(1, 1);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(ask(keys, Deadline::after(20ms)), Reason::kTimeout);
  ASSERT_EQ(stats().ejections, 1);
  hang = false;
  while (ask(keys, Deadline::after(10s)) != Reason::kNone) std::this_thread::sleep_for(1ms);
  EXPECT_EQ(stats().abandoned_running, 3);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(ask(keys, Deadline::never()), Reason::kNone) << "one answer is enough";
  gate->open();
  await_running(0);
}

TEST_F(LoaderTest, ReadAheadThatHangsIsCountedByWhoeverComesNext) {
  options.l2_max_abandoned = 2;
  start();
  const auto gate = std::make_shared<Gate>();
  hooks->read = [gate] { gate->pass(); };
  const auto keys = make_keys(1, 4);
  store(keys);
  EXPECT_TRUE(loader->read_ahead(transit(std::span(keys).first(1)), {false}));
  gate->await(1);
  // The only thread hangs, and nobody waits for it. contains must find that out and get a thread of its own.
  while (ask(keys, Deadline::after(40ms)) != Reason::kNone) {
  }
  EXPECT_FALSE(gate->is_open());
  EXPECT_EQ(stats().abandoned_running, 1);
  gate->open();
  await_running(0);
}

TEST_F(LoaderTest, ReadAheadLetsGoOfItsBlocks) {
  start(2, 4);
  const auto keys = make_keys(1, 2);
  store(keys);
  Admission admission = cache->admit(ns, keys, 0, 2, true);
  ASSERT_TRUE(loader->read_ahead(std::move(admission.filling), {true, true}));
  while (cache->match_run(ns.id(), keys).blocks < 2) std::this_thread::sleep_for(1ms);
  // Both blocks of L1 can be evicted again; the task itself may take a moment to go.
  const auto others = make_keys(2, 2);
  while (cache->admit(ns, others, 0, 2, true).filling.size() < 2) std::this_thread::sleep_for(1ms);
}

TEST_F(LoaderTest, StoreThatThrowsIsUnavailable) {
  start();
  const auto keys = make_keys(1, 1);
  store(keys);
  hooks->contains = hooks->read = hooks->erase = [] { throw std::runtime_error("broken"); };
  EXPECT_EQ(ask(keys, Deadline::never()), Reason::kUnavailable);
  EXPECT_EQ(present, (std::vector<bool>{false}));
  std::vector<Reason> outcomes;
  Pins loaded(cache);
  loader->read(transit(keys), {false}, Deadline::never(), outcomes, loaded);
  EXPECT_EQ(outcomes[0], Reason::kUnavailable);
  EXPECT_EQ(loader->erase(ids(keys), Deadline::never()), 0);
}

TEST_F(LoaderTest, LocalIndexAnswersWithoutAThreadAndWithoutWaiting) {
  hooks->info.local_index = true;
  start();
  const auto keys = make_keys(1, 1);
  const auto caller = std::this_thread::get_id();
  std::thread::id seen;
  hooks->contains = [&seen] { seen = std::this_thread::get_id(); };
  EXPECT_EQ(ask(keys, Deadline::now()), Reason::kNone);
  EXPECT_EQ(seen, caller);
}

TEST_F(LoaderTest, LookingDoesNotUseUpTheProbeOfALocalIndex) {
  hooks->info.local_index = true;
  options.l2_max_abandoned = 1;
  options.l2_eject_for = 1ms;
  start();
  const auto gate = std::make_shared<Gate>();
  const auto keys = make_keys(1, 1);
  store(keys);
  hooks->read = [gate] { gate->pass(); };
  std::vector<Reason> outcomes;
  Pins loaded(cache);
  loader->read(transit(keys), {false}, Deadline::after(20ms), outcomes, loaded);
  ASSERT_EQ(stats().ejections, 1);
  std::this_thread::sleep_for(2ms);  // the probe is due
  for (int i = 0; i < 5; ++i) EXPECT_EQ(ask(keys, Deadline::never(), false), Reason::kNone);
  EXPECT_EQ(ask(keys, Deadline::never(), true), Reason::kNone) << "looking took the probe";
  gate->open();
  await_running(0);
}

TEST_F(LoaderTest, ClosesWhileAReadHangs) {
  start();
  const auto gate = std::make_shared<Gate>();
  const auto keys = make_keys(1, 1);
  store(keys);
  hooks->read = [gate] { gate->pass(); };
  {
    std::vector<Reason> outcomes;
    Pins loaded(cache);
    loader->read(transit(keys), {false}, Deadline::after(20ms), outcomes, loaded);
  }
  gate->await(1);
  const std::weak_ptr<MemoryCache> memory = cache;
  loader.reset();
  cache.reset();
  EXPECT_FALSE(gate->is_open());
  EXPECT_FALSE(memory.expired()) << "the read that was left behind keeps what it may write to";
  gate->open();
  while (!memory.expired()) std::this_thread::sleep_for(1ms);
}

}  // namespace
}  // namespace reprise
