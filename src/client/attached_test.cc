// The cache contract over both transports, against a real server in this process.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "reprise/cache.h"
#include "server/server.h"
#include "testing/certificates.h"
#include "testing/chains.h"
#include "testing/temp_dir.h"

namespace reprise {
namespace {

using testing::Buffers;
using ::testing::HasSubstr;
using testing::is_payload;
using testing::make_keys;
using testing::make_namespace;
using testing::Payloads;

Deadline soon() {
  return Deadline::after(std::chrono::seconds(30));
}

struct Daemon {
  testing::TempDir dir;
  CacheOptions cache;
  ServerOptions options;
  std::unique_ptr<Server> server;

  Daemon() {
    cache.l1_capacity = 1 << 20;
    cache.l1_policy = "lru";
    cache.l1_populate = false;
    options.listen_unix = dir.path() + "/socket";
    options.listen_tcp = "127.0.0.1:0";
    options.threads = 4;
  }
  void start() {
    auto made = Server::start(cache, options, PolicyRegistry::with_builtins(), StoreRegistry::with_builtins());
    ASSERT_TRUE(made.has_value()) << made.error().message;
    server = std::move(*made);
    options.listen_tcp = "127.0.0.1:" + std::to_string(server->tcp_port());  // the same one after a restart
  }
  [[nodiscard]] std::string url(const std::string& transport) const {
    return transport == "unix" ? "unix://" + options.listen_unix : "tcp://" + options.listen_tcp;
  }
};

CacheOptions client_options() {
  CacheOptions options;
  options.l1_populate = false;
  options.attach_timeout = std::chrono::seconds(20);
  return options;
}

std::unique_ptr<Cache> attach(const std::string& url, const CacheOptions& options = client_options()) {
  auto cache = open(url, options);
  EXPECT_TRUE(cache.has_value()) << cache.error().message;
  return cache ? std::move(*cache) : nullptr;
}

std::size_t put_all(Cache& cache, const Namespace& ns, const std::vector<BlockKey>& keys, std::size_t from = 0) {
  const Payloads payloads(ns, std::span(keys).subspan(from));
  const auto stored = cache.put(Chain(ns, keys), from, payloads.views, soon());
  EXPECT_TRUE(stored.has_value()) << stored.error().message;
  return stored ? stored->accepted : 0;
}

void expect_bytes(const Namespace& ns, const std::vector<BlockKey>& keys, const Lease& lease) {
  for (std::size_t i = 0; i < lease.size(); ++i) ASSERT_TRUE(is_payload(ns, keys[i], lease.block(i))) << "block " << i;
}

class AttachedTest : public ::testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<Cache> start(const CacheOptions& options = client_options()) {
    if (!daemon_.server) daemon_.start();
    return attach(daemon_.url(GetParam()), options);
  }
  [[nodiscard]] bool shared() const { return GetParam() == "unix"; }
  Daemon daemon_;
};

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

TEST_P(AttachedTest, ADeadlineThatHasPassedIsAnAnswer) {
  const auto cache = start();
  const Namespace ns = make_namespace(4096);
  const auto keys = make_keys(1, 2);
  put_all(*cache, ns, keys);
  EXPECT_EQ(cache->match(Chain(ns, keys), Deadline::now())->reason, Reason::kTimeout);
  EXPECT_EQ(cache->acquire(Chain(ns, keys), Deadline::now())->match.reason, Reason::kTimeout);
  EXPECT_EQ(cache->match(Chain(ns, keys), soon())->blocks, 2u);
}

// What a client sees while the daemon is away, and when it comes back.
TEST_P(AttachedTest, ADaemonThatIsAwayIsAnAnswerAndComesBack) {
  const auto cache = start();
  const Namespace ns = make_namespace(4096);
  const auto keys = make_keys(1, 4);
  put_all(*cache, ns, keys);
  EXPECT_EQ(cache->stats().l1.blocks, 4u);
  auto held = cache->acquire(Chain(ns, keys), soon());
  auto reserved = cache->reserve(Chain(ns, make_keys(2, 4)), 0, soon());
  daemon_.server.reset();
  EXPECT_EQ(cache->match(Chain(ns, keys), soon())->reason, Reason::kUnavailable);
  EXPECT_EQ(cache->acquire(Chain(ns, keys), soon())->match.reason, Reason::kUnavailable);
  Buffers out(ns, 4);
  EXPECT_EQ(cache->get(Chain(ns, keys), 0, out.views, soon())->reason, Reason::kUnavailable);
  EXPECT_TRUE(out.untouched(0));
  const Payloads payloads(ns, keys);
  const auto stored = cache->put(Chain(ns, keys), 0, payloads.views, soon());
  EXPECT_EQ(stored->declined, 4u);
  EXPECT_EQ(stored->reason, Reason::kUnavailable);
  EXPECT_EQ(stored->declined_blocks, std::vector<bool>(4, true));
  EXPECT_EQ(cache->prefetch(Chain(ns, keys), soon())->reason, Reason::kUnavailable);
  EXPECT_EQ(cache->erase(Chain(ns, keys), soon()).value(), 0u);
  EXPECT_FALSE(cache->flush(soon()).value());
  const auto nothing = cache->reserve(Chain(ns, keys), 0, soon());
  EXPECT_EQ(nothing->size(), 4u);
  EXPECT_EQ(cache->stats().l1.blocks, 4u) << "as last told";
  expect_bytes(ns, keys, held->lease);
  // Filling what was reserved harms nobody.
  std::memset(reserved->block(0).data(), 1, 4096);
  EXPECT_EQ(reserved->commit(4), 0u);

  daemon_.start();
  while (cache->match(Chain(ns, keys), soon())->reason == Reason::kUnavailable) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(put_all(*cache, ns, keys), 4u);
  const auto acquired = cache->acquire(Chain(ns, keys), soon());
  expect_bytes(ns, keys, acquired->lease);
  EXPECT_EQ(acquired->match.blocks, 4u);
}

TEST_P(AttachedTest, OpensWithoutADaemonAndFindsItLater) {
  const auto port = [] {
    const auto listener = listen_tcp({"127.0.0.1", 0});
    return listener->port;
  }();
  daemon_.options.listen_tcp = "127.0.0.1:" + std::to_string(port);
  const auto cache = attach(daemon_.url(GetParam()));
  ASSERT_NE(cache, nullptr);
  const Namespace ns = make_namespace(4096);
  const auto keys = make_keys(1, 4);
  EXPECT_EQ(cache->match(Chain(ns, keys), soon())->reason, Reason::kUnavailable);
  EXPECT_EQ(cache->stats().l1.capacity_bytes, 0u);
  daemon_.start();
  while (cache->match(Chain(ns, keys), soon())->reason == Reason::kUnavailable) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(put_all(*cache, ns, keys), 4u);
}

TEST_P(AttachedTest, TokensAreProvedBothWays) {
  const std::string auth = daemon_.dir.path() + "/auth.toml";
  std::ofstream(auth) << "[[tenant]]\nname = \"team\"\ncapacity = \"1MiB\"\ntokens = [\"a1:0123456789abcdef0123\"]\n";
  ASSERT_EQ(::chmod(auth.c_str(), 0600), 0);
  daemon_.options.auth_file = auth;
  const std::string token = daemon_.dir.path() + "/token";
  auto options = client_options();
  options.attach_token_file = token;
  std::ofstream(token) << "a1:0123456789abcdef0123\n";
  const auto cache = start(options);
  const Namespace ns = make_namespace(4096);
  const auto keys = make_keys(1, 3);
  EXPECT_EQ(put_all(*cache, ns, keys), 3u);
  EXPECT_EQ(cache->match(Chain(ns, keys), soon())->blocks, 3u);

  std::ofstream(token) << "a1:another-secret-altogether\n";
  auto wrong = open(daemon_.url(GetParam()), options);
  ASSERT_FALSE(wrong.has_value());
  EXPECT_EQ(wrong.error().code, ErrorCode::kDenied);
  std::ofstream(token) << "short:secret\n";
  wrong = open(daemon_.url(GetParam()), options);
  ASSERT_FALSE(wrong.has_value());
  EXPECT_EQ(wrong.error().code, ErrorCode::kConfig);
  EXPECT_THAT(wrong.error().message, HasSubstr("attach.token-file"));
}

// ---- Shared memory only. ----

class SharedTest : public ::testing::Test {
 protected:
  void SetUp() override { start(); }
  void start() {
    daemon_.server.reset();
    daemon_.start();
    cache_ = attach(daemon_.url("unix"));
    ASSERT_NE(cache_, nullptr);
  }
  Daemon daemon_;
  std::unique_ptr<Cache> cache_;
  const Namespace ns_ = make_namespace(4096);
};

TEST_F(SharedTest, LeasesAreKeptAliveAndRunOutWhenNobodyRenews) {
  daemon_.cache.lease_ttl = std::chrono::milliseconds(60);
  daemon_.cache.l1_capacity = 4 * 4096;
  start();
  const auto keys = make_keys(1, 4);
  put_all(*cache_, ns_, keys);
  auto kept = cache_->acquire(Chain(ns_, keys), soon());
  auto left = cache_->acquire(Chain(ns_, keys), soon());
  ASSERT_TRUE(left->lease.renew(std::chrono::milliseconds(1))) << "from now on it is ours to renew";
  while (left->lease.still_valid()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(200);
  while (std::chrono::steady_clock::now() < until) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_TRUE(kept->lease.still_valid()) << "several times its ttl";
  EXPECT_EQ(put_all(*cache_, ns_, make_keys(2, 4)), 0u);
  kept->lease.release();
  left->lease.release();
  EXPECT_EQ(put_all(*cache_, ns_, make_keys(2, 4)), 4u);
}

TEST_F(SharedTest, TokensJoinLeases) {
  daemon_.cache.l1_capacity = 4 * 4096;
  start();
  const auto other = attach(daemon_.url("unix"));
  const auto keys = make_keys(1, 4);
  put_all(*cache_, ns_, keys);
  auto acquired = cache_->acquire(Chain(ns_, keys), soon());
  const auto token = acquired->lease.token();
  ASSERT_TRUE(token.has_value());
  auto joined = other->attach(*token);
  ASSERT_TRUE(joined.has_value()) << joined.error().message;
  ASSERT_EQ(joined->size(), 4u);
  acquired->lease.release();
  EXPECT_EQ(put_all(*cache_, ns_, make_keys(2, 4)), 0u) << "the second holder holds";
  expect_bytes(ns_, keys, *joined);
  EXPECT_TRUE(joined->still_valid());
  joined->release();
  (void)other->stats();  // behind the release
  EXPECT_EQ(put_all(*cache_, ns_, make_keys(2, 4)), 4u);
  const auto ended = other->attach(*token);
  ASSERT_FALSE(ended.has_value());
  EXPECT_EQ(ended.error().code, ErrorCode::kDenied);
}

TEST_F(SharedTest, AClientThatGoesLeavesNothingBehind) {
  const auto keys = make_keys(1, 4);
  const auto other = attach(daemon_.url("unix"));
  {
    put_all(*cache_, ns_, keys);
    auto acquired = cache_->acquire(Chain(ns_, keys), soon());
    auto reserved = cache_->reserve(Chain(ns_, make_keys(2, 4)), 0, soon());
    EXPECT_EQ(other->stats().leases, 1u);
    cache_.reset();
    EXPECT_EQ(other->stats().leases, 1u) << "as long as somebody reads";
  }
  while (other->stats().leases > 0) std::this_thread::yield();
  while (daemon_.server->sessions().size() > 1) std::this_thread::yield();
  EXPECT_EQ(put_all(*other, ns_, make_keys(2, 4)), 4u);
}

/// The flags of the mapping that holds `at`: permissions as in /proc/self/maps, and VmFlags.
std::pair<std::string, std::string> mapping_of(const void* at) {
  std::ifstream maps("/proc/self/smaps");
  std::string line;
  std::string permissions;
  bool inside = false;
  while (std::getline(maps, line)) {
    unsigned long from = 0;
    unsigned long to = 0;
    char text[8] = {};
    if (std::sscanf(line.c_str(), "%lx-%lx %7s", &from, &to, text) == 3) {
      const auto address = reinterpret_cast<unsigned long>(at);
      inside = from <= address && address < to;
      if (inside) permissions = text;
    } else if (inside && line.starts_with("VmFlags:")) {
      return {permissions, line + " "};
    }
  }
  return {permissions, ""};
}

TEST_F(SharedTest, ReadersCannotWriteAndChildrenCannotFill) {
  const auto keys = make_keys(1, 1);
  put_all(*cache_, ns_, keys);
  const auto acquired = cache_->acquire(Chain(ns_, keys), soon());
  ASSERT_EQ(acquired->lease.size(), 1u);
  EXPECT_EQ(mapping_of(acquired->lease.block(0).data()).first, "r--s");
  auto reserved = cache_->reserve(Chain(ns_, make_keys(2, 1)), 0, soon());
  const auto [permissions, flags] = mapping_of(reserved->block(0).data());
  EXPECT_EQ(permissions, "rw-s");
  EXPECT_THAT(flags, HasSubstr(" dc ")) << "a child would write after we closed the socket";
}

TEST_F(SharedTest, AForkedChildHarmsNeitherItsParentNorItself) {
  const auto keys = make_keys(1, 4);
  put_all(*cache_, ns_, keys);
  auto acquired = cache_->acquire(Chain(ns_, keys), soon());
  auto reserved = cache_->reserve(Chain(ns_, make_keys(2, 2)), 0, soon());
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    int wrong = cache_->match(Chain(ns_, keys), soon())->reason == Reason::kUnavailable ? 0 : 1;
    wrong += reserved->commit(2) == 0 ? 0 : 2;
    wrong += is_payload(ns_, keys[0], acquired->lease.block(0)) && acquired->lease.still_valid() ? 0 : 4;
    acquired->lease.release();
    cache_.reset();
    ::_exit(wrong);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_TRUE(acquired->lease.still_valid()) << "the child's release was not ours";
  EXPECT_EQ(cache_->stats().leases, 1u);
  for (std::size_t i = 0; i < 2; ++i) {
    std::memcpy(reserved->block(i).data(), testing::payload(ns_, make_keys(2, 2)[i]).data(), 4096);
  }
  EXPECT_EQ(reserved->commit(2), 2u);
}

// ---- Over the network only. ----

TEST(RemoteTest, LeasesAreCopiesOfTheirOwn) {
  Daemon daemon;
  daemon.start();
  const auto cache = attach(daemon.url("tcp"));
  const Namespace ns = make_namespace(4096);
  const auto keys = make_keys(1, 4);
  put_all(*cache, ns, keys);
  auto acquired = cache->acquire(Chain(ns, keys), soon());
  EXPECT_EQ(cache->erase(Chain(ns, keys), soon()).value(), 4u);
  put_all(*cache, ns, make_keys(2, 250));
  expect_bytes(ns, keys, acquired->lease);
  EXPECT_TRUE(acquired->lease.still_valid());
  EXPECT_TRUE(acquired->lease.renew(std::chrono::seconds(1)));
  EXPECT_FALSE(acquired->lease.token().has_value());
  EXPECT_EQ(cache->attach(LeaseToken{}).error().code, ErrorCode::kDenied);
}

TEST(RemoteTest, ServesOverTls) {
  Daemon daemon;
  const testing::Authority authority(daemon.dir.path(), "authority");
  const auto files = authority.issue("server", "IP:127.0.0.1");
  daemon.options.tls_cert = files.cert;
  daemon.options.tls_key = files.key;
  daemon.start();
  auto options = client_options();
  options.attach_tls_ca = authority.cert();
  const auto cache = attach(daemon.url("tcp"), options);
  ASSERT_NE(cache, nullptr);
  const Namespace ns = make_namespace(200'000);
  const auto keys = make_keys(1, 5);
  EXPECT_EQ(put_all(*cache, ns, keys), 5u);
  const auto acquired = cache->acquire(Chain(ns, keys), soon());
  EXPECT_EQ(acquired->match.blocks, 5u);
  expect_bytes(ns, keys, acquired->lease);

  const testing::Authority other(daemon.dir.path(), "other");
  options.attach_tls_ca = other.cert();
  const auto wrong = open(daemon.url("tcp"), options);
  ASSERT_FALSE(wrong.has_value());
  EXPECT_EQ(wrong.error().code, ErrorCode::kDenied) << wrong.error().message;
}

// ---- Opening. ----

TEST(OpenAttachedTest, WhatCannotWorkIsAnError) {
  const auto config = [](const std::string& url, const CacheOptions& options, const char* word) {
    const auto cache = open(url, options);
    ASSERT_FALSE(cache.has_value()) << url;
    EXPECT_EQ(cache.error().code, ErrorCode::kConfig) << url;
    EXPECT_THAT(cache.error().message, HasSubstr(word));
  };
  for (const char* url : {"unix:", "unix://", "unix:///", "unix://relative/path", "unix:/run/x"}) {
    config(url, client_options(), "unix:///run");
  }
  for (const char* url : {"tcp:", "tcp://", "tcp://:9600", "tcp://host:0", "tcp://host:70000", "tcp:host:1"}) {
    config(url, client_options(), "tcp://host:9600");
  }
  config("tcp://one:9600,two:9600", client_options(), "groups");
  config("unix:///" + std::string(200, 'x'), client_options(), "x");
  auto options = client_options();
  options.attach_connections = 0;
  config("unix:///tmp/x", options, "attach.connections");
  options = client_options();
  options.attach_timeout = std::chrono::milliseconds(0);
  config("unix:///tmp/x", options, "attach.timeout");
  options = client_options();
  options.attach_token_file = "/nonexistent/token";
  config("unix:///tmp/x", options, "attach.token-file");
  options = client_options();
  options.attach_tls_ca = "/nonexistent/ca.pem";
  config("tcp://127.0.0.1:1", options, "ca.pem");
  options = client_options();
  options.attach_tls_cert = "/nonexistent/cert.pem";
  config("tcp://127.0.0.1:1", options, "attach.tls-key");
}

}  // namespace
}  // namespace reprise
