// Over the network: copies and TLS.

#include <gtest/gtest.h>

#include <string>

#include "reprise/cache.h"
#include "testing/attached_daemon.h"
#include "testing/certificates.h"
#include "testing/chains.h"

namespace reprise {
namespace {

using testing::attach;
using testing::AttachedDaemon;
using testing::client_options;
using testing::expect_bytes;
using testing::make_keys;
using testing::make_namespace;
using testing::put_all;
using testing::soon;

TEST(RemoteTest, LeasesAreCopiesOfTheirOwn) {
  AttachedDaemon daemon;
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
  AttachedDaemon daemon;
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

}  // namespace
}  // namespace reprise
