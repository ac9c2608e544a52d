#include "l1/lease_book.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>
#include <vector>

#include "l1/test_util.h"
#include "testing/manual_clock.h"

namespace reprise {
namespace {

using namespace std::chrono_literals;
using l1_test::holds_block;
using l1_test::keys_from;
using l1_test::TestCache;
using testing::ManualClock;

constexpr std::uint64_t kBlock = 4096;

class LeaseBookTest : public ::testing::Test {
 protected:
  // Four blocks fit; four are there.
  LeaseBookTest() { l1_test::put(*cache_, ns_, keys_); }

  Lease open(std::size_t blocks) {
    return book_->open(l1_test::pin(cache_.cache, ns_, std::span(keys_).first(blocks)));
  }
  std::uint64_t held() const { return cache_.checked().held; }

  const Namespace ns_ = l1_test::make_namespace(kBlock);
  const std::vector<BlockKey> keys_ = keys_from(0, 4);
  TestCache cache_{MemoryCacheOptions{.capacity = 4 * kBlock}};
  ManualClock clock_;
  std::shared_ptr<LeaseBook> book_ = std::make_shared<LeaseBook>(clock_, 10s);
};

TEST_F(LeaseBookTest, HoldsItsBlocksUntilReleased) {
  Lease lease = open(2);
  ASSERT_EQ(lease.size(), 2);
  EXPECT_EQ(lease.block(1).size(), kBlock);
  EXPECT_TRUE(lease.still_valid());
  EXPECT_EQ(book_->live(), 1);
  EXPECT_EQ(book_->live_blocks(), 2);
  EXPECT_EQ(held(), 2);
  lease.release();
  EXPECT_EQ(book_->live(), 0);
  EXPECT_EQ(book_->live_blocks(), 0);
  EXPECT_EQ(held(), 0);
}

TEST_F(LeaseBookTest, GivesItsTailBackEarly) {
  Lease lease = open(3);
  EXPECT_TRUE(lease.truncate(3));
  EXPECT_EQ(held(), 3);
  EXPECT_TRUE(lease.truncate(1));
  EXPECT_EQ(lease.size(), 1);
  EXPECT_TRUE(holds_block(LeaseBook::inside(lease).blocks[0], ns_.id(), keys_[0]));
  EXPECT_EQ(held(), 1);
  EXPECT_EQ(book_->live_blocks(), 1);
  EXPECT_TRUE(lease.truncate(0));
  EXPECT_TRUE(lease.still_valid());
  EXPECT_EQ(held(), 0);
  lease.release();
  EXPECT_EQ(book_->live(), 0);
  EXPECT_EQ(book_->live_blocks(), 0);
}

TEST_F(LeaseBookTest, KeepsItsTailForOtherHoldersAndOnceItRanOut) {
  Lease lease = open(3);
  {
    const auto other = book_->attach(lease.token().value());
    ASSERT_TRUE(other);
    EXPECT_FALSE(lease.truncate(1));
    EXPECT_EQ(other->size(), 3);
  }
  clock_.advance(10s);
  EXPECT_EQ(book_->expire_due(), 1);
  EXPECT_FALSE(lease.truncate(1));
  EXPECT_EQ(lease.size(), 3);
  EXPECT_EQ(held(), 0);
}

TEST_F(LeaseBookTest, OfNoBlocksIsEmptyAndCountsNothing) {
  Lease lease = book_->open(Pins(cache_.cache));
  EXPECT_TRUE(lease.empty());
  EXPECT_EQ(book_->live(), 0);
}

TEST_F(LeaseBookTest, RunsOutAtItsTimeAndGivesTheBlocksBack) {
  Lease lease = open(3);
  clock_.advance(10s - 1ns);
  EXPECT_EQ(book_->expire_due(), 0);
  EXPECT_TRUE(lease.still_valid());
  clock_.advance(1ns);
  EXPECT_FALSE(lease.still_valid()) << "void by the clock, before anybody has looked";
  EXPECT_EQ(held(), 3);
  EXPECT_EQ(book_->expire_due(), 1);
  EXPECT_EQ(held(), 0);
  EXPECT_EQ(book_->expired(), 1);
  EXPECT_EQ(book_->live(), 0);
  EXPECT_EQ(book_->expire_due(), 0);
  EXPECT_EQ(lease.size(), 3) << "the list stays for a reader in the middle of it";
  EXPECT_FALSE(lease.still_valid());
  EXPECT_FALSE(lease.renew(10s));
  EXPECT_FALSE(lease.token());
  lease.release();
  EXPECT_EQ(held(), 0) << "given back once, not twice";
  EXPECT_EQ(book_->live_blocks(), 0);
}

TEST_F(LeaseBookTest, ExpiresOnlyTheOnesThatAreDue) {
  Lease first = open(1);
  clock_.advance(6s);
  Lease second = open(2);
  clock_.advance(6s);
  EXPECT_EQ(book_->expire_due(), 1);
  EXPECT_FALSE(first.still_valid());
  EXPECT_TRUE(second.still_valid());
  EXPECT_EQ(held(), 2);
  clock_.advance(6s);
  EXPECT_EQ(book_->expire_due(), 1);
  EXPECT_EQ(held(), 0);
}

TEST_F(LeaseBookTest, RenewedLivesOn) {
  Lease lease = open(1);
  clock_.advance(9s);
  EXPECT_TRUE(lease.renew(10s));
  clock_.advance(9s);
  EXPECT_EQ(book_->expire_due(), 0);
  EXPECT_TRUE(lease.still_valid());
  clock_.advance(1s);
  EXPECT_FALSE(lease.renew(10s)) << "too late";
  EXPECT_EQ(book_->expire_due(), 1);
}

TEST_F(LeaseBookTest, RenewedForLessGivesItsBlocksBackEarlier) {
  Lease lease = open(1);
  EXPECT_TRUE(lease.renew(2s));
  clock_.advance(2s);
  EXPECT_EQ(book_->expire_due(), 1);
  EXPECT_EQ(held(), 0);
}

TEST_F(LeaseBookTest, EndsWithItsLastHolder) {
  Lease first = open(2);
  const auto token = first.token();
  ASSERT_TRUE(token);
  EXPECT_EQ(*first.token(), *token) << "a lease has one token";
  auto second = book_->attach(*token);
  ASSERT_TRUE(second);
  EXPECT_EQ(second->size(), 2);
  EXPECT_EQ(second->block(0).data(), first.block(0).data());
  first.release();
  EXPECT_TRUE(second->still_valid());
  EXPECT_EQ(book_->live(), 1);
  EXPECT_EQ(held(), 2);
  second->release();
  EXPECT_EQ(book_->live(), 0);
  EXPECT_EQ(held(), 0);
  const auto third = book_->attach(*token);
  ASSERT_FALSE(third);
  EXPECT_EQ(third.error().code, ErrorCode::kDenied);
}

TEST_F(LeaseBookTest, RunsOutForAllItsHolders) {
  Lease first = open(1);
  const LeaseToken token = *first.token();
  Lease second = *book_->attach(token);
  clock_.advance(10s);
  EXPECT_FALSE(book_->attach(token)) << "void, although nobody has expired it yet";
  EXPECT_EQ(book_->expire_due(), 1);
  EXPECT_FALSE(first.still_valid());
  EXPECT_FALSE(second.still_valid());
  EXPECT_FALSE(book_->attach(token));
  EXPECT_EQ(held(), 0);
}

TEST_F(LeaseBookTest, TokensDifferAndUnknownOnesAreDenied) {
  Lease first = open(1);
  Lease second = open(1);
  EXPECT_NE(*first.token(), *second.token());
  EXPECT_FALSE(book_->attach(LeaseToken{}));
}

TEST_F(LeaseBookTest, OutlivesTheCacheAndTheBook) {
  const Namespace ns = l1_test::make_namespace(kBlock);
  const auto keys = keys_from(50, 1);
  Lease lease;
  std::weak_ptr<MemoryCache> gone;
  {
    TestCache cache(MemoryCacheOptions{.capacity = kBlock});
    gone = cache.cache;
    l1_test::put(*cache, ns, keys);
    const auto book = std::make_shared<LeaseBook>(clock_, 10s);
    lease = book->open(l1_test::pin(cache.cache, ns, keys));
  }
  ASSERT_FALSE(gone.expired());
  const Bytes bytes = lease.block(0);
  const PinnedBlock block{const_cast<std::byte*>(bytes.data()), static_cast<std::uint32_t>(bytes.size()), 0};
  EXPECT_TRUE(holds_block(block, ns.id(), keys[0]));
  EXPECT_TRUE(lease.still_valid());
  lease.release();
  EXPECT_TRUE(gone.expired()) << "the last holder takes the memory along";
}

// Whoever wins between release, renewal and expiry: every block is given back exactly once.
TEST_F(LeaseBookTest, ManyThreadsOpenAttachRenewAndExpire) {
  constexpr int kRounds = 300;
  std::vector<std::jthread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < kRounds; ++round) {
        Lease lease = open(static_cast<std::size_t>(1 + (t + round) % 4));
        auto token = lease.token();
        if (round % 3 == 0) (void)lease.renew(5s);
        if (token && round % 2 == 0) {
          auto other = book_->attach(*token);
          lease.release();
          if (other) (void)other->still_valid();
        }
        clock_.advance(round % 5 == 0 ? Duration(4s) : Duration(10ms));
        book_->expire_due();
      }
    });
  }
  threads.clear();
  EXPECT_EQ(book_->live(), 0);
  EXPECT_EQ(book_->live_blocks(), 0);
  EXPECT_EQ(held(), 0);
}

}  // namespace
}  // namespace reprise
