// How much is there and what goes: blocks written by several stores into one directory of a fixed capacity.
#include "store/fs/census.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "store/fs/fs_store.h"
#include "testing/blocks.h"
#include "testing/memory_env.h"

namespace reprise {
namespace {

using namespace reprise::testing;  // NOLINT(google-build-using-namespace)

constexpr std::size_t kBlock = 16 << 10;
constexpr std::uint64_t kCapacity = 4 << 20;  // 256 blocks
constexpr std::uint64_t kFit = kCapacity / kBlock;

class CensusTest : public ::testing::Test {
 protected:
  std::unique_ptr<FsStore> open(std::uint64_t capacity = kCapacity, std::uint64_t ttl = 0) {
    auto store = FsStore::open({.path = "/d", .ttl_seconds = ttl, .capacity = capacity, .threads = 0}, env_,
                               [this] { return env_.time(); });
    EXPECT_TRUE(store) << store.error().message;
    return store ? std::move(*store) : nullptr;
  }
  void put(Store& store, std::uint64_t n, std::uint64_t ns = 1) {
    env_.set_time(env_.time() + std::chrono::seconds(1));
    ASSERT_EQ(put_numbered(store, n, kBlock, ns), Reason::kNone);
  }
  std::uint64_t there(std::uint64_t from, std::uint64_t to, std::uint64_t ns = 1) {
    std::uint64_t found = 0;
    for (std::uint64_t n = from; n < to; ++n) found += env_.raw(fs::Layout("/d").file(block_id(n, ns))) != nullptr;
    return found;
  }
  MemoryEnv env_;
};

TEST_F(CensusTest, TheBoundIsKept) {
  const auto store = open();
  for (std::uint64_t n = 0; n < 4 * kFit; ++n) {
    put(*store, n);
    ASSERT_LE(store->stats().used_bytes, kCapacity + kCapacity / 10) << n;
  }
  const std::uint64_t left = there(0, 4 * kFit);
  EXPECT_LE(left, kFit * 11 / 10);
  EXPECT_GE(left, kFit * 9 / 10) << "and no more goes than has to";
  EXPECT_EQ(store->stats().evictions, 4 * kFit - left);
  EXPECT_NEAR(static_cast<double>(store->stats().blocks), static_cast<double>(left), 0.05 * static_cast<double>(kFit));
}

TEST_F(CensusTest, WhatWasUsedLongestAgoGoes) {
  const auto store = open();
  for (std::uint64_t n = 0; n < 3 * kFit; ++n) {
    put(*store, n);
    // Ten blocks are read again and again.
    if (n >= 10) {
      env_.set_time(env_.time() + std::chrono::seconds(60));
      ASSERT_TRUE(has_block(*store, n % 10, kBlock)) << n;
    }
  }
  EXPECT_EQ(there(0, 10), 10u);
  EXPECT_GT(there(2 * kFit + kFit / 2, 3 * kFit), kFit * 2 / 5) << "nearly all of the newest";
  EXPECT_LT(there(10, kFit), kFit / 20) << "nearly none of the oldest";
}

TEST_F(CensusTest, WhoOpensAFullDirectoryFindsOut) {
  {
    const auto unbounded = open(0);
    for (std::uint64_t n = 0; n < 2 * kFit; ++n) put(*unbounded, n, n % 3);
  }
  const auto store = open();
  for (std::uint64_t n = 5000; n < 5000 + 2 * kFit; ++n) put(*store, n);
  std::uint64_t left = there(5000, 5000 + 2 * kFit);
  for (std::uint64_t n = 0; n < 2 * kFit; ++n) left += there(n, n + 1, n % 3);
  EXPECT_LE(left, kFit * 12 / 10);
  EXPECT_GE(left, kFit * 8 / 10);
}

TEST_F(CensusTest, WritersThatDoNotKnowOfEachOtherKeepTheBoundTogether) {
  const std::array stores{open(), open(), open()};
  for (std::uint64_t n = 0; n < 6 * kFit; ++n) put(*stores[n % 3], n);
  const std::uint64_t left = there(0, 6 * kFit);
  EXPECT_LE(left, kFit * 15 / 10);
  EXPECT_GE(left, kFit / 2);
}

TEST_F(CensusTest, TheOldGoThoughNobodyAsksForThem) {
  const auto store = open(0, 600);
  for (std::uint64_t n = 0; n < 100; ++n) put(*store, n);
  env_.set_time(env_.time() + std::chrono::seconds(700));
  for (std::uint64_t n = 1000; n < 1100; ++n) put(*store, n);
  EXPECT_EQ(there(0, 100), 0u);
  EXPECT_EQ(there(1000, 1100), 100u);
  EXPECT_EQ(store->stats().evictions, 100u);
}

TEST_F(CensusTest, OnlyFilesOfOursAreCountedOrRemoved) {
  ASSERT_TRUE(env_.make_directory("/d/photos/aa/bb"));
  const std::string leaf = fs::Layout("/d").directory(block_id(1));
  ASSERT_TRUE(env_.make_directory(leaf));
  for (const std::string& path : {std::string("/d/photos/aa/bb/") + std::string(32, 'a'), leaf + "/README",
                                  leaf + "/" + std::string(31, 'a'), "/d/" + std::string(32, 'c')}) {
    ASSERT_TRUE(env_.open(path, OpenMode::kCreate, Direct::kOff));
    env_.raw(path)->resize(1000);
  }
  const auto store = open(kCapacity, 60);
  env_.set_time(env_.time() + std::chrono::hours(1));
  for (std::uint64_t n = 0; n < 3 * kFit; ++n) put(*store, n);
  EXPECT_NE(env_.raw("/d/photos/aa/bb/" + std::string(32, 'a')), nullptr);
  EXPECT_NE(env_.raw(leaf + "/README"), nullptr);
  EXPECT_NE(env_.raw(leaf + "/" + std::string(31, 'a')), nullptr);
  EXPECT_NE(env_.raw("/d/" + std::string(32, 'c')), nullptr);
}

// The work of one write is bounded, however much lies there.
TEST_F(CensusTest, LooksAreBounded) {
  {
    const auto unbounded = open(0);
    for (std::uint64_t n = 0; n < 1000; ++n) put(*unbounded, n);
  }
  const fs::Layout layout("/d");
  fs::Census census(env_, layout, {.capacity = 1 << 20, .seed = 3});
  census.tidy(1, kBlock, env_.time(), Deadline::never());
  const std::uint64_t first = census.evictions();
  EXPECT_LE(first, 2u) << "at most twice what was written";
  census.tidy(200, 10 * kBlock, env_.time(), Deadline::now());
  EXPECT_EQ(census.evictions(), first) << "none after the deadline";
  census.tidy(1000, 10 * kBlock, env_.time(), Deadline::never());
  EXPECT_EQ(census.evictions(), first + 20);
}

}  // namespace
}  // namespace reprise
