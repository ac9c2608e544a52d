// What the engine promises when its store misbehaves: fewer blocks with a reason, never wrong bytes, never a hang.
#include <atomic>
#include <random>
#include <stdexcept>

#include "testing/engine_fixture.h"
#include "testing/faulty_store.h"

namespace reprise {
namespace {

using FaultsTest = EngineTest;

TEST_F(FaultsTest, HangingContainsCostsTheDeadline) {
  start();
  const auto gate = std::make_shared<Gate>();
  hooks->contains = [gate] { gate->pass(); };
  const auto keys = make_keys(1, 4);
  put(std::span(keys).first(2));
  const Match match = acquire(keys, Deadline::after(10ms));
  EXPECT_FALSE(gate->is_open());
  EXPECT_EQ(match.blocks, 2) << "what is in memory is served";
  EXPECT_EQ(match.reason, Reason::kTimeout);
  EXPECT_EQ(reasons(Reason::kTimeout), 1);
  EXPECT_EQ(engine->match(Chain(ns, keys), Deadline::after(10ms))->reason, Reason::kTimeout);
  EXPECT_EQ(engine->prefetch(Chain(ns, keys), Deadline::after(10ms))->blocks, 2);
  gate->open();
  await_running(0);
}

TEST_F(FaultsTest, L2TimeoutBoundsCallsWithoutADeadline) {
  options.l2_timeout = 10ms;
  start();
  const auto gate = std::make_shared<Gate>();
  hooks->contains = hooks->erase = [gate] { gate->pass(); };
  const auto keys = make_keys(1, 1);
  EXPECT_EQ(acquire(keys).reason, Reason::kTimeout);
  EXPECT_EQ(engine->match(Chain(ns, keys))->reason, Reason::kTimeout);
  EXPECT_EQ(engine->erase(Chain(ns, keys)).value(), 0);
  EXPECT_FALSE(gate->is_open());
  gate->open();
  await_running(0);
}

TEST_F(FaultsTest, HangingReadCostsTheDeadline) {
  start();
  const auto gate = std::make_shared<Gate>();
  hooks->read = [gate] { gate->pass(); };
  const auto keys = make_keys(1, 4);
  store(keys);
  Buffers out(ns, 4);
  const auto match = engine->get(Chain(ns, keys), 0, out.views, Deadline::after(100ms));
  EXPECT_EQ(match->blocks, 0);
  EXPECT_EQ(match->reason, Reason::kTimeout);
  gate->await(1);
  EXPECT_FALSE(gate->is_open());
  gate->open();
  await_running(0);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_TRUE(out.untouched(i)) << "the caller's memory is not written late";
}

TEST_F(FaultsTest, LateReadSpoilsNobodysBytes) {
  options.l1_capacity = 8 * kBlock;
  options.l2_queue_bytes = 16 * kBlock;
  start();
  const auto gate = std::make_shared<Gate>();
  hooks->read = [gate] { gate->pass(); };
  const auto late = make_keys(1, 4);
  store(late);
  acquire(late, Deadline::after(100ms));
  gate->await(1);
  // Everybody else uses what memory there is, over and over, while the read hangs on to its own.
  std::vector<Acquired> held;
  for (std::uint64_t c = 2; c < 12; ++c) {
    put(make_keys(c, 4));
    if (c % 5 == 0) held.push_back(std::move(*engine->acquire(Chain(ns, make_keys(c, 4)), Deadline::now())));
  }
  gate->open();
  await_running(0);
  hooks->read = nullptr;
  for (std::size_t h = 0; h < held.size(); ++h) {
    const auto keys = make_keys(5 * (h + 1), 4);
    for (std::size_t i = 0; i < held[h].lease.size(); ++i) EXPECT_TRUE(is_payload(ns, keys[i], held[h].lease.block(i)));
  }
  for (std::uint64_t c = 1; c < 12; ++c) acquire(make_keys(c, 4));
}

TEST_F(FaultsTest, ExpiredDeadlineEvictsNothing) {
  options.l1_capacity = 4 * kBlock;
  hooks->info.local_index = true;
  start();
  const auto keys = make_keys(1, 4);
  const auto resident = make_keys(2, 4);
  store(keys);
  put(resident);
  const Match match = acquire(keys, Deadline::now());
  EXPECT_EQ(match.blocks, 0);
  EXPECT_EQ(match.reason, Reason::kTimeout);
  EXPECT_EQ(acquire(resident, Deadline::now()).from_l1, 4);
}

TEST_F(FaultsTest, EjectsAndRecovers) {
  options.l2_max_abandoned = 2;
  options.l2_eject_for = 1ms;
  start();
  const auto gate = std::make_shared<Gate>();
  std::atomic<bool> hang = true;
  hooks->contains = [gate, &hang] {
    if (hang) gate->pass();
  };
  const auto keys = make_keys(1, 2);
  store(keys);
  Reason seen = Reason::kNone;
  for (int i = 0; i < 1000 && seen != Reason::kUnavailable; ++i) seen = acquire(keys, Deadline::after(5ms)).reason;
  EXPECT_EQ(seen, Reason::kUnavailable);
  EXPECT_GE(engine->stats().ejections, 1);
  hang = false;
  gate->open();
  while (acquire(keys).blocks != 2) std::this_thread::sleep_for(1ms);
  await_running(0);
}

TEST_F(FaultsTest, FailedCopiesAreFewerBlocksWithTheReason) {
  // Through the double that scribbles over what it fails to read.
  const auto faults = std::make_shared<testing::StoreFaults>();
  for (const Reason reason :
       {Reason::kCorrupt, Reason::kForeign, Reason::kUnavailable, Reason::kTimeout, Reason::kMiss}) {
    auto mock = std::make_unique<MockStore>();
    auto made = Engine::create(options, *PolicyRegistry::with_builtins().make("lru", {}),
                               std::make_unique<testing::FaultyStore>(std::move(mock), faults), steady());
    ASSERT_TRUE(made.has_value());
    engine = std::move(*made);
    options.l1_capacity = 8 * kBlock;
    const auto keys = make_keys(1, 8);
    put(keys);
    for (std::uint64_t c = 2; c < 12; ++c) put(make_keys(c, 8));
    ASSERT_TRUE(engine->flush(Deadline::never()).value());
    EXPECT_EQ(engine->match(Chain(ns, keys))->from_l1 + 0, engine->match(Chain(ns, keys))->from_l1);
    faults->fail(reason, testing::kOpRead);
    const Match match = acquire(make_keys(2, 8));
    EXPECT_EQ(match.reason, reason);
    EXPECT_EQ(match.from_l2, 0);
    EXPECT_EQ(reasons(reason), 1);
    faults->fail(reason, testing::kOpRead, 3);  // the first three blocks of a chain
    EXPECT_EQ(acquire(make_keys(3, 8)).blocks, 0);
    faults->heal();
    EXPECT_EQ(acquire(make_keys(3, 8)).blocks, 8) << "a failed read leaves nothing behind that is in the way";
    faults->fail(Reason::kUnavailable, testing::kOpContains);
    EXPECT_EQ(acquire(make_keys(4, 8)).reason, Reason::kUnavailable);
    faults->heal();
  }
}

TEST_F(FaultsTest, FailedWritesCostOnlyLaterMisses) {
  options.l1_capacity = 8 * kBlock;
  start();
  hooks->written = [](std::span<WriteOp> ops) {
    for (WriteOp& op : ops) op.result = Reason::kUnavailable;
  };
  hooks->write = [] { throw std::runtime_error("no space left on device"); };
  for (std::uint64_t c = 1; c < 20; ++c) EXPECT_EQ(put(make_keys(c, 8)).accepted, 8);
  ASSERT_TRUE(engine->flush(Deadline::never()).value()) << "dropped counts as done";
  EXPECT_EQ(acquire(make_keys(19, 8)).blocks, 8);
  EXPECT_EQ(acquire(make_keys(1, 8)).blocks, 0);
  EXPECT_EQ(engine->stats().ingest_queued_bytes, 0);
}

TEST_F(FaultsTest, PutNeverWaitsForAHangingStore) {
  options.l1_capacity = 8 * kBlock;
  options.l2_queue_bytes = 8 * kBlock;
  start();
  const auto gate = std::make_shared<Gate>();
  hooks->write = hooks->contains = hooks->read = [gate] { gate->pass(); };
  std::size_t accepted = 0;
  for (std::uint64_t c = 1; c < 50; ++c) accepted += put(make_keys(c, 8)).accepted;
  EXPECT_FALSE(gate->is_open());
  EXPECT_GT(accepted, 0);
  EXPECT_GT(engine->stats().ingest_dropped, 0);
  EXPECT_LE(engine->stats().ingest_queued_bytes, 8 * kBlock);
  EXPECT_FALSE(engine->flush(Deadline::after(5ms)).value());
  gate->open();
  EXPECT_TRUE(engine->flush(Deadline::never()).value());
}

TEST_F(FaultsTest, ClosesWhileReadAndWriteHang) {
  start();
  const auto read = std::make_shared<Gate>();
  const auto write = std::make_shared<Gate>();
  hooks->read = [read] { read->pass(); };
  hooks->write = [write] { write->pass(); };
  const auto keys = make_keys(1, 4);
  store(keys);
  put(make_keys(2, 4));
  acquire(keys, Deadline::after(100ms));
  auto lease = engine->acquire(Chain(ns, make_keys(2, 4)), Deadline::now());
  engine->prefetch(Chain(ns, make_keys(1, 4)), Deadline::after(20ms)).value();
  read->await(1);
  write->await(1);
  engine.reset();
  EXPECT_FALSE(read->is_open() || write->is_open());
  EXPECT_TRUE(is_payload(ns, make_keys(2, 4)[3], lease->lease.block(3))) << "leases outlive their cache";
  read->open();
  write->open();
  lease->lease.release();
  while (hooks.use_count() > 1) std::this_thread::sleep_for(1ms);  // the threads left behind are done
}

TEST_F(FaultsTest, ThreadsAndAStoreThatFailsAtRandom) {
  options.l1_capacity = 48 * kBlock;
  options.l1_policy = "adaptive";
  options.l2_queue_bytes = 32 * kBlock;
  options.l2_timeout = 20ms;
  options.l2_max_abandoned = 4;
  options.l2_eject_for = 2ms;
  for (const Ingest ingest : {Ingest::kAll, Ingest::kEvicted, Ingest::kHot}) {
    options.l2_ingest = ingest;
    const auto faults = std::make_shared<testing::StoreFaults>();
    auto made = Engine::create(options, *PolicyRegistry::with_builtins().make(options.l1_policy, {}),
                               std::make_unique<testing::FaultyStore>(std::make_unique<MockStore>(), faults), steady());
    ASSERT_TRUE(made.has_value());
    engine = std::move(*made);
    engine->set_close_grace(2s);
    std::atomic<int> wrong = 0;
    std::atomic<std::uint64_t> served = 0;
    const auto work = [&](unsigned seed) {
      std::mt19937 random(seed);
      for (int i = 0; i < 150; ++i) {
        const auto keys = make_keys(random() % 12, 1 + random() % 12);
        const MatchRule rule = random() % 4 == 0 ? MatchRule::last(1 + random() % 3) : MatchRule::prefix();
        const Chain chain(ns, keys, rule);
        switch (random() % 8) {
          case 0:
          case 1:
          case 2: {
            const Payloads payloads(ns, keys);
            if (!engine->put(chain, 0, payloads.views)) ++wrong;
            break;
          }
          case 3:
          case 4: {
            auto got = engine->acquire(chain, Deadline::after(10ms));
            const NeededBlocks needed = needed_blocks(rule, got->match.blocks);
            for (std::size_t b = needed.first; b < needed.last; ++b) {
              if (!is_payload(ns, keys[b], got->lease.block(b - needed.first))) ++wrong;
              ++served;
            }
            break;
          }
          case 5: {
            Buffers out(ns, keys.size());
            const auto got = engine->get(chain, 0, out.views, Deadline::after(10ms));
            const NeededBlocks needed = needed_blocks(rule, got->blocks);
            for (std::size_t b = needed.first; b < needed.last; ++b) {
              if (!is_payload(ns, keys[b], out.bytes[b])) ++wrong;
              ++served;
            }
            break;
          }
          case 6: {
            if (!engine->prefetch(chain, Deadline::after(5ms))) ++wrong;
            if (random() % 8 == 0 && !engine->erase(chain, Deadline::after(5ms))) ++wrong;
            break;
          }
          default: {
            auto reserved = engine->reserve(chain, 0, Deadline::never());
            for (std::size_t b = 0; b < reserved->size(); ++b) {
              const auto memory = reserved->block(b);
              if (!memory.empty()) std::memcpy(memory.data(), testing::payload(ns, keys[b]).data(), kBlock);
            }
            if (random() % 3 != 0) reserved->commit(random() % (keys.size() + 1));
          }
        }
      }
    };
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 4; ++t) threads.emplace_back(work, t + 1);
    std::mt19937 random(99);
    for (int i = 0; i < 60; ++i) {
      switch (random() % 4) {
        case 0: faults->hang(1U << (random() % 3)); break;
        case 1: faults->fail(random() % 2 == 0 ? Reason::kCorrupt : Reason::kUnavailable, testing::kOpAll, 5); break;
        default: faults->heal();
      }
      std::this_thread::sleep_for(1ms);
    }
    faults->heal();
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(wrong, 0);
    EXPECT_GT(served, 0);
    await_running(0);
    EXPECT_TRUE(engine->flush(Deadline::after(60s)).value());
    EXPECT_EQ(engine->stats().leases, 0);
    EXPECT_EQ(engine->stats().ingest_queued_bytes, 0);
    engine.reset();
  }
}

}  // namespace
}  // namespace reprise
