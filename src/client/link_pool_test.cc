#include "client/link_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "reprise/cache.h"
#include "testing/chains.h"
#include "testing/fake_server.h"
#include "testing/temp_dir.h"

namespace reprise {
namespace {

using testing::FakePeer;
using testing::FakeServer;
using testing::make_keys;
using testing::make_namespace;
using wire::Type;

Deadline soon() {
  return Deadline::after(std::chrono::seconds(30));
}

void wait_until(const std::function<bool()>& done) {
  while (!done()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

// A call that the server answers only when it is told to.
class LinkPoolTest : public ::testing::Test {
 protected:
  ~LinkPoolTest() override {
    answer_ = true;
    if (caller_.joinable()) caller_.join();
  }
  std::unique_ptr<Cache> attach(std::uint32_t connections) {
    CacheOptions options;
    options.l1_populate = false;
    options.attach_connections = connections;
    auto cache = open(server_.url(), options);
    EXPECT_TRUE(cache.has_value()) << cache.error().message;
    return std::move(*cache);
  }
  /// Another thread's call, under way when this returns.
  void occupy(Cache& cache) {
    server_.on(Type::kMatch, [this](FakePeer& peer) {
      wait_until([this] { return answer_.load(); });
      peer.matched(peer.header().request, 4);
    });
    const int before = server_.count(Type::kMatch);
    caller_ = std::thread([&] { EXPECT_EQ(cache.match(chain(), soon())->blocks, 4u); });
    wait_until([&] { return server_.count(Type::kMatch) > before; });
  }
  void let_go() {
    answer_ = true;
    caller_.join();
  }
  [[nodiscard]] Chain chain() const { return {ns_, keys_}; }

  testing::TempDir dir_;
  FakeServer server_{dir_.path() + "/socket"};
  const Namespace ns_ = make_namespace(4096);
  const std::vector<BlockKey> keys_ = make_keys(1, 4);
  std::atomic<bool> answer_ = false;
  std::thread caller_;
};

TEST_F(LinkPoolTest, ACallThatFindsNoConnectionFreeGetsAnother) {
  const auto cache = attach(2);
  occupy(*cache);
  EXPECT_EQ(cache->prefetch(chain(), soon())->reason, Reason::kNone);
  EXPECT_EQ(server_.connections(), 2);
  let_go();
  for (int i = 0; i < 5; ++i) EXPECT_EQ(cache->prefetch(chain(), soon())->reason, Reason::kNone);
  EXPECT_EQ(server_.connections(), 2);
}

TEST_F(LinkPoolTest, BeyondTheLimitCallersWaitUpToTheirDeadlines) {
  const auto cache = attach(1);
  occupy(*cache);
  EXPECT_EQ(cache->prefetch(chain(), Deadline::after(std::chrono::milliseconds(20)))->reason, Reason::kTimeout);
  std::thread later([&] { EXPECT_EQ(cache->prefetch(chain(), soon())->reason, Reason::kNone); });
  let_go();
  later.join();
  EXPECT_EQ(server_.connections(), 1) << "waiting costs nobody a connection";
}

TEST_F(LinkPoolTest, CallersThatWaitAreToldWhenTheServerGoes) {
  const auto cache = attach(1);
  server_.on(Type::kMatch, [](FakePeer&) {});
  const int before = server_.count(Type::kMatch);
  std::thread stuck([&] { EXPECT_EQ(cache->match(chain(), soon())->reason, Reason::kUnavailable); });
  wait_until([&] { return server_.count(Type::kMatch) > before; });
  server_.on_hello([](FakePeer& peer) { peer.close(); });
  std::thread waiting([&] { EXPECT_EQ(cache->prefetch(chain(), soon())->reason, Reason::kUnavailable); });
  server_.hang_up();
  stuck.join();
  waiting.join();
}

TEST_F(LinkPoolTest, AConnectionThatEndedBetweenCallsCostsNoCall) {
  const auto cache = attach(2);
  occupy(*cache);
  EXPECT_EQ(cache->prefetch(chain(), soon())->reason, Reason::kNone);
  let_go();
  std::atomic<bool> closed = false;
  server_.on(Type::kErase, [&](FakePeer& peer) {
    peer.matched(peer.header().request, 0, Type::kErased);
    peer.close();
    closed = true;
  });
  EXPECT_TRUE(cache->erase(chain(), soon()).has_value());
  wait_until([&] { return closed.load(); });
  EXPECT_EQ(cache->prefetch(chain(), soon())->reason, Reason::kNone) << "over the other one";
}

TEST_F(LinkPoolTest, AReleaseWaitsForTheCallThatHasItsConnection) {
  server_.word(3) = 7;
  server_.on(Type::kAcquire, [](FakePeer& peer) {
    peer.answer(Type::kLeased, [](testing::FlatBufferBuilder& b) {
      const auto matched = wire::CreateMatched(b, 4, 4);
      const auto pieces = b.CreateVectorOfStructs(std::vector<wire::Piece>(4, wire::Piece(0, 4096)));
      const wire::Id token(1, 2);
      return wire::CreateLeased(b, matched, 9, 3, 7, &token, 60'000, pieces);
    });
  });
  const auto cache = attach(1);
  auto first = cache->acquire(chain(), soon());
  auto second = cache->acquire(chain(), soon());
  ASSERT_EQ(first->lease.size(), 4u);
  std::atomic<std::size_t> released = 0;
  server_.on(Type::kRelease, [&](FakePeer& peer) {
    const auto* ids = peer.body<wire::LeaseIds>();
    if (ids != nullptr && ids->leases() != nullptr) released += ids->leases()->size();
  });
  occupy(*cache);
  first->lease.release();
  second->lease.release();
  EXPECT_EQ(released, 0u);
  let_go();
  EXPECT_EQ(cache->prefetch(chain(), soon())->reason, Reason::kNone) << "behind the releases";
  EXPECT_EQ(released, 2u);
  EXPECT_EQ(server_.count(Type::kRelease), 1) << "in one frame";
}

TEST_F(LinkPoolTest, LeasesAreRenewedWhereTheyWereMade) {
  server_.word(3) = 7;
  server_.on_hello([&](FakePeer& peer) {
    peer.hello(false);
    server_.welcome(peer, {.ttl_ms = 30, .arena_bytes = FakeServer::kArena, .words = FakeServer::kWords, .proof = {}});
  });
  server_.on(Type::kAcquire, [](FakePeer& peer) {
    peer.answer(Type::kLeased, [](testing::FlatBufferBuilder& b) {
      const auto matched = wire::CreateMatched(b, 4, 4);
      const auto pieces = b.CreateVectorOfStructs(std::vector<wire::Piece>(4, wire::Piece(0, 4096)));
      const wire::Id token(1, 2);
      return wire::CreateLeased(b, matched, 9, 3, 7, &token, 30, pieces);
    });
  });
  std::atomic<int> renewed = 0;
  std::atomic<FakePeer*> home = nullptr;
  server_.on(Type::kRenew, [&](FakePeer& peer) {
    const auto* renew = peer.body<wire::Renew>();
    EXPECT_TRUE(renew != nullptr && renew->lease() == 9 && renew->ttl_ms() == 30);
    FakePeer* before = home.exchange(&peer);
    EXPECT_TRUE(before == nullptr || before == &peer);
    ++renewed;
  });
  const auto cache = attach(2);
  auto acquired = cache->acquire(chain(), soon());
  ASSERT_EQ(acquired->lease.size(), 4u);
  wait_until([&] { return renewed >= 3; });
  acquired->lease.release();
  EXPECT_EQ(cache->prefetch(chain(), soon())->reason, Reason::kNone);
  const int after = renewed;
  const auto pause = std::chrono::steady_clock::now() + std::chrono::milliseconds(60);
  while (std::chrono::steady_clock::now() < pause) (void)cache->prefetch(chain(), soon());
  EXPECT_EQ(renewed, after) << "what was let go is not kept alive";
}

TEST_F(LinkPoolTest, ASilentServerDoesNotKeepACacheFromOpeningOrClosing) {
  server_.on_hello([](FakePeer&) {});
  CacheOptions options;
  options.attach_timeout = std::chrono::milliseconds(20);
  auto cache = open(server_.url(), options);
  ASSERT_TRUE(cache.has_value()) << cache.error().message;
  EXPECT_EQ((*cache)->match(chain(), soon())->reason, Reason::kUnavailable);
}

TEST_F(LinkPoolTest, WhatWaitingCannotMendIsAnErrorAtOpen) {
  const auto code = [&] {
    const auto cache = open(server_.url(), CacheOptions{});
    return cache ? ErrorCode::kInternal : cache.error().code;
  };
  server_.on_hello([](FakePeer& peer) { peer.failed(ErrorCode::kDenied, "uid 7 is not allowed", true); });
  EXPECT_EQ(code(), ErrorCode::kDenied);
  server_.on_hello([](FakePeer& peer) { peer.failed(ErrorCode::kVersion, "too old", true); });
  EXPECT_EQ(code(), ErrorCode::kVersion);
  server_.on_hello([](FakePeer& peer) { peer.hello(true); });
  EXPECT_EQ(code(), ErrorCode::kDenied) << "it asks for a token";
}

}  // namespace
}  // namespace reprise
