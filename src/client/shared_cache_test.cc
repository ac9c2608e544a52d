// Over shared memory: how long leases live, and who may write where.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <utility>

#include "reprise/cache.h"
#include "testing/attached_daemon.h"
#include "testing/chains.h"

namespace reprise {
namespace {

using testing::attach;
using testing::AttachedDaemon;
using testing::expect_bytes;
using ::testing::HasSubstr;
using testing::is_payload;
using testing::make_keys;
using testing::make_namespace;
using testing::put_all;
using testing::soon;

class SharedTest : public ::testing::Test {
 protected:
  void SetUp() override { start(); }
  void start() {
    daemon_.server.reset();
    daemon_.start();
    cache_ = attach(daemon_.url("unix"));
    ASSERT_NE(cache_, nullptr);
  }
  AttachedDaemon daemon_;
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

}  // namespace
}  // namespace reprise
