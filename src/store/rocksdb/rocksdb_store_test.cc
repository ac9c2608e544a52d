// What blocks in RocksDB do beyond the contract of all stores: restarts, ages, damage below and above RocksDB's checks.
#include "store/rocksdb/rocksdb_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rocksdb/db.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>

#include "store/rocksdb/database.h"
#include "testing/blocks.h"
#include "testing/temp_dir.h"

namespace reprise {
namespace {

using namespace reprise::testing;  // NOLINT(google-build-using-namespace)
using ::testing::HasSubstr;

constexpr std::size_t kBlock = 8 << 10;

class RocksdbTest : public ::testing::Test {
 protected:
  void open(std::uint64_t ttl = 600) {
    store_.reset();
    auto store = RocksdbStore::open(options(ttl), [this] { return now_.load(); });
    ASSERT_TRUE(store) << store.error().message;
    store_ = std::move(*store);
  }
  RocksdbOptions options(std::uint64_t ttl = 600) const {
    RocksdbOptions options;
    options.path = temp_.path() + "/db";
    options.ttl_seconds = ttl;
    options.background_jobs = 2;
    return options;
  }
  void fill(std::uint64_t blocks) {
    for (std::uint64_t n = 0; n < blocks; ++n) ASSERT_EQ(put_numbered(*store_, n, kBlock), Reason::kNone);
  }
  Reason get(std::uint64_t n, std::size_t length = kBlock) {
    const AlignedBuffer memory(length);
    const Reason reason = get_block(*store_, block_id(n), memory, length);
    if (reason == Reason::kNone) {
      EXPECT_TRUE(std::ranges::equal(memory.span().first(length), block_payload(n, length).span().first(length)))
          << "wrong bytes of " << n;
    }
    return reason;
  }
  bool present(std::uint64_t n) {
    const BlockId id = block_id(n);
    bool found = false;
    EXPECT_TRUE(store_->contains(std::span(&id, 1), std::span(&found, 1), Deadline::never()));
    return found;
  }
  /// Changes values behind the store's back, with checksums of RocksDB that hold.
  void tamper(std::uint64_t n, const std::function<void(std::string&)>& change) {
    store_.reset();
    {
      rocks::Counts counts;
      auto database = rocks::Database::open(options(), [this] { return now_.load(); }, counts);
      ASSERT_TRUE(database);
      rocksdb::DB& db = (*database)->db();
      const rocks::DbKey key = rocks::db_key(block_id(n));
      std::string value;
      ASSERT_TRUE(db.Get(rocksdb::ReadOptions(), (*database)->blocks(), rocks::slice(key), &value).ok());
      change(value);
      ASSERT_TRUE(db.Put(rocksdb::WriteOptions(), (*database)->blocks(), rocks::slice(key), value).ok());
    }
    open();
  }

