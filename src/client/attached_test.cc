// The cache contract over both transports, against a real server in this process.

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "reprise/cache.h"
#include "testing/attached_daemon.h"
#include "testing/chains.h"

namespace reprise {
namespace {

using testing::attach;
using testing::AttachedTest;
using testing::Buffers;
using testing::client_options;
using testing::expect_bytes;
using testing::is_payload;
using testing::make_keys;
using testing::make_namespace;
using testing::Payloads;
using testing::put_all;
using testing::soon;

INSTANTIATE_TEST_SUITE_P(Over, AttachedTest, ::testing::Values("unix", "tcp"),
                         [](const auto& param) { return param.param; });

TEST_P(AttachedTest, FindsWhatWasPut) {
  const auto cache = start();
  const Namespace ns = make_namespace(4096);
  const auto keys = make_keys(1, 40);
  EXPECT_EQ(put_all(*cache, ns, keys), 40u);
  EXPECT_EQ(cache->match(Chain(ns, keys), soon())->blocks, 40u);
  auto acquired = cache->acquire(Chain(ns, keys), soon());
  ASSERT_TRUE(acquired.has_value()) << acquired.error().message;
  EXPECT_EQ(acquired->match.blocks, 40u);
  EXPECT_EQ(acquired->match.from_l1, 40u);
  EXPECT_EQ(acquired->match.reason, Reason::kNone);
  ASSERT_EQ(acquired->lease.size(), 40u);
  expect_bytes(ns, keys, acquired->lease);
  EXPECT_TRUE(acquired->lease.still_valid());
  EXPECT_EQ(cache->stats().leases, shared() ? 1u : 0u);
  acquired->lease.release();
  EXPECT_EQ(cache->stats().leases, 0u);
  Buffers out(ns, 40);
  EXPECT_EQ(cache->get(Chain(ns, keys), 0, out.views, soon())->blocks, 40u);
  for (std::size_t i = 0; i < 40; ++i) EXPECT_TRUE(is_payload(ns, keys[i], out.bytes[i])) << i;
}

TEST_P(AttachedTest, AnotherClientFindsItToo) {
  const auto one = start();
  const auto two = start();
  const Namespace ns = make_namespace(8192);
  const auto keys = make_keys(1, 10);
  EXPECT_EQ(put_all(*one, ns, keys), 10u);
  EXPECT_EQ(put_all(*two, ns, keys), 0u) << "it is there already";
  const auto acquired = two->acquire(Chain(ns, keys), soon());
  EXPECT_EQ(acquired->match.blocks, 10u);
  expect_bytes(ns, keys, acquired->lease);
  const auto across = attach(daemon_.url(shared() ? "tcp" : "unix"));
  EXPECT_EQ(across->match(Chain(ns, keys), soon())->blocks, 10u);
}

TEST_P(AttachedTest, GetCountsFromItsFirstBlock) {
  const auto cache = start();
  const Namespace ns = make_namespace(4096);
  const auto keys = make_keys(1, 10);
  put_all(*cache, ns, std::vector(keys.begin(), keys.begin() + 7));
  Buffers out(ns, 6);
  const auto match = cache->get(Chain(ns, keys), 4, out.views, soon());
  ASSERT_TRUE(match.has_value()) << match.error().message;
  EXPECT_EQ(match->blocks, 3u);
  EXPECT_EQ(match->reason, Reason::kMiss);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_TRUE(is_payload(ns, keys[4 + i], out.bytes[i]));
  for (std::size_t i = 3; i < 6; ++i) EXPECT_TRUE(out.untouched(i));
}

TEST_P(AttachedTest, ArgumentsThatContradictTheContract) {
  const auto cache = start();
  const Namespace ns = make_namespace(4096);
  const auto keys = make_keys(1, 4);
  const Chain chain(ns, keys);
  const auto invalid = [](const auto& result) {
    return !result.has_value() && result.error().code == ErrorCode::kInvalid && !result.error().message.empty();
  };
  const Payloads payloads(ns, std::span(keys).first(3));
  Buffers out(ns, 3);
  EXPECT_TRUE(invalid(cache->put(chain, 2, payloads.views)));
  EXPECT_TRUE(invalid(cache->get(chain, 2, out.views)));
  const std::vector<Chain> two = {chain, chain};
  EXPECT_TRUE(invalid(cache->put(two, 0, payloads.views, Deadline::never())));
  EXPECT_TRUE(invalid(cache->get(two, 0, out.views, Deadline::never())));
  std::vector<std::byte> small(4095);
  const Bytes small_view(small);
  const MutableBytes small_buffer(small);
  EXPECT_TRUE(invalid(cache->put(chain, 0, std::span(&small_view, 1))));
  EXPECT_TRUE(invalid(cache->get(chain, 0, std::span(&small_buffer, 1))));
  EXPECT_TRUE(invalid(cache->match(Chain())));
  EXPECT_TRUE(invalid(cache->match(std::span<const Chain>(), Deadline::never())));
  EXPECT_TRUE(invalid(cache->acquire(Chain(ns, keys, MatchRule::last(0)))));
  EXPECT_TRUE(invalid(cache->reserve(chain, 5, Deadline::never())));
  EXPECT_EQ(cache->get(chain, 4, {})->blocks, 0u);
  EXPECT_EQ(cache->put(chain, 4, {})->accepted, 0u);
  EXPECT_EQ(cache->acquire(Chain(ns, {}))->match.reason, Reason::kNone);
}

TEST_P(AttachedTest, DeclinedBlocksAreNamed) {
  daemon_.cache.l1_capacity = 4 * 4096;
  const auto cache = start();
  const Namespace ns = make_namespace(4096);
  const auto keys = make_keys(1, 6);
  const Payloads payloads(ns, keys);
  const auto stored = cache->put(Chain(ns, keys), 0, payloads.views, soon());
  ASSERT_TRUE(stored.has_value()) << stored.error().message;
  EXPECT_EQ(stored->accepted, 4u);
  EXPECT_EQ(stored->declined, 2u);
  EXPECT_EQ(stored->declined_blocks, (std::vector<bool>{false, false, false, false, true, true}));
  EXPECT_NE(stored->reason, Reason::kNone);
  EXPECT_EQ(cache->match(Chain(ns, keys), soon())->blocks, 4u);
  const auto rootless = make_keys(2, 3);
  const Payloads tail(ns, std::span(rootless).subspan(1));
  const auto hole = cache->put(Chain(ns, rootless), 1, tail.views, soon());
  EXPECT_EQ(hole->declined, 2u);
  EXPECT_EQ(hole->reason, Reason::kHole);
}

TEST_P(AttachedTest, WhatIsThereIsNotSentAgain) {
  const auto cache = start();
  const Namespace ns = make_namespace(4096);
  const auto keys = make_keys(1, 8);
  const std::vector<BlockKey> first5(keys.begin(), keys.begin() + 5);
  put_all(*cache, ns, first5);
  for (const std::size_t from : {0, 2, 8}) {
    const Payloads payloads(ns, std::span(keys).subspan(from));
    const auto stored = cache->put(Chain(ns, keys), from, payloads.views, soon());
    ASSERT_TRUE(stored.has_value()) << stored.error().message;
    EXPECT_EQ(stored->accepted + stored->present, 8 - from);
    EXPECT_EQ(stored->declined, 0u);
  }
  const auto acquired = cache->acquire(Chain(ns, keys), soon());
  EXPECT_EQ(acquired->match.blocks, 8u);
  expect_bytes(ns, keys, acquired->lease);
}

TEST_P(AttachedTest, ReservedBlocksAppearWhenCommitted) {
  const auto cache = start();
  const Namespace ns = make_namespace(4096);
  const auto keys = make_keys(1, 6);
  put_all(*cache, ns, std::vector(keys.begin(), keys.begin() + 2));
  auto reserved = cache->reserve(Chain(ns, keys), 0, soon());
  ASSERT_TRUE(reserved.has_value()) << reserved.error().message;
  ASSERT_EQ(reserved->size(), 6u);
  EXPECT_TRUE(reserved->block(0).empty()) << "present";
  for (std::size_t i = 2; i < 6; ++i) {
    ASSERT_EQ(reserved->block(i).size(), 4096u);
    std::memcpy(reserved->block(i).data(), testing::payload(ns, keys[i]).data(), 4096);
  }
  EXPECT_EQ(cache->match(Chain(ns, keys), soon())->blocks, 2u) << "not before the commit";
  EXPECT_EQ(reserved->commit(5), 5u);
  EXPECT_EQ(reserved->size(), 0u);
  EXPECT_EQ(reserved->commit(6), 0u) << "a reservation ends once";
  auto acquired = cache->acquire(Chain(ns, keys), soon());
  EXPECT_EQ(acquired->match.blocks, 5u);
  expect_bytes(ns, keys, acquired->lease);
  {
    auto dropped = cache->reserve(Chain(ns, make_keys(2, 6)), 0, soon());
  }
  EXPECT_EQ(put_all(*cache, ns, make_keys(2, 6)), 6u) << "what was given up may be put again";
}

TEST_P(AttachedTest, ReservationsOutliveTheirCache) {
  auto cache = start();
  const Namespace ns = make_namespace(4096);
  const auto keys = make_keys(1, 2);
  auto reserved = cache->reserve(Chain(ns, keys), 0, soon());
  ASSERT_TRUE(reserved.has_value());
  cache.reset();
  for (std::size_t i = 0; i < 2; ++i) {
    std::memcpy(reserved->block(i).data(), testing::payload(ns, keys[i]).data(), 4096);
  }
  EXPECT_EQ(reserved->commit(2), 2u);
  EXPECT_EQ(start()->match(Chain(ns, keys), soon())->blocks, 2u);
}

TEST_P(AttachedTest, LeasesOutliveTheirCache) {
  auto cache = start();
  const Namespace ns = make_namespace(4096);
  const auto keys = make_keys(1, 5);
  put_all(*cache, ns, keys);
  auto acquired = cache->acquire(Chain(ns, keys), soon());
  cache.reset();
  ASSERT_EQ(acquired->lease.size(), 5u);
  expect_bytes(ns, keys, acquired->lease);
  EXPECT_TRUE(acquired->lease.still_valid());
}

TEST_P(AttachedTest, ErasedBlocksAreGone) {
  const auto cache = start();
  const Namespace ns = make_namespace(4096);
  const auto keys = make_keys(1, 5);
  put_all(*cache, ns, keys);
  auto acquired = cache->acquire(Chain(ns, keys), soon());
  EXPECT_EQ(cache->erase(Chain(ns, keys), soon()).value(), 5u);
  EXPECT_EQ(cache->match(Chain(ns, keys), soon())->blocks, 0u);
  expect_bytes(ns, keys, acquired->lease);
  EXPECT_EQ(put_all(*cache, ns, keys), 5u) << "beside the leased ones";
  EXPECT_EQ(cache->erase(Chain(ns, make_keys(9, 5)), soon()).value(), 0u);
}

TEST_P(AttachedTest, SeveralChainsOfOtherSizesAndRules) {
  const auto cache = start();
  const Namespace full = make_namespace(4096);
  const Namespace window = make_namespace(1024, "window");
  const Namespace state = make_namespace(16384, "state");
  const auto keys = make_keys(1, 12);
  put_all(*cache, full, std::vector(keys.begin(), keys.begin() + 9));
  const Payloads tail(window, std::span(keys).subspan(5));
  EXPECT_EQ(cache->put(Chain(window, keys, MatchRule::last(3)), 5, tail.views, soon())->accepted, 7u);
  const Payloads snapshot(state, std::span(&keys[7], 1));
  EXPECT_EQ(cache->put(Chain(state, keys, MatchRule::exact(7)), 7, snapshot.views, soon())->accepted, 1u);
  const std::vector<Chain> two = {Chain(full, keys), Chain(window, keys, MatchRule::last(3))};
  EXPECT_EQ(cache->match(two, soon())->blocks, 9u);
  const std::vector<Chain> three = {two[0], two[1], Chain(state, keys, MatchRule::exact(7))};
  const auto acquired = cache->acquire(three, soon());
  ASSERT_TRUE(acquired.has_value()) << acquired.error().message;
  EXPECT_EQ(acquired->match.blocks, 8u);
  EXPECT_EQ(acquired->match.reason, Reason::kNone);
  ASSERT_EQ(acquired->lease.size(), 8u + 3 + 1);
  for (std::size_t i = 0; i < 8; ++i) EXPECT_TRUE(is_payload(full, keys[i], acquired->lease.block(i)));
  for (std::size_t i = 0; i < 3; ++i) EXPECT_TRUE(is_payload(window, keys[5 + i], acquired->lease.block(8 + i)));
  EXPECT_TRUE(is_payload(state, keys[7], acquired->lease.block(11)));

  // The same with get, from the second block on.
  Buffers out(full, 11);
  out.add(window, 0);
  std::vector<MutableBytes> views(out.views);
  Buffers window_out(window, 11);
  views.insert(views.end(), window_out.views.begin(), window_out.views.end());
  const auto match = cache->get(two, 1, views, soon());
  ASSERT_TRUE(match.has_value()) << match.error().message;
  EXPECT_EQ(match->blocks, 8u);
  for (std::size_t i = 0; i < 8; ++i) EXPECT_TRUE(is_payload(full, keys[1 + i], out.bytes[i])) << i;
  for (std::size_t i = 5; i < 8; ++i) EXPECT_TRUE(is_payload(window, keys[1 + i], window_out.bytes[i])) << i;
  EXPECT_TRUE(window_out.untouched(4));
}

TEST_P(AttachedTest, SeveralChainsArePutTogether) {
  const auto cache = start();
  const Namespace one = make_namespace(4096);
  const Namespace two = make_namespace(1024, "two");
  const auto keys = make_keys(1, 3);
  Payloads payloads(one, keys);
  payloads.add(two, keys);
  const std::vector<Chain> chains = {Chain(one, keys), Chain(two, keys)};
  for (const std::size_t accepted : {6, 0, 0}) {
    const auto stored = cache->put(chains, 0, payloads.views, soon());
    ASSERT_TRUE(stored.has_value()) << stored.error().message;
    EXPECT_EQ(stored->accepted, accepted);
    EXPECT_EQ(stored->present, 6 - accepted);
  }
  EXPECT_EQ(cache->match(chains, soon())->blocks, 3u);
}

TEST_P(AttachedTest, BlocksComeBackFromL2) {
  daemon_.cache.l1_capacity = 100 * 4096;
  daemon_.cache.l2_url = "mock:";
  const auto cache = start();
  const Namespace ns = make_namespace(4096);
  for (std::uint64_t c = 0; c < 4; ++c) put_all(*cache, ns, make_keys(c, 50));
  ASSERT_TRUE(cache->flush(soon()).value());
  EXPECT_EQ(cache->prefetch(Chain(ns, make_keys(0, 50)), soon())->blocks, 50u);
  for (std::uint64_t c = 0; c < 4; ++c) {
    const auto keys = make_keys(c, 50);
    const auto acquired = cache->acquire(Chain(ns, keys), soon());
    EXPECT_EQ(acquired->match.blocks, 50u) << c;
    expect_bytes(ns, keys, acquired->lease);
  }
  EXPECT_EQ(cache->stats().l2.name, "mock");
}

TEST_P(AttachedTest, LargeBlocksArriveWhole) {
  daemon_.cache.l1_capacity = 64 << 20;
  const auto cache = start();
  const Namespace ns = make_namespace(3 << 20);
  const auto keys = make_keys(1, 4);
  EXPECT_EQ(put_all(*cache, ns, keys), 4u);
  Buffers out(ns, 4);
  EXPECT_EQ(cache->get(Chain(ns, keys), 0, out.views, soon())->blocks, 4u);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_TRUE(is_payload(ns, keys[i], out.bytes[i])) << i;
}

TEST_P(AttachedTest, ManyThreadsShareFewConnections) {
  auto options = client_options();
  options.attach_connections = 2;
  const auto cache = start(options);
  const Namespace ns = make_namespace(4096);
  const auto keys = make_keys(1, 8);
  put_all(*cache, ns, keys);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        Buffers out(ns, 8);
        const auto match = cache->get(Chain(ns, keys), 0, out.views, soon());
        ASSERT_TRUE(match.has_value());
        ASSERT_EQ(match->blocks, 8u) << to_string(match->reason);
        for (std::size_t b = 0; b < 8; ++b) ASSERT_TRUE(is_payload(ns, keys[b], out.bytes[b]));
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_LE(daemon_.server->sessions().size(), 2u);
  // Releases went out on both connections, and this goes out on one.
  while (cache->stats().leases > 0) std::this_thread::yield();
}

}  // namespace
}  // namespace reprise
