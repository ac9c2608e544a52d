#include "server/server.h"

#include "testing/server_fixture.h"

namespace reprise::server_test {
namespace {

class ServerTest : public ::testing::Test {
 protected:
  Daemon daemon;
  const Namespace ns = make_namespace(4 * kKiB);
  const std::vector<BlockKey> keys = make_keys(1, 8);
};

TEST_F(ServerTest, BlocksFilledInPlaceAreReadInPlace) {
  daemon.start();
  Caller caller(daemon.connect(true));
  ASSERT_TRUE(caller.open()) << caller.error.message;
  EXPECT_EQ(caller.welcome().tenant, "default");
  ASSERT_EQ(caller.welcome().descriptors.size(), 2U);
  const std::uint32_t handle = caller.open_namespace(ns);
  EXPECT_EQ(caller.fill(ns, handle, keys), keys.size());

  const Mapping arena(caller.welcome().descriptors[0].get(), caller.welcome().arena_bytes, PROT_READ);
  const Mapping words(caller.welcome().descriptors[1].get(), caller.welcome().words * 8ULL, PROT_READ);
  ASSERT_TRUE(arena.ok() && words.ok());
  const auto* leased = caller.acquire(handle, keys);
  ASSERT_NE(leased, nullptr) << caller.error.message;
  EXPECT_EQ(leased->match()->blocks(), keys.size());
  ASSERT_EQ(leased->blocks()->size(), keys.size());
  for (std::uint32_t i = 0; i < keys.size(); ++i) {
    const wire::Piece& piece = *leased->blocks()->Get(i);
    EXPECT_TRUE(is_payload(ns, keys[i], {arena.data() + piece.offset(), piece.bytes()})) << i;
  }
  const auto& word = reinterpret_cast<const std::atomic<std::uint64_t>*>(words.data())[leased->word()];
  const std::uint64_t generation = leased->generation();
  EXPECT_TRUE(LeaseWords::valid(word, generation));
  EXPECT_TRUE(caller.release(leased->lease()));
  EXPECT_TRUE(Daemon::eventually([&] { return !LeaseWords::valid(word, generation); }));
  EXPECT_EQ(daemon.server->tenants()[0].stats.leases, 0U);
}

TEST_F(ServerTest, BlocksPutOverTheNetworkComeBack) {
  daemon.start();
  Caller caller(daemon.connect(false));
  ASSERT_TRUE(caller.open()) << caller.error.message;
  EXPECT_TRUE(caller.welcome().descriptors.empty());
  const std::uint32_t handle = caller.open_namespace(ns);
  const auto* stored = caller.put(ns, handle, keys);
  ASSERT_NE(stored, nullptr) << caller.error.message;
  EXPECT_EQ(stored->accepted(), keys.size());
  const auto* again = caller.put(ns, handle, keys);
  ASSERT_NE(again, nullptr) << caller.error.message;
  EXPECT_EQ(again->present(), keys.size());

  Payload got;
  const auto* reply = caller.get(handle, keys, got, 2);
  ASSERT_NE(reply, nullptr) << caller.error.message;
  EXPECT_EQ(reply->match()->blocks(), keys.size() - 2);
  ASSERT_EQ(got.bytes.size(), (keys.size() - 2) * ns.block_bytes());
  for (std::size_t i = 2; i < keys.size(); ++i) {
    const Bytes block = Bytes(got.bytes).subspan((i - 2) * ns.block_bytes(), ns.block_bytes());
    EXPECT_TRUE(is_payload(ns, keys[i], block)) << i;
    EXPECT_EQ(reply->checksums()->Get(static_cast<std::uint32_t>(i - 2)), checksum(block));
  }
}

TEST_F(ServerTest, BothSocketsShareOneCache) {
  daemon.start();
  Caller local(daemon.connect(true));
  Caller remote(daemon.connect(false));
  ASSERT_TRUE(local.open() && remote.open());
  EXPECT_EQ(local.fill(ns, local.open_namespace(ns), keys), keys.size());
  const auto* matched = remote.match(remote.open_namespace(ns), keys);
  ASSERT_NE(matched, nullptr) << remote.error.message;
  EXPECT_EQ(matched->blocks(), keys.size());
  EXPECT_EQ(matched->from_l1(), keys.size());
}

TEST_F(ServerTest, BlocksAskedForEachByItselfHaveNoHolesBetweenThem) {
  daemon.start();
  Caller local(daemon.connect(true));
  Caller remote(daemon.connect(false));
  ASSERT_TRUE(local.open() && remote.open());
  const std::uint32_t handle = remote.open_namespace(ns);
  const auto missing = make_keys(77, 9);
  // One that is there, one that is not, and so on.
  std::vector<BlockKey> mixed;
  for (std::size_t i = 0; i < 9; ++i) mixed.push_back(i % 2 == 0 ? missing[i] : keys[i / 2]);
  const std::size_t there = 4;
  ASSERT_NE(remote.put(ns, handle, std::span(keys).first(there)), nullptr) << remote.error.message;
  const auto chain = [&](auto& builder, std::uint32_t ns_handle, std::size_t chains) {
    std::vector<flatbuffers::Offset<wire::Chain>> list;
    for (std::size_t c = 0; c < chains; ++c) list.push_back(wire::to_wire(builder, ns_handle, {}, mixed));
    return builder.CreateVector(list);
  };
  const auto expect = [&](const wire::Matched* matched) {
    ASSERT_NE(matched, nullptr);
    EXPECT_EQ(matched->blocks(), there);
    ASSERT_NE(matched->found(), nullptr);
    ASSERT_EQ(matched->found()->size(), 2U);
    EXPECT_EQ(matched->found()->Get(0), 0b10101010);
    EXPECT_EQ(matched->found()->Get(1), 0);
  };
  expect(remote.ask<wire::Matched>(
      wire::Type::kMatch, [&](auto& builder) { return wire::CreateChains(builder, chain(builder, handle, 1), true); }));
  Payload got;
  const auto* reply = remote.ask<wire::Got>(
      wire::Type::kGet, [&](auto& builder) { return wire::CreateGet(builder, chain(builder, handle, 1), 0, 9, true); },
      {}, &got);
  ASSERT_NE(reply, nullptr) << remote.error.message;
  expect(reply->match());
  ASSERT_EQ(got.bytes.size(), there * ns.block_bytes());
  for (std::size_t i = 0; i < there; ++i) {
    EXPECT_TRUE(is_payload(ns, keys[i], Bytes(got.bytes).subspan(i * ns.block_bytes(), ns.block_bytes()))) << i;
  }
  const std::uint32_t local_handle = local.open_namespace(ns);
  const auto* leased = local.ask<wire::Leased>(wire::Type::kAcquire, [&](auto& builder) {
    return wire::CreateChains(builder, chain(builder, local_handle, 1), true);
  });
  ASSERT_NE(leased, nullptr) << local.error.message;
  expect(leased->match());
  EXPECT_EQ(leased->blocks()->size(), there);
  EXPECT_EQ(remote.ask<wire::Matched>(
                wire::Type::kMatch,
                [&](auto& builder) { return wire::CreateChains(builder, chain(builder, handle, 2), true); }),
            nullptr)
      << "of one chain only";
  EXPECT_EQ(remote.error.code, ErrorCode::kInvalid);
}

TEST_F(ServerTest, ABlockThatArrivesDamagedIsNotKept) {
  daemon.start();
  Caller caller(daemon.connect(false));
  ASSERT_TRUE(caller.open());
  const std::uint32_t handle = caller.open_namespace(ns);
  const auto* stored = caller.put(ns, handle, keys, /*corrupt_last=*/true);
  ASSERT_NE(stored, nullptr) << caller.error.message;
  EXPECT_EQ(stored->accepted(), keys.size() - 1);
  EXPECT_EQ(stored->declined(), 1U);
  EXPECT_EQ(wire::reason_of(stored->reason()), Reason::kCorrupt);
  const auto* matched = caller.match(handle, keys);
  ASSERT_NE(matched, nullptr);
  EXPECT_EQ(matched->blocks(), keys.size() - 1);
}

TEST_F(ServerTest, ALeaseOutlivesItsSessionOnlyWithAnotherHolder) {
  daemon.start();
  Caller first(daemon.connect(true));
  Caller second(daemon.connect(true));
  ASSERT_TRUE(first.open() && second.open());
  const std::uint32_t handle = first.open_namespace(ns);
  ASSERT_EQ(first.fill(ns, handle, keys), keys.size());
  const auto* leased = first.acquire(handle, keys);
  ASSERT_NE(leased, nullptr);
  const wire::Id token = *leased->token();
  const auto* joined =
      second.ask<wire::Leased>(wire::Type::kAttach, [&](auto& builder) { return wire::CreateAttach(builder, &token); });
  ASSERT_NE(joined, nullptr) << second.error.message;
  EXPECT_EQ(joined->blocks()->size(), keys.size());
  EXPECT_EQ(daemon.server->tenants()[0].stats.leases, 1U);
  first.hang_up();
  ASSERT_TRUE(Daemon::eventually([&] { return daemon.server->sessions().size() == 1; }));
  EXPECT_EQ(daemon.server->tenants()[0].stats.leases, 1U);
  second.hang_up();
  EXPECT_TRUE(Daemon::eventually([&] { return daemon.server->tenants()[0].stats.leases == 0; }));
}

TEST_F(ServerTest, WhatASessionHeldIsFreeWhenItsPeerIsGone) {
  daemon.start();
  Caller caller(daemon.connect(true));
  ASSERT_TRUE(caller.open());
  const std::uint32_t handle = caller.open_namespace(ns);
  ASSERT_EQ(caller.fill(ns, handle, keys), keys.size());
  ASSERT_NE(caller.acquire(handle, keys), nullptr);
  ASSERT_NE(caller.reserve(handle, make_keys(2, 4)), nullptr);
  const TenantView held = daemon.server->tenants()[0];
  EXPECT_EQ(held.stats.leases, 1U);
  EXPECT_EQ(held.reserved_bytes, 4 * ns.block_bytes());
  caller.hang_up();
  EXPECT_TRUE(Daemon::eventually([&] {
    const TenantView now = daemon.server->tenants()[0];
    return now.stats.leases == 0 && now.reserved_bytes == 0 && now.sessions == 0;
  }));
}

TEST_F(ServerTest, ALeaseThatIsNotRenewedRunsOutWithoutAnybodyCalling) {
  daemon.cache.lease_ttl = std::chrono::milliseconds(30);
  daemon.start();
  Caller caller(daemon.connect(true));
  ASSERT_TRUE(caller.open());
  const std::uint32_t handle = caller.open_namespace(ns);
  ASSERT_EQ(caller.fill(ns, handle, keys), keys.size());
  const auto* leased = caller.acquire(handle, keys);
  ASSERT_NE(leased, nullptr);
  const Mapping words(caller.welcome().descriptors[1].get(), caller.welcome().words * 8ULL, PROT_READ);
  const auto& word = reinterpret_cast<const std::atomic<std::uint64_t>*>(words.data())[leased->word()];
  const std::uint64_t generation = leased->generation();
  EXPECT_TRUE(Daemon::eventually([&] { return !LeaseWords::valid(word, generation); }));
}

TEST_F(ServerTest, RequestsThatWaitForL2DoNotHoldUpTheOthers) {
  daemon.cache.l2_url = "mock:?delay=300ms";
  daemon.start();
  Caller waits(daemon.connect(false));
  Caller goes_on(daemon.connect(false));
  ASSERT_TRUE(waits.open() && goes_on.open());
  const std::uint32_t handle = goes_on.open_namespace(ns);
  ASSERT_NE(goes_on.put(ns, handle, keys), nullptr);
  const std::uint32_t other = waits.open_namespace(ns);
  std::thread slow([&] {
    const auto missing = make_keys(9, 4);
    const auto* matched = waits.match(other, missing);
    EXPECT_NE(matched, nullptr) << waits.error.message;
  });
  for (int i = 0; i < 50; ++i) {
    const auto* matched = goes_on.match(handle, keys);
    ASSERT_NE(matched, nullptr) << goes_on.error.message;
    EXPECT_EQ(matched->blocks(), keys.size());
  }
  slow.join();
}

TEST_F(ServerTest, FlushEraseAndStatsAnswer) {
  daemon.start();
  Caller caller(daemon.connect(false));
  ASSERT_TRUE(caller.open());
  const std::uint32_t handle = caller.open_namespace(ns);
  ASSERT_NE(caller.put(ns, handle, keys), nullptr);
  const auto* stats = caller.ask<wire::Stats>(wire::Type::kGetStats, [](auto& b) { return wire::CreateGetStats(b); });
  ASSERT_NE(stats, nullptr) << caller.error.message;
  EXPECT_EQ(wire::stats_of(*stats).l1.blocks, keys.size());
  const auto* flushed = caller.ask<wire::Flushed>(wire::Type::kFlush, [](auto& b) { return wire::CreateFlush(b); });
  ASSERT_NE(flushed, nullptr) << caller.error.message;
  EXPECT_TRUE(flushed->done());
  const auto* erased =
      caller.ask<wire::Erased>(wire::Type::kErase, [&](auto& b) { return Caller::chains(b, handle, keys); });
  ASSERT_NE(erased, nullptr) << caller.error.message;
  EXPECT_EQ(erased->blocks(), keys.size());
  EXPECT_EQ(caller.match(handle, keys)->blocks(), 0U);
}

TEST_F(ServerTest, ExplainsWhereABlockIsAndWhoHoldsIt) {
  daemon.start();
  Caller caller(daemon.connect(true));
  ASSERT_TRUE(caller.open());
  const std::uint32_t handle = caller.open_namespace(ns);
  ASSERT_EQ(caller.fill(ns, handle, keys), keys.size());
  ASSERT_NE(caller.acquire(handle, keys), nullptr);
  const auto found = daemon.server->explain(keys[3], soon().deadline);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].where, "l1");
  EXPECT_EQ(found[0].bytes, ns.block_bytes());
  EXPECT_EQ(found[0].holders.size(), 1U);
  const auto namespaces = daemon.server->namespaces();
  ASSERT_EQ(namespaces.size(), 1U);
  EXPECT_EQ(namespaces[0].blocks, keys.size());
  EXPECT_EQ(namespaces[0].spec.model, ns.spec().model);
  const auto purged = daemon.server->purge("default", std::nullopt, soon().deadline);
  ASSERT_TRUE(purged);
  EXPECT_EQ(*purged, keys.size());
  EXPECT_FALSE(daemon.server->purge("nobody", std::nullopt, soon().deadline));
}

TEST_F(ServerTest, DrainingWaitsForLeasesAndTakesNobodyIn) {
  daemon.options.drain_timeout = std::chrono::seconds(30);
  daemon.start();
  Caller caller(daemon.connect(true));
  ASSERT_TRUE(caller.open());
  const std::uint32_t handle = caller.open_namespace(ns);
  ASSERT_EQ(caller.fill(ns, handle, keys), keys.size());
  const auto* leased = caller.acquire(handle, keys);
  ASSERT_NE(leased, nullptr);
  const std::uint64_t lease = leased->lease();
  std::thread drain([&] { EXPECT_TRUE(daemon.server->drain()); });
  ASSERT_TRUE(Daemon::eventually([&] { return !daemon.server->ready(); }));
  const Caller late(daemon.connect(true));
  EXPECT_FALSE(late.open());
  EXPECT_THAT(late.error.message, ::testing::HasSubstr("shutting down"));
  const auto* refused = caller.match(handle, keys);
  ASSERT_NE(refused, nullptr) << caller.error.message;
  EXPECT_EQ(wire::reason_of(refused->reason()), Reason::kUnavailable);
  EXPECT_TRUE(caller.release(lease));
  drain.join();
}

}  // namespace
}  // namespace reprise::server_test
