// What the disk tier does beyond the contract of all stores: reclaim, limits, restarts.
#include "store/disk/disk_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <thread>

#include "testing/blocks.h"
#include "testing/memory_env.h"
#include "testing/temp_dir.h"

namespace reprise {
namespace {

using namespace reprise::testing;  // NOLINT(google-build-using-namespace)

constexpr std::size_t kBlock = 8 << 10;
constexpr std::uint64_t kSegment = 256 << 10;

DiskOptions small(std::uint64_t segments = 8) {
  return {.path = "/d", .capacity = segments * kSegment, .segment = kSegment};
}
std::unique_ptr<DiskStore> open_or_die(Env& env, const DiskOptions& options) {
  auto store = DiskStore::open(options, env);
  EXPECT_TRUE(store) << store.error().message;
  return store ? std::move(*store) : nullptr;
}
std::vector<std::string> segments_of(Env& env) {
  auto names = *env.list("/d");
  std::erase(names, "LOCK");
  std::ranges::sort(names);
  return names;
}

TEST(DiskOptionsTest, ErrorsNameTheOption) {
  const auto message = [](const std::string& url) {
    const auto store = DiskStore::open(url);
    EXPECT_FALSE(store.has_value()) << url;
    if (store) return std::string();
    EXPECT_EQ(store.error().code, ErrorCode::kConfig);
    return store.error().message;
  };
  TempDir temp;
  const std::string at = "disk:" + temp.path();
  EXPECT_THAT(message("disk:"), ::testing::HasSubstr("disk:/path"));
  EXPECT_THAT(message(at + "?capacity=100MiB"),
              ::testing::HasSubstr("capacity=100MiB: must be from two segments (128MiB)"));
  EXPECT_THAT(message(at + "?segment=1000000"), ::testing::HasSubstr("segment="));
  EXPECT_THAT(message(at + "?segment=4GiB&capacity=1TiB"), ::testing::HasSubstr("2GiB"));
  EXPECT_THAT(message(at + "?capacity=16TiB&segment=64KiB"), ::testing::HasSubstr("ulimit -n"));
  EXPECT_THAT(message(at + "?direct=maybe"), ::testing::HasSubstr("direct=maybe: expected one of auto, on, off"));
  EXPECT_THAT(message(at + "?io=fast"), ::testing::HasSubstr("io=fast"));
  EXPECT_THAT(message(at + "?capcity=1GiB"), ::testing::HasSubstr("capcity"));
  EXPECT_THAT(message("disk:/proc/nowhere"), ::testing::HasSubstr("/proc/nowhere"));
}

TEST(DiskStoreTest, OneProcessADirectory) {
  MemoryEnv env;
  const auto first = open_or_die(env, small());
  const auto second = DiskStore::open(small(), env);
  ASSERT_FALSE(second.has_value());
  EXPECT_THAT(second.error().message, ::testing::HasSubstr("/d is in use"));
}

TEST(DiskStoreTest, TheOldestSegmentMakesRoom) {
  MemoryEnv env;
  const auto store = open_or_die(env, small(4));
  constexpr std::uint64_t kBlocks = 400;  // 3.2 MiB into 1 MiB
  for (std::uint64_t n = 0; n < kBlocks; ++n) ASSERT_EQ(put_numbered(*store, n, kBlock), Reason::kNone);
  EXPECT_LE(segments_of(env).size(), 4u);
  const TierStats stats = store->stats();
  EXPECT_EQ(stats.evictions, kBlocks - stats.blocks);
  EXPECT_LE(stats.used_bytes, stats.capacity_bytes);
  EXPECT_GT(stats.blocks, 60u) << "at least two thirds of the capacity are blocks";
  for (std::uint64_t n = 0; n < kBlocks; ++n) {
    EXPECT_EQ(has_block(*store, n, kBlock), n >= kBlocks - stats.blocks) << "first in, first out: " << n;
  }
}

TEST(DiskStoreTest, WhatWasReadMovesOn) {
  MemoryEnv env;
  const auto store = open_or_die(env, small(4));
  for (std::uint64_t n = 0; n < 3; ++n) ASSERT_EQ(put_numbered(*store, n, kBlock), Reason::kNone);
  for (std::uint64_t n = 100; n < 600; ++n) {
    ASSERT_EQ(put_numbered(*store, n, kBlock), Reason::kNone);
    ASSERT_TRUE(has_block(*store, 0, kBlock)) << n;
    ASSERT_TRUE(has_block(*store, 2, kBlock)) << n;
  }
  EXPECT_FALSE(has_block(*store, 1, kBlock)) << "nobody read it";
  EXPECT_EQ(store->stats().corrupt, 0u);
}

TEST(DiskStoreTest, AtMostAFifthOfASegmentMovesOn) {
  MemoryEnv env;
  const auto store = open_or_die(env, small(3));
  std::uint64_t n = 0;
  for (; segments_of(env).size() < 3; ++n) ASSERT_EQ(put_numbered(*store, n, kBlock), Reason::kNone);
  for (std::uint64_t i = 0; i < n; ++i) ASSERT_TRUE(has_block(*store, i, kBlock)) << i;
  const auto before = segments_of(env);
  const std::uint64_t had = store->stats().blocks;
  std::uint64_t wrote = 0;
  for (; segments_of(env).front() == before.front(); ++n, ++wrote) {
    ASSERT_EQ(put_numbered(*store, n, kBlock), Reason::kNone);
  }
  const std::uint64_t first_segment = (had - 1) / 2;
  const std::uint64_t carried = store->stats().blocks - (had + wrote - first_segment);
  EXPECT_EQ(carried, kSegment / 5 / kBlock);
}

TEST(DiskStoreTest, ErasedBlocksStayAwayEvenIfTheirTombstoneIsOlderThanACopy) {
  MemoryEnv env;
  auto store = open_or_die(env, small(4));
  for (std::uint64_t n = 0; n < 20; ++n) ASSERT_EQ(put_numbered(*store, n, kBlock), Reason::kNone);
  std::vector<BlockId> ids;
  for (std::uint64_t n = 0; n < 10; ++n) ids.push_back(block_id(n));
  ASSERT_EQ(*store->erase(ids, Deadline::never()), 10u);
  ASSERT_EQ(put_numbered(*store, 3, kBlock), Reason::kNone);
  store.reset();
  store = open_or_die(env, small(4));
  for (std::uint64_t n = 0; n < 20; ++n) EXPECT_EQ(has_block(*store, n, kBlock), n >= 10 || n == 3) << n;
}

TEST(DiskStoreTest, ALowerCapacityDropsTheOldestAtOpen) {
  MemoryEnv env;
  auto store = open_or_die(env, small(8));
  for (std::uint64_t n = 0; n < 200; ++n) ASSERT_EQ(put_numbered(*store, n, kBlock), Reason::kNone);
  store.reset();
  store = open_or_die(env, small(3));
  EXPECT_LE(segments_of(env).size(), 3u);
  EXPECT_FALSE(has_block(*store, 0, kBlock));
  EXPECT_TRUE(has_block(*store, 199, kBlock));
}

TEST(DiskStoreTest, AnotherSegmentSizeReadsWhatIsThere) {
  MemoryEnv env;
  auto store = open_or_die(env, small(8));
  for (std::uint64_t n = 0; n < 100; ++n) ASSERT_EQ(put_numbered(*store, n, 4096), Reason::kNone);
  store.reset();
  DiskOptions options = small(8);
  options.segment = 64 << 10;
  store = open_or_die(env, options);
  for (std::uint64_t n = 100; n < 110; ++n) ASSERT_EQ(put_numbered(*store, n, 4096), Reason::kNone);
  for (std::uint64_t n = 0; n < 110; ++n) EXPECT_TRUE(has_block(*store, n, 4096)) << n;
}

TEST(DiskStoreTest, AReaderOfAReclaimedSegmentIsSafe) {
  TempDir temp;
  const auto store = DiskStore::open("disk:" + temp.path() + "?capacity=512KiB&segment=128KiB");
  ASSERT_TRUE(store) << store.error().message;
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> readers;
  std::atomic<std::uint64_t> newest{0};
  for (int t = 0; t < 3; ++t) {
    readers.emplace_back([&, t] {
      std::mt19937_64 random(static_cast<std::uint64_t>(t));
      const AlignedBuffer memory(4096);
      while (!stop) {
        const std::uint64_t n = newest - std::min<std::uint64_t>(newest, random() % 150);
        const Reason reason = get_block(**store, block_id(n), memory, 4096);
        if (reason == Reason::kNone) {
          wrong += !std::ranges::equal(memory.span(), block_payload(n, 4096).span());
        } else {
          wrong += reason != Reason::kMiss;
        }
      }
    });
  }
  for (std::uint64_t n = 0; n < 1500; ++n) {
    EXPECT_EQ(put_numbered(**store, n, 4096), Reason::kNone);
    newest = n;
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_GT((*store)->stats().evictions, 1000u);
}

// Random use against a plain map: a block that the store gives is the one last written, across restarts and reclaim.
void random_use(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  MemoryEnv env;
  const DiskOptions options = small(3 + random() % 6);
  auto store = open_or_die(env, options);
  struct Version {
    std::uint64_t version;
    std::size_t bytes;
  };
  std::map<std::uint64_t, Version> model;  // what was written and not erased; the store may have less
  std::uint64_t hits = 0;
  for (int step = 0; step < 2500; ++step) {
    const std::uint64_t n = random() % 200;
    const std::size_t bytes = 1 + (n * 977) % 20'000;
    switch (random() % 12) {
      case 0: {
        const BlockId id = block_id(n);
        ASSERT_TRUE(store->erase(std::span(&id, 1), Deadline::never()));
        model.erase(n);
        break;
      }
      case 1:
        if (random() % 10 != 0) break;
        store.reset();
        store = open_or_die(env, options);
        break;
      case 2:
      case 3:
      case 4:
      case 5: {
        const BlockId id = block_id(n);
        bool present = false;
        ASSERT_TRUE(store->contains(std::span(&id, 1), std::span(&present, 1), Deadline::never()));
        const std::uint64_t version = present ? model.at(n).version : random();
        const AlignedBuffer payload = block_payload(n, bytes, version);
        ASSERT_EQ(put_block(*store, id, payload.span().first(bytes)), Reason::kNone);
        model.insert_or_assign(n, Version{version, bytes});
        break;
      }
      default: {
        const AlignedBuffer memory(bytes);
        const Reason reason = get_block(*store, block_id(n), memory, bytes);
        ASSERT_TRUE(reason == Reason::kNone || reason == Reason::kMiss) << to_string(reason);
        if (reason == Reason::kMiss) break;
        ASSERT_TRUE(model.contains(n)) << "an erased block came back, step " << step << " seed " << seed;
        const AlignedBuffer expected = block_payload(n, bytes, model[n].version);
        ASSERT_TRUE(std::ranges::equal(memory.span().first(bytes), expected.span().first(bytes))) << step;
        ++hits;
      }
    }
  }
  EXPECT_GT(hits, 100u);
}

TEST(DiskStoreTest, RandomUseNeverGivesWrongBytes) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) random_use(seed);
}

}  // namespace
}  // namespace reprise
