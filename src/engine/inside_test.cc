#include "engine/inside.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "testing/engine_fixture.h"
#include "testing/manual_clock.h"

namespace reprise {
namespace {

using Where = Explained::Where;

class InsideTest : public EngineTest {
 protected:
  void open(EngineExtras extras, const Clock& with = steady(), bool l2 = true) {
    if (!l2) options.l2_url.clear();
    std::unique_ptr<Store> behind;
    if (l2) behind = std::make_unique<HookStore>(hooks);
    auto made =
        Engine::create(options, *PolicyRegistry::with_builtins().make("lru", {}), std::move(behind), with, extras);
    ASSERT_TRUE(made.has_value());
    engine = std::move(*made);
    engine->set_close_grace(50ms);
  }
  Explained explain(const BlockKey& key, Deadline deadline = Deadline::never()) {
    auto answer = engine->explain(ns.id(), key, deadline);
    EXPECT_TRUE(answer.has_value());
    return *answer;
  }
  /// Fills place i with the payload of `key`; answers its checksum.
  std::uint64_t fill(Reservation& reservation, std::size_t i, const BlockKey& key) {
    const Payloads payload(ns, std::span(&key, 1));
    std::ranges::copy(payload.views[0], reservation.block(i).begin());
    return checksum(payload.views[0]);
  }
};

TEST_F(InsideTest, LeaseNamesItsBlocksInTheArenaAndItsWord) {
  options.l1_memory = Memory::kMemfd;
  open({.shared_leases = true, .observe = false}, steady(), false);
  const auto keys = make_keys(1, 3);
  put(keys);
  ASSERT_NE(engine->lease_words(), nullptr);
  EXPECT_GE(engine->arena().fd(), 0);
  EXPECT_EQ(engine->populate_bytes(), options.l1_capacity);
  auto acquired = engine->acquire(Chain(ns, keys));
  const LeaseInside inside = engine->inside(acquired->lease);
  ASSERT_EQ(inside.blocks.size(), 3);
  EXPECT_NE(inside.generation, 0);
  EXPECT_GT(inside.expires, std::chrono::steady_clock::now());
  for (std::size_t i = 0; i < 3; ++i) {
    const auto offset = static_cast<std::uint64_t>(inside.blocks[i].data - engine->arena().data());
    EXPECT_LE(offset + kBlock, engine->arena().size());
    EXPECT_EQ(inside.blocks[i].data, acquired->lease.block(i).data());
  }
  auto attached = engine->attach(*acquired->lease.token());
  EXPECT_EQ(engine->inside(*attached).generation, inside.generation);
  EXPECT_EQ(engine->inside(*attached).word, inside.word);
  EXPECT_TRUE(engine->inside(Lease()).blocks.empty());
}

TEST_F(InsideTest, NothingIsSharedUnlessAskedFor) {
  open({}, steady(), false);
  const auto keys = make_keys(1, 1);
  put(keys);
  EXPECT_EQ(engine->lease_words(), nullptr);
  auto acquired = engine->acquire(Chain(ns, keys));
  EXPECT_EQ(engine->inside(acquired->lease).generation, 0);
  EXPECT_EQ(engine->departures(), DepartureCounts{});
}

TEST_F(InsideTest, BusyWhenLeaseWordsRunOutUntilOneIsBack) {
  open({.shared_leases = true, .observe = false}, steady(), false);
  const auto keys = make_keys(1, 1);
  put(keys);
  std::vector<Lease> leases;
  for (std::uint32_t i = 0; i < LeaseWords::kCount; ++i) {
    leases.push_back(std::move(engine->acquire(Chain(ns, keys))->lease));
  }
  ASSERT_EQ(leases.back().size(), 1);
  auto refused = engine->acquire(Chain(ns, keys));
  EXPECT_EQ(refused->match.blocks, 0);
  EXPECT_EQ(refused->match.reason, Reason::kBusy);
  EXPECT_TRUE(refused->lease.empty());
  EXPECT_EQ(reasons(Reason::kBusy), 1);
  leases.pop_back();
  EXPECT_EQ(engine->acquire(Chain(ns, keys))->match.blocks, 1);
}

TEST_F(InsideTest, ExpireLeasesNeedsNoCall) {
  testing::ManualClock clock;
  open({.shared_leases = true, .observe = false}, clock, false);
  const auto keys = make_keys(1, 2);
  put(keys);
  auto acquired = engine->acquire(Chain(ns, keys));
  EXPECT_EQ(engine->expire_leases(), 0);
  EXPECT_EQ(engine->checksums(acquired->lease).size(), 2);
  clock.advance(options.lease_ttl);
  EXPECT_EQ(engine->expire_leases(), 1);
  EXPECT_EQ(engine->stats().leases, 0);
  EXPECT_TRUE(engine->checksums(acquired->lease).empty()) << "its blocks may be others' by now";
}

TEST_F(InsideTest, ChecksumsAreThoseOfTheContent) {
  open({}, steady(), false);
  const auto keys = make_keys(1, 2);
  put(keys);
  const Payloads payloads(ns, keys);
  auto acquired = engine->acquire(Chain(ns, keys));
  EXPECT_THAT(engine->checksums(acquired->lease),
              ::testing::ElementsAre(checksum(payloads.views[0]), checksum(payloads.views[1])));
}

TEST_F(InsideTest, AnswersAtOnceOnlyWhatMemoryHasWhole) {
  open({});
  const auto keys = make_keys(1, 4);
  const Chain whole(ns, keys);
  const Chain half(ns, std::span(keys).first(2));
  store(keys);
  EXPECT_FALSE(engine->answers_at_once(std::span(&half, 1)));
  acquire(std::span(keys).first(2));
  EXPECT_TRUE(engine->answers_at_once(std::span(&half, 1)));
  EXPECT_FALSE(engine->answers_at_once(std::span(&whole, 1)));
  const Chain both[] = {half, whole};
  EXPECT_TRUE(engine->answers_at_once(both)) << "the common run is what half has";
  const auto before = engine->stats();
  static_cast<void>(engine->answers_at_once(both));
  EXPECT_EQ(engine->stats().requested, before.requested);
  open({}, steady(), false);
  EXPECT_TRUE(engine->answers_at_once(std::span(&whole, 1))) << "nobody to wait for";
}

TEST_F(InsideTest, EachFindsWhatIsInEitherTierWhateverIsMissingBetween) {
  open({});
  const auto keys = make_keys(1, 6);
  put(std::span(keys).subspan(1, 1), {}, 0);
  ASSERT_TRUE(engine->flush(Deadline::never()).value());
  store(std::span(keys).subspan(3, 2));
  const auto found = engine->find_each(Chain(ns, keys), Deadline::never());
  ASSERT_TRUE(found.has_value());
  EXPECT_THAT(found->found, ::testing::ElementsAre(false, true, false, true, true, false));
  EXPECT_EQ(found->match.from_l1, 1U);
  EXPECT_EQ(found->match.from_l2, 2U);
  EXPECT_EQ(found->match.reason, Reason::kMiss);
  const auto acquired = engine->acquire_each(Chain(ns, keys), Deadline::never());
  ASSERT_TRUE(acquired.has_value());
  EXPECT_EQ(acquired->each.found, found->found);
  ASSERT_EQ(acquired->lease.size(), 3U);
  EXPECT_TRUE(is_payload(ns, keys[1], acquired->lease.block(0)));
  EXPECT_TRUE(is_payload(ns, keys[3], acquired->lease.block(1)));
  EXPECT_TRUE(is_payload(ns, keys[4], acquired->lease.block(2)));
  EXPECT_EQ(engine->find_each(Chain(ns, keys), Deadline::never())->match.from_l1, 3U) << "they were brought up";
}

TEST_F(InsideTest, EachEndsAtWhatCannotBeBroughtUp) {
  open({});
  const auto keys = make_keys(1, 6);
  store(std::span(keys).subspan(1, 1));
  store_corrupt(keys[3]);
  store(std::span(keys).subspan(4, 2));
  const auto acquired = engine->acquire_each(Chain(ns, keys), Deadline::never());
  ASSERT_TRUE(acquired.has_value());
  EXPECT_THAT(acquired->each.found, ::testing::ElementsAre(false, true, false, false, false, false));
  EXPECT_EQ(acquired->each.match.reason, Reason::kCorrupt);
  ASSERT_EQ(acquired->lease.size(), 1U);
  EXPECT_TRUE(is_payload(ns, keys[1], acquired->lease.block(0)));
  const auto again = engine->acquire_each(Chain(ns, keys), Deadline::never());
  EXPECT_THAT(again->each.found, ::testing::ElementsAre(false, true, false, false, true, true));
}

TEST_F(InsideTest, ReservationSaysWhatIsToBeFilled) {
  options.l1_capacity = 4 * kBlock;
  open({}, steady(), false);
  const auto keys = make_keys(1, 6);
  put(std::span(keys).first(2));
  const auto held = engine->acquire(Chain(ns, std::span(keys).first(2)));
  auto reservation = engine->reserve_range(Chain(ns, keys), 1, 6, Deadline::never());
  ASSERT_TRUE(reservation.has_value());
  const auto places = engine->inside(*reservation).places;
  ASSERT_EQ(places.size(), 5);
  EXPECT_EQ(places[0].kind, PlaceKind::kPresent);
  EXPECT_EQ(places[1].kind, PlaceKind::kWritable);
  EXPECT_EQ(places[1].memory.data, reservation->block(1).data());
  EXPECT_EQ(places[4].kind, PlaceKind::kDeclined);
  EXPECT_EQ(places[4].reason, Reason::kDeclined) << "the deepest newcomers are worth least";
  EXPECT_FALSE(engine->reserve_range(Chain(ns, keys), 3, 2, Deadline::never()).has_value());
  EXPECT_FALSE(engine->reserve_range(Chain(ns, keys), 0, 7, Deadline::never()).has_value());
}

TEST_F(InsideTest, RangeEndsBeforeTheChainDoes) {
  open({}, steady(), false);
  const auto keys = make_keys(1, 6);
  auto reservation = engine->reserve_range(Chain(ns, keys), 0, 2, Deadline::never());
  ASSERT_EQ(reservation->size(), 2);
  for (std::size_t i = 0; i < 2; ++i) fill(*reservation, i, keys[i]);
  EXPECT_EQ(reservation->commit(2), 2);
  EXPECT_EQ(acquire(keys).blocks, 2);
}

TEST_F(InsideTest, CommitEachPublishesOnlyWhatIsComplete) {
  options.l1_capacity = 4 * kBlock;  // two places are for L2 only
  open({});
  const auto keys = make_keys(1, 6);
  auto reservation = engine->reserve(Chain(ns, keys), 0, Deadline::never());
  for (std::size_t i = 0; i < 6; ++i) fill(*reservation, i, keys[i]);
  const std::vector<bool> complete = {true, true, false, true, true};  // the sixth is not even named
  EXPECT_EQ(engine->commit_each(*reservation, complete), 4);
  EXPECT_EQ(reservation->size(), 0);
  EXPECT_EQ(acquire(keys).blocks, 2);
  ASSERT_TRUE(engine->flush(Deadline::never()).value());
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(explain(keys[i]).where == Where::kNowhere, i == 2 || i == 5) << "block " << i;
  }
}

TEST_F(InsideTest, ChecksumOfTheWriterIsPublishedAndGoesToL2) {
  open({});
  const auto keys = make_keys(1, 2);
  auto reservation = engine->reserve(Chain(ns, keys), 0, Deadline::never());
  const std::uint64_t right = fill(*reservation, 0, keys[0]);
  const std::uint64_t other = fill(*reservation, 1, keys[1]) ^ 1;  // to see that nobody computes it again
  engine->set_checksum(*reservation, 0, right);
  engine->set_checksum(*reservation, 1, other);
  engine->set_checksum(*reservation, 2, other);  // beyond the end: nothing happens
  EXPECT_EQ(engine->commit_each(*reservation, {true, true}), 2);
  {
    auto acquired = engine->acquire(Chain(ns, keys));
    EXPECT_THAT(engine->checksums(acquired->lease), ::testing::ElementsAre(right, other));
    EXPECT_EQ(checksum(acquired->lease.block(0)), right);
  }
  ASSERT_TRUE(engine->flush(Deadline::never()).value());
  std::vector<std::byte> memory(kBlock);
  for (std::size_t i = 0; i < 2; ++i) {
    ReadOp op{{ns.id(), keys[i]}, memory, 0, Reason::kMiss};
    hooks->mock.read(std::span(&op, 1), Deadline::never());
    EXPECT_EQ(op.result, i == 0 ? Reason::kNone : Reason::kCorrupt) << "stored with the checksum it was given";
  }
}

TEST_F(InsideTest, ExplainsWhereABlockIsAndWhyItLeft) {
  testing::ManualClock clock;
  options.l1_capacity = 2 * kBlock;
  hooks->info.local_index = true;  // waiting for a thread of the store would go by the real clock
  open({.shared_leases = false, .observe = true}, clock);
  const auto keys = make_keys(1, 2);
  EXPECT_EQ(explain(keys[0]).where, Where::kNowhere);
  put(keys);
  ASSERT_TRUE(engine->flush(Deadline::never()).value());
  clock.advance(7s);
  {
    auto lease = engine->acquire(Chain(ns, keys));
    const Explained here = explain(keys[0]);
    EXPECT_EQ(here.where, Where::kL1);
    EXPECT_EQ(here.bytes, kBlock);
    EXPECT_EQ(here.readers, 1);
    EXPECT_EQ(here.hits, 1);
    EXPECT_EQ(here.age, 7s);
    EXPECT_TRUE(here.saved);
    EXPECT_FALSE(here.last_departure);
  }
  put(make_keys(2, 2));
  clock.advance(3s);
  const Explained gone = explain(keys[0]);
  EXPECT_EQ(gone.where, Where::kL2);
  ASSERT_TRUE(gone.last_departure);
  EXPECT_EQ(gone.last_departure->why, DepartureWhy::kEvicted);
  EXPECT_EQ(gone.last_departure->ago, 3s);
  EXPECT_EQ(engine->departures()[static_cast<std::size_t>(DepartureWhy::kEvicted)], 2);
}

TEST_F(InsideTest, ExplainSaysWhenL2CouldNotBeAsked) {
  open({});
  const auto keys = make_keys(1, 1);
  store(keys);
  EXPECT_EQ(explain(keys[0]).where, Where::kL2);
  const Explained late = explain(keys[0], Deadline::now());
  EXPECT_EQ(late.where, Where::kNowhere);
  EXPECT_EQ(late.l2, Reason::kTimeout);
}

TEST_F(InsideTest, ExplainsWhatFillsAndWhatIsOnItsWay) {
  options.l1_capacity = 2 * kBlock;
  open({.shared_leases = false, .observe = true});
  const auto gate = std::make_shared<Gate>();
  hooks->write = [gate] { gate->pass(); };
  const auto keys = make_keys(1, 3);
  auto reservation = engine->reserve(Chain(ns, keys), 0, Deadline::never());
  EXPECT_EQ(explain(keys[0]).where, Where::kFilling);
  for (std::size_t i = 0; i < 3; ++i) fill(*reservation, i, keys[i]);
  EXPECT_EQ(reservation->commit(3), 3);
  EXPECT_EQ(explain(keys[0]).where, Where::kL1);
  EXPECT_EQ(explain(keys[2]).where, Where::kOutbound) << "declined by memory, not written yet";
  gate->open();
}

TEST_F(InsideTest, UsageByNamespaceAndPurge) {
  open({.shared_leases = false, .observe = true});
  const auto keys = make_keys(1, 3);
  const Namespace other = make_namespace(2 * kBlock);
  const Payloads payloads(other, keys);
  put(keys);
  ASSERT_TRUE(engine->put(Chain(other, keys), 0, payloads.views).has_value());
  ASSERT_TRUE(engine->flush(Deadline::never()).value());
  const auto usage = engine->usage();
  ASSERT_EQ(usage.size(), 2);
  EXPECT_EQ(usage[0].id, other.id());
  EXPECT_EQ(usage[0].blocks, 3);
  EXPECT_EQ(usage[0].bytes, 6 * kBlock);
  EXPECT_EQ(usage[1].bytes, 3 * kBlock);

  EXPECT_EQ(engine->purge(ns.id(), Deadline::never()), 6) << "three in memory, three in L2";
  EXPECT_EQ(explain(keys[0]).where, Where::kNowhere);
  EXPECT_EQ(explain(keys[0]).last_departure->why, DepartureWhy::kPurged);
  EXPECT_EQ(engine->acquire(Chain(other, keys))->match.blocks, 3);
  EXPECT_EQ(engine->purge(std::nullopt, Deadline::never()), 6);
  EXPECT_TRUE(engine->usage().empty());
  EXPECT_EQ(engine->acquire(Chain(other, keys))->match.blocks, 0);
}

}  // namespace
}  // namespace reprise
