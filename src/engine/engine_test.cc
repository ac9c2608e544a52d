#include "engine/engine.h"

#include "testing/engine_fixture.h"
#include "testing/manual_clock.h"

namespace reprise {
namespace {

TEST_F(EngineTest, BringsUpFromTheStoreAndKeepsItInMemory) {
  start();
  const auto keys = make_keys(1, 10);
  store(keys);
  const Match first = acquire(keys);
  EXPECT_EQ(first.blocks, 10);
  EXPECT_EQ(first.from_l2, 10);
  EXPECT_EQ(first.reason, Reason::kNone);
  const Match second = acquire(keys);
  EXPECT_EQ(second.from_l1, 10);
  const CacheStats stats = engine->stats();
  EXPECT_EQ(stats.requested, 20);
  EXPECT_EQ(stats.l1.hits, 10);
  EXPECT_EQ(stats.l2.hits, 10);
  EXPECT_EQ(stats.l2.read_bytes, 10 * kBlock);
  ASSERT_TRUE(engine->flush(Deadline::never()).value());
  EXPECT_EQ(hooks->write_calls, 0) << "what came from L2 does not go back";
}

TEST_F(EngineTest, MatchMovesNothingAndTouchesNothing) {
  start();
  const auto keys = make_keys(1, 3);
  store(keys);
  const auto match = engine->match(Chain(ns, keys));
  EXPECT_EQ(match->blocks, 3);
  EXPECT_EQ(match->from_l2, 3);
  EXPECT_EQ(hooks->read_calls, 0);
  EXPECT_EQ(engine->stats().l1.blocks, 0);
  EXPECT_EQ(engine->stats().requested, 0);
}

TEST_F(EngineTest, RequestLargerThanL1IsServedFromMemoryOfItsOwn) {
  options.l1_capacity = 4 * kBlock;
  start();
  const auto keys = make_keys(1, 20);
  store(keys);
  EXPECT_EQ(acquire(keys).blocks, 20);
  EXPECT_LE(engine->stats().l1.blocks, 4);
}

TEST_F(EngineTest, NoL1AtAll) {
  options.l1_capacity = 0;
  start();
  const auto keys = make_keys(1, 8);
  EXPECT_EQ(put(keys).accepted, 8);
  EXPECT_EQ(acquire(keys).blocks, 8) << "from the queue or from the store";
  ASSERT_TRUE(engine->flush(Deadline::never()).value());
  EXPECT_EQ(acquire(keys).blocks, 8);
  EXPECT_EQ(put(keys).accepted, 8) << "a store without a local index is not asked";
}

// A corrupt block makes the run shorter, and the shorter run of a window needs blocks nobody had brought up.
TEST_F(EngineTest, ShorterRunOfAWindowBringsUpItsOwnBlocks) {
  start();
  const auto keys = make_keys(1, 10);
  store(std::span(keys).first(9));
  store_corrupt(keys[9]);
  const Match match = acquire(keys, Deadline::never(), MatchRule::last(2));
  EXPECT_EQ(match.blocks, 9);
  EXPECT_EQ(match.reason, Reason::kCorrupt);
  EXPECT_EQ(reasons(Reason::kCorrupt), 1);
}

TEST_F(EngineTest, EveryBlockCorruptEndsWithNothing) {
  start();
  const auto keys = make_keys(1, 50);
  for (const BlockKey& key : keys) store_corrupt(key);
  const Match match = acquire(keys, Deadline::never(), MatchRule::last(1));
  EXPECT_EQ(match.blocks, 0);
  EXPECT_EQ(match.reason, Reason::kCorrupt);
  EXPECT_LT(hooks->read_calls, 10) << "does not try one window after the other for ever";
}

TEST_F(EngineTest, ShorterPrefixMovesTheWindowOfAnotherChain) {
  start();
  const auto full = make_keys(1, 10);
  const auto window = make_keys(2, 10);
  store(full);
  store(window);
  BlockId id{ns.id(), full[6]};
  ASSERT_EQ(hooks->mock.erase(std::span(&id, 1), Deadline::never()).value(), 1);
  store_corrupt(full[6]);
  const std::vector<Chain> chains = {Chain(ns, full), Chain(ns, window, MatchRule::last(2))};
  Buffers out(ns, 20);
  const auto match = engine->get(chains, 0, out.views, Deadline::never());
  ASSERT_TRUE(match.has_value());
  EXPECT_EQ(match->blocks, 6);
  for (std::size_t i = 0; i < 6; ++i) EXPECT_TRUE(is_payload(ns, full[i], out.bytes[i]));
  for (std::size_t i = 0; i < 10; ++i) {
    if (i == 4 || i == 5) {
      EXPECT_TRUE(is_payload(ns, window[i], out.bytes[10 + i]));
    } else {
      EXPECT_TRUE(out.untouched(10 + i)) << i;
    }
  }
}

TEST_F(EngineTest, CommonRunIsLeasedAtomically) {
  options.l2_url = "";
  start();
  const auto a = make_keys(1, 5);
  const auto b = make_keys(2, 5);
  put(a);
  put(std::span(b).first(3));
  const std::vector<Chain> chains = {Chain(ns, a), Chain(ns, b)};
  auto acquired = engine->acquire(chains, Deadline::never());
  EXPECT_EQ(acquired->match.blocks, 3);
  EXPECT_EQ(acquired->match.reason, Reason::kMiss);
  ASSERT_EQ(acquired->lease.size(), 6);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(is_payload(ns, a[i], acquired->lease.block(i)));
    EXPECT_TRUE(is_payload(ns, b[i], acquired->lease.block(3 + i)));
  }
  // Nothing that the lease holds leaves, whatever is put.
  for (std::uint64_t c = 10; c < 40; ++c) put(make_keys(c, 10));
  for (std::size_t i = 0; i < 3; ++i) EXPECT_TRUE(is_payload(ns, a[i], acquired->lease.block(i)));
  EXPECT_TRUE(acquired->lease.still_valid());
  EXPECT_EQ(acquire(std::span(a).first(3)).blocks, 3);
}

TEST_F(EngineTest, SameChainTwiceInOneCall) {
  start();
  const auto keys = make_keys(1, 5);
  store(keys);
  const std::vector<Chain> chains = {Chain(ns, keys), Chain(ns, keys)};
  auto acquired = engine->acquire(chains, Deadline::never());
  ASSERT_EQ(acquired->lease.size(), 10);
  for (std::size_t i = 0; i < 10; ++i) EXPECT_TRUE(is_payload(ns, keys[i % 5], acquired->lease.block(i)));
}

TEST_F(EngineTest, ExactRuleIsCompleteAtItsPosition) {
  for (const char* l2 : {"", "hook:"}) {
    options.l2_url = l2;
    start();
    const auto keys = make_keys(1, 8);
    put(keys, MatchRule::exact(3));
    const Match match = acquire(keys, Deadline::never(), MatchRule::exact(3));
    EXPECT_EQ(match.blocks, 4);
    EXPECT_EQ(match.reason, Reason::kNone) << "nothing is missing";
    EXPECT_EQ(engine->match(Chain(ns, keys, MatchRule::exact(3)))->reason, Reason::kNone);
    const auto behind = make_keys(2, 8);
    EXPECT_EQ(acquire(behind, Deadline::never(), MatchRule::exact(3)).reason, Reason::kMiss);
  }
}

TEST_F(EngineTest, GetBehindAnExactPositionFindsNothing) {
  start();
  const auto keys = make_keys(1, 8);
  put(keys);
  Buffers out(ns, 4);
  auto match = engine->get(Chain(ns, keys, MatchRule::exact(2)), 4, out.views);
  EXPECT_EQ(match->blocks, 0) << "position 2 is not among blocks 4 to 8";
  EXPECT_TRUE(out.untouched(0));
  match = engine->get(Chain(ns, keys, MatchRule::exact(5)), 4, out.views);
  EXPECT_EQ(match->blocks, 2);
  EXPECT_TRUE(is_payload(ns, keys[5], out.bytes[1]));
  EXPECT_TRUE(out.untouched(0));
}

TEST_F(EngineTest, ReasonsOfAnEnd) {
  options.l2_url = "";
  start();
  const auto keys = make_keys(1, 6);
  put(std::span(keys).first(2));
  put(keys, MatchRule::last(1), 4);
  EXPECT_EQ(acquire(keys).reason, Reason::kHole);
  EXPECT_EQ(engine->match(Chain(ns, keys))->reason, Reason::kHole);
  EXPECT_EQ(acquire(std::span(keys).first(4)).reason, Reason::kMiss);
  EXPECT_EQ(acquire(std::span(keys).first(2)).reason, Reason::kNone);
  EXPECT_EQ(reasons(Reason::kHole), 1);
  EXPECT_EQ(reasons(Reason::kMiss), 1);
  // Holes in front of a window are what the rule allows.
  EXPECT_EQ(acquire(keys, Deadline::never(), MatchRule::last(2)).blocks, 6);
}

TEST_F(EngineTest, FromFarBeyondTheChainIsAnError) {
  options.l2_url = "";
  start();
  const auto keys = make_keys(1, 4);
  const Payloads payloads(ns, std::span(keys).first(2));
  Buffers out(ns, 2);
  for (const std::size_t from : {std::size_t{3}, std::size_t{5}, ~std::size_t{0}, ~std::size_t{0} - 1}) {
    EXPECT_EQ(engine->put(Chain(ns, keys), from, payloads.views).error().code, ErrorCode::kInvalid);
    EXPECT_EQ(engine->get(Chain(ns, keys), from, out.views).error().code, ErrorCode::kInvalid);
    if (from > 4) {
      EXPECT_EQ(engine->reserve(Chain(ns, keys), from, Deadline::never()).error().code, ErrorCode::kInvalid);
    }
  }
}

TEST_F(EngineTest, EraseReachesMemoryQueueAndStore) {
  start();
  const auto in_store = make_keys(1, 3);
  const auto in_queue = make_keys(2, 3);
  store(in_store);
  const auto gate = std::make_shared<Gate>();
  hooks->write = [gate] { gate->pass(); };
  put(make_keys(3, 1));  // keeps the writer busy
  gate->await(1);
  put(in_queue);
  EXPECT_EQ(engine->erase(Chain(ns, in_store)).value(), 3);
  EXPECT_GE(engine->erase(Chain(ns, in_queue)).value(), 3);
  EXPECT_EQ(acquire(in_queue).blocks, 0);
  gate->open();
  ASSERT_TRUE(engine->flush(Deadline::never()).value());
  EXPECT_EQ(acquire(in_queue).blocks, 0) << "what waited in the queue must not reach the store any more";
  EXPECT_EQ(acquire(in_store).blocks, 0);
}

TEST_F(EngineTest, EraseReachesBlocksOnTheirWayUp) {
  start();
  const auto gate = std::make_shared<Gate>();
  hooks->read = [gate] { gate->pass(); };
  const auto keys = make_keys(1, 3);
  store(keys);
  EXPECT_EQ(engine->prefetch(Chain(ns, keys))->blocks, 3);
  gate->await(1);
  EXPECT_EQ(engine->erase(Chain(ns, keys)).value(), 3);
  store(make_keys(2, 1));  // what the threads did is over when a read behind them is
  gate->open();
  EXPECT_EQ(acquire(make_keys(2, 1)).blocks, 1);
  while (engine->stats().l1.blocks != 1) put(make_keys(2, 1));  // the filling ones are given up
  EXPECT_EQ(acquire(keys).blocks, 0) << "a read that was under way must not bring them back";
}

TEST_F(EngineTest, BlockPendingInTheQueueIsFoundAndComesBackToL1) {
  options.l1_capacity = 4 * kBlock;
  options.l2_ingest = Ingest::kEvicted;
  start();
  const auto gate = std::make_shared<Gate>();
  hooks->write = [gate] { gate->pass(); };
  const auto keys = make_keys(1, 4);
  put(keys);
  put(make_keys(2, 4));  // evicts them into the queue
  const auto match = engine->match(Chain(ns, keys));
  EXPECT_EQ(match->blocks, 4);
  EXPECT_EQ(match->from_l2, 4);
  EXPECT_EQ(acquire(keys).blocks, 4);
  EXPECT_EQ(hooks->read_calls, 0) << "read from the queue";
  EXPECT_EQ(acquire(keys).from_l1, 4) << "and back in L1";
  EXPECT_FALSE(gate->is_open());
  gate->open();
}

TEST_F(EngineTest, PrefetchBringsIntoL1) {
  start();
  const auto keys = make_keys(1, 8);
  store(keys);
  const auto match = engine->prefetch(Chain(ns, keys));
  EXPECT_EQ(match->blocks, 8);
  EXPECT_EQ(match->from_l2, 8);
  while (engine->match(Chain(ns, keys))->from_l1 < 8) std::this_thread::sleep_for(1ms);
  EXPECT_EQ(engine->stats().l2.hits, 0) << "nobody was served yet";
  EXPECT_EQ(acquire(keys).from_l1, 8);
}

TEST_F(EngineTest, PrefetchReadsOnlyWhatL1Takes) {
  options.l1_capacity = 4 * kBlock;
  start();
  const auto held = make_keys(9, 4);
  put(held);
  auto lease = engine->acquire(Chain(ns, held));
  ASSERT_TRUE(engine->flush(Deadline::never()).value());
  const auto keys = make_keys(1, 8);
  store(keys);
  const auto match = engine->prefetch(Chain(ns, keys));
  EXPECT_EQ(match->blocks, 0);
  EXPECT_EQ(match->reason, Reason::kFull) << "what is resident is leased: " << to_string(match->reason);
  EXPECT_EQ(hooks->read_calls, 0);
}

TEST_F(EngineTest, LeasesExpire) {
  options.l2_url = "";
  options.lease_ttl = 100ms;
  testing::ManualClock clock;
  start(clock);
  const auto keys = make_keys(1, 4);
  put(keys);
  auto acquired = engine->acquire(Chain(ns, keys));
  const auto token = acquired->lease.token();
  ASSERT_TRUE(token.has_value());
  clock.advance(99ms);
  EXPECT_TRUE(acquired->lease.still_valid());
  auto second = engine->attach(*token);
  ASSERT_TRUE(second.has_value());
  EXPECT_TRUE(is_payload(ns, keys[3], second->block(3)));
  EXPECT_TRUE(acquired->lease.renew(50ms));
  clock.advance(49ms);
  EXPECT_TRUE(second->still_valid()) << "the holders share one lease";
  clock.advance(1ms);
  EXPECT_FALSE(acquired->lease.still_valid());
  EXPECT_FALSE(second->still_valid());
  EXPECT_FALSE(acquired->lease.renew(1s));
  EXPECT_FALSE(engine->attach(*token).has_value());
  // The blocks may be evicted now, while both holders still exist.
  EXPECT_EQ(put(make_keys(2, 64)).accepted, 64);
  EXPECT_EQ(engine->stats().leases_expired, 1);
  EXPECT_EQ(engine->stats().leases, 0);
}

TEST_F(EngineTest, ReservationOutlivesTheEngine) {
  start();
  const auto keys = make_keys(1, 4);
  auto reserved = engine->reserve(Chain(ns, keys), 0, Deadline::never());
  ASSERT_TRUE(reserved.has_value());
  auto dropped = engine->reserve(Chain(ns, make_keys(2, 4)), 0, Deadline::never());
  engine.reset();
  for (std::size_t i = 0; i < reserved->size(); ++i) {
    std::memcpy(reserved->block(i).data(), testing::payload(ns, keys[i]).data(), kBlock);
  }
  EXPECT_EQ(reserved->commit(4), 4);
}

}  // namespace
}  // namespace reprise