  TempDir temp_;
  std::atomic<std::uint64_t> now_{1'700'000'000};
  std::unique_ptr<RocksdbStore> store_;
};

TEST(RocksdbOptionsTest, ErrorsNameTheOption) {
  const auto message = [](const std::string& url) {
    const auto store = RocksdbStore::open(url);
    EXPECT_FALSE(store.has_value()) << url;
    if (store) return std::string();
    EXPECT_EQ(store.error().code, ErrorCode::kConfig);
    return store.error().message;
  };
  EXPECT_THAT(message("rocksdb:"), HasSubstr("rocksdb:/path"));
  EXPECT_THAT(message("rocksdb:/x?write-buffer=1KiB"), HasSubstr("write-buffer=1KiB: must be from 64KiB"));
  EXPECT_THAT(message("rocksdb:/x?max-write-buffers=1"), HasSubstr("max-write-buffers=1: must be from 2 to 64"));
  EXPECT_THAT(message("rocksdb:/x?background-jobs=1000"), HasSubstr("background-jobs=1000"));
  EXPECT_THAT(message("rocksdb:/x?ttl=soon"), HasSubstr("ttl=soon"));
  EXPECT_THAT(message("rocksdb:/x?tll=1s"), HasSubstr("tll"));
  EXPECT_THAT(message("rocksdb:/proc/nowhere"), HasSubstr("/proc/nowhere"));
  const auto options = RocksdbOptions::parse(
      "rocksdb:/x/?ttl=0&write-buffer=1MiB&target-file=2MiB&max-write-buffers=4&max-wal=5MiB&background-jobs=6");
  ASSERT_TRUE(options);
  EXPECT_EQ(options->path, "/x");
  EXPECT_EQ(options->ttl_seconds, 0u);
  EXPECT_EQ(options->write_buffer, 1u << 20);
  EXPECT_EQ(options->target_file, 2u << 20);
  EXPECT_EQ(options->max_write_buffers, 4u);
  EXPECT_EQ(options->max_wal, 5u << 20);
  EXPECT_EQ(options->background_jobs, 6u);
  EXPECT_EQ(RocksdbOptions::parse("rocksdb:/x")->ttl_seconds, 600u);
}

TEST_F(RocksdbTest, OneProcessADirectory) {
  open();
  const auto second = RocksdbStore::open(options());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kConfig);
  EXPECT_THAT(second.error().message, HasSubstr("in use by another cache"));
}

TEST_F(RocksdbTest, TheNextProcessFindsWhatThisOneWrote) {
  open();
  fill(30);
  open();
  for (std::uint64_t n = 0; n < 30; ++n) EXPECT_EQ(get(n), Reason::kNone) << n;
  EXPECT_GT(store_->stats().blocks, 0u);
}

TEST_F(RocksdbTest, BlocksGrowOld) {
  open(60);
  fill(1);
  now_ += 59;
  EXPECT_TRUE(present(0));
  EXPECT_EQ(get(0), Reason::kNone);
  now_ += 1;
  EXPECT_FALSE(present(0));
  EXPECT_EQ(get(0), Reason::kMiss);
  EXPECT_EQ(store_->stats().evictions, 1u);
  EXPECT_EQ(store_->stats().blocks, 0u);
  fill(1);
  EXPECT_EQ(get(0), Reason::kNone);
  now_ += 60;
  fill(1);
  EXPECT_EQ(get(0), Reason::kNone) << "an old copy does not stand in the way of a new one";
  EXPECT_EQ(store_->stats().blocks, 1u);
  EXPECT_EQ(store_->stats().used_bytes, kBlock);
}

TEST_F(RocksdbTest, MergingDropsTheOldAndKeepsTheYoung) {
  open(60);
  fill(20);
  now_ += 50;
  for (std::uint64_t n = 100; n < 110; ++n) ASSERT_EQ(put_numbered(*store_, n, kBlock), Reason::kNone);
  now_ += 20;
  ASSERT_TRUE(store_->compact());
  EXPECT_EQ(store_->stats().blocks, 10u);
  EXPECT_EQ(store_->stats().used_bytes, 10 * kBlock);
  EXPECT_EQ(store_->stats().evictions, 20u);
  for (std::uint64_t n = 100; n < 110; ++n) EXPECT_EQ(get(n), Reason::kNone) << n;
  now_ -= 70;  // Were they there, they would be young again.
  for (std::uint64_t n = 0; n < 20; ++n) EXPECT_EQ(get(n), Reason::kMiss) << n;
}

TEST_F(RocksdbTest, WithoutALimitNothingGrowsOld) {
  open(0);
  fill(5);
  now_ += 1'000'000'000;
  ASSERT_TRUE(store_->compact());
  for (std::uint64_t n = 0; n < 5; ++n) EXPECT_EQ(get(n), Reason::kNone) << n;
}

TEST_F(RocksdbTest, EveryFlippedBitIsCaughtAndTheCopyDropped) {
  open();
  std::mt19937_64 random(1);
  for (int round = 0; round < 6; ++round) {
    fill(1);
    tamper(0, [&](std::string& value) {
      const std::size_t at = round < 3 ? random() % kStoredBlockHeaderBytes : random() % value.size();
      value[at] = static_cast<char>(value[at] ^ (1 << (random() % 8)));
    });
    EXPECT_EQ(get(0), Reason::kCorrupt) << round;
    EXPECT_EQ(store_->stats().corrupt, 1u);
    EXPECT_EQ(get(0), Reason::kMiss);
    EXPECT_FALSE(present(0));
  }
}

TEST_F(RocksdbTest, WhatIsCutOrOfSomethingElseIsNotABlock) {
  open();
  fill(3);
  tamper(0, [](std::string& value) { value.resize(value.size() - 1); });
  EXPECT_EQ(get(0), Reason::kCorrupt);
  tamper(1, [](std::string& value) { value = "hello"; });
  EXPECT_EQ(get(1), Reason::kCorrupt);
  std::string other;
  tamper(2, [&](std::string& value) { other = value; });
  fill(1);
  tamper(0, [&](std::string& value) { value = other; });
  EXPECT_EQ(get(0), Reason::kForeign);
  EXPECT_EQ(store_->stats().foreign, 1u);
  EXPECT_EQ(get(0), Reason::kMiss);
  EXPECT_EQ(get(2), Reason::kNone);
}

TEST_F(RocksdbTest, ABlockOfANewerVersionIsLeftAlone) {
  open();
  fill(1);
  tamper(0, [&](std::string& value) {
    const AlignedBuffer payload = block_payload(0, kBlock);
    encode_stored_block({block_id(0), kBlock, checksum(payload.span()), 1},
                        std::as_writable_bytes(std::span(value.data(), value.size())), kStoredBlockVersion + 1);
  });
  EXPECT_EQ(get(0), Reason::kForeign);
  ASSERT_TRUE(store_->compact());
  EXPECT_EQ(get(0), Reason::kForeign) << "nor does a merge drop it";
}

// Bits flipped in the database's own files: what comes back is right, or does not come back.
TEST_F(RocksdbTest, DamagedFilesNeverGiveWrongBytes) {
  open();
  fill(40);
  ASSERT_TRUE(store_->compact());
  store_.reset();
  std::mt19937_64 random(3);
  int damaged = 0;
  for (const auto& entry : std::filesystem::directory_iterator(options().path)) {
    if (entry.path().extension() != ".sst" || entry.file_size() < 100'000) continue;
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    for (int i = 0; i < 5; ++i) {
      // In the first half, where the blocks are; damage at the end keeps the file from opening.
      const auto at = static_cast<std::streamoff>(random() % (entry.file_size() / 2));
      file.seekg(at);
      const int byte = file.get();
      file.seekp(at);
      file.put(static_cast<char>(byte ^ 0x10));
    }
    ++damaged;
  }
  ASSERT_GT(damaged, 0);
  open();
  std::uint64_t right = 0;
  for (std::uint64_t n = 0; n < 40; ++n) right += get(n) == Reason::kNone;
  EXPECT_LT(right, 40u);
  EXPECT_GT(right, 20u);
  EXPECT_EQ(store_->stats().corrupt, 40 - right);
  fill(40);
  for (std::uint64_t n = 0; n < 40; ++n) EXPECT_EQ(get(n), Reason::kNone) << "written anew: " << n;
}

TEST_F(RocksdbTest, ATornLogLosesItsEnd) {
  open();
  fill(20);
  store_.reset();
  for (const auto& entry : std::filesystem::directory_iterator(options().path)) {
    if (entry.path().extension() == ".log" && entry.file_size() > 0) {
      std::filesystem::resize_file(entry.path(), entry.file_size() * 3 / 4);
    }
  }
  open();
  std::uint64_t right = 0;
  for (std::uint64_t n = 0; n < 20; ++n) right += get(n) == Reason::kNone;
  EXPECT_GT(right, 10u);
  EXPECT_LT(right, 20u);
}

TEST_F(RocksdbTest, ADirectoryWithoutItsManifestSaysWhatToDo) {
  open();
  fill(1);
  store_.reset();
  std::ofstream(options().path + "/CURRENT", std::ios::trunc) << "rubbish";
  const auto store = RocksdbStore::open(options());
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, ErrorCode::kConfig);
  EXPECT_THAT(store.error().message, HasSubstr("delete the directory"));
}

TEST_F(RocksdbTest, LargeBatchesGoInPieces) {
  open();
  constexpr std::size_t kLarge = 6 << 20;
  constexpr std::uint64_t kCount = 12;  // more than two pieces
  std::vector<AlignedBuffer> payloads;
  std::vector<AlignedBuffer> memory;
  std::vector<WriteOp> writes;
  std::vector<ReadOp> reads;
  for (std::uint64_t n = 0; n < kCount; ++n) {
    payloads.push_back(block_payload(n, kLarge));
    memory.emplace_back(kLarge);
    writes.push_back({block_id(n), payloads.back().span(), checksum(payloads.back().span())});
    reads.push_back({block_id(n), memory.back().span()});
  }
  store_->write(writes, Deadline::never());
  store_->read(reads, Deadline::never());
  for (std::uint64_t n = 0; n < kCount; ++n) {
    EXPECT_EQ(writes[n].result, Reason::kNone);
    ASSERT_EQ(reads[n].result, Reason::kNone);
    EXPECT_TRUE(std::ranges::equal(memory[n].span(), payloads[n].span())) << n;
  }
}

TEST_F(RocksdbTest, ItsLogsStaySmall) {
  for (int round = 0; round < 4; ++round) {
    open();
    fill(2);
  }
  store_.reset();
  std::uint64_t bytes = 0;
  int logs = 0;
  for (const auto& entry : std::filesystem::directory_iterator(options().path)) {
    if (!entry.path().filename().string().starts_with("LOG")) continue;
    bytes += entry.file_size();
    ++logs;
  }
  EXPECT_LE(logs, 3);
  EXPECT_LE(bytes, 3u << 20);
}

}  // namespace
}  // namespace reprise
