// Over both transports: daemons that are late, away, or ask who is there.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "reprise/cache.h"
#include "testing/attached_daemon.h"
#include "testing/chains.h"

namespace reprise {
namespace {

using testing::attach;
using testing::Buffers;
using testing::client_options;
using testing::expect_bytes;
using ::testing::HasSubstr;
using testing::make_keys;
using testing::make_namespace;
using testing::Payloads;
using testing::put_all;
using testing::soon;

using AttachedAwayTest = testing::AttachedTest;

INSTANTIATE_TEST_SUITE_P(Over, AttachedAwayTest, ::testing::Values("unix", "tcp"),
                         [](const auto& param) { return param.param; });

TEST_P(AttachedAwayTest, ADeadlineThatHasPassedIsAnAnswer) {
  const auto cache = start();
  const Namespace ns = make_namespace(4096);
  const auto keys = make_keys(1, 2);
  put_all(*cache, ns, keys);
  EXPECT_EQ(cache->match(Chain(ns, keys), Deadline::now())->reason, Reason::kTimeout);
  EXPECT_EQ(cache->acquire(Chain(ns, keys), Deadline::now())->match.reason, Reason::kTimeout);
  EXPECT_EQ(cache->match(Chain(ns, keys), soon())->blocks, 2u);
}

// What a client sees while the daemon is away, and when it comes back.
TEST_P(AttachedAwayTest, ADaemonThatIsAwayIsAnAnswerAndComesBack) {
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

TEST_P(AttachedAwayTest, OpensWithoutADaemonAndFindsItLater) {
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

TEST_P(AttachedAwayTest, TokensAreProvedBothWays) {
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

}  // namespace
}  // namespace reprise
