// The disk tier on a disk that fails, lies, fills up or loses power: fewer blocks, never wrong bytes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <thread>

#include "store/disk/disk_store.h"
#include "store/disk/format.h"
#include "testing/blocks.h"
#include "testing/fault_env.h"
#include "testing/memory_env.h"

namespace reprise {
namespace {

using namespace reprise::testing;  // NOLINT(google-build-using-namespace)

constexpr std::size_t kBlock = 8 << 10;
constexpr std::uint64_t kSegment = 256 << 10;
constexpr std::uint64_t kBlocks = 60;

class DiskFault : public ::testing::Test {
 protected:
  void open(std::uint64_t segments = 8) {
    store_.reset();
    auto store = DiskStore::open({.path = "/d", .capacity = segments * kSegment, .segment = kSegment}, env_);
    ASSERT_TRUE(store) << store.error().message;
    store_ = std::move(*store);
  }
  void fill() {
    open();
    for (std::uint64_t n = 0; n < kBlocks; ++n) ASSERT_EQ(put_numbered(*store_, n, kBlock), Reason::kNone);
  }
  /// Reads all; counts what is right, fails on what is wrong.
  std::uint64_t right(std::uint64_t blocks = kBlocks) {
    std::uint64_t found = 0;
    for (std::uint64_t n = 0; n < blocks; ++n) {
      const AlignedBuffer memory(kBlock);
      if (get_block(*store_, block_id(n), memory, kBlock) != Reason::kNone) continue;
      ++found;
      EXPECT_TRUE(std::ranges::equal(memory.span(), block_payload(n, kBlock).span())) << "wrong bytes of " << n;
    }
    return found;
  }
  std::vector<std::string> segments() {
    auto names = *memory_.list("/d");
    std::erase_if(names, [](const std::string& name) { return !disk::parse_segment_name(name); });
    std::ranges::sort(names);
    for (std::string& name : names) name = "/d/" + name;
    return names;
  }
  std::vector<std::byte>& bytes(const std::string& path) { return *memory_.raw(path); }

  MemoryEnv memory_;
  FaultEnv env_{memory_};
  std::unique_ptr<DiskStore> store_;
};

TEST_F(DiskFault, AFlippedBitOnReadIsCaughtAndTheCopyDropped) {
  fill();
  env_.flip_bits(1);
  const AlignedBuffer memory(kBlock);
  EXPECT_EQ(get_block(*store_, block_id(3), memory, kBlock), Reason::kCorrupt);
  EXPECT_EQ(get_block(*store_, block_id(3), memory, kBlock), Reason::kMiss);
  EXPECT_EQ(store_->stats().corrupt, 1u);
  EXPECT_EQ(right(), kBlocks - 1);
}

TEST_F(DiskFault, OnlyTestsOfWhatIsAboveAreGivenDamagedBlocks) {
  const auto read = [this](bool unverified) {
    fill();
    store_.reset();
    auto store =
        DiskStore::open({.path = "/d", .capacity = 8 * kSegment, .segment = kSegment, .unverified = unverified}, env_);
    EXPECT_TRUE(store) << store.error().message;
    env_.flip_bits(1);
    const AlignedBuffer memory(kBlock);
    return store ? get_block(**store, block_id(3), memory, kBlock) : Reason::kUnavailable;
  };
  EXPECT_EQ(read(false), Reason::kCorrupt);
  EXPECT_EQ(read(true), Reason::kNone);
  EXPECT_FALSE(DiskOptions::parse("disk:/d")->unverified);
  EXPECT_TRUE(DiskOptions::parse("disk:/d?unverified=for-tests")->unverified);
  EXPECT_FALSE(DiskOptions::parse("disk:/d?unverified=yes"));
}

TEST_F(DiskFault, FlippedBitsAnywhereOnDiskNeverGiveWrongBytes) {
  for (std::uint64_t seed = 0; seed < 30; ++seed) {
    fill();
    store_.reset();
    std::mt19937_64 random(seed);
    for (const std::string& path : segments()) {
      auto& file = bytes(path);
      for (int i = 0; i < 3; ++i) file[random() % file.size()] ^= static_cast<std::byte>(1 << (random() % 8));
      // And one where it hurts: in the footer, the table or a header.
      if (random() % 2 == 0) file[file.size() - 1 - random() % 8192] ^= std::byte{1};
      if (random() % 4 == 0) file[random() % 100] ^= std::byte{1};
    }
    open();
    EXPECT_LE(right(), kBlocks);
    EXPECT_GE(right(), kBlocks / 2) << "damage stays where it is, seed " << seed;
    store_.reset();
    for (const std::string& path : segments()) ASSERT_TRUE(memory_.remove(path));
  }
}

TEST_F(DiskFault, ADamagedFooterCostsNoBlock) {
  fill();
  store_.reset();
  for (const std::string& path : segments()) bytes(path).back() ^= std::byte{1};
  open();
  EXPECT_EQ(store_->scanned_at_open(), segments().size());
  EXPECT_EQ(right(), kBlocks);
  open();
  EXPECT_EQ(store_->scanned_at_open(), 0u) << "what was scanned has been sealed again";
  EXPECT_EQ(right(), kBlocks);
}

TEST_F(DiskFault, TruncatedSegmentsGiveWhatIsLeft) {
  fill();
  store_.reset();
  const std::string path = segments().front();
  bytes(path).resize(bytes(path).size() / 2 + 17);
  open();
  const std::uint64_t left = right();
  EXPECT_LT(left, kBlocks);
  EXPECT_GT(left, kBlocks / 2);
  store_.reset();
  for (const std::string& each : segments()) bytes(each).resize(0);
  open();
  EXPECT_EQ(right(), 0u);
  EXPECT_EQ(put_numbered(*store_, 1, kBlock), Reason::kNone);
  EXPECT_EQ(right(), 1u);
}

TEST_F(DiskFault, TruncatedWhileOpenIsCorrupt) {
  fill();
  bytes(segments().front()).resize(2 * 4096);
  const AlignedBuffer memory(kBlock);
  EXPECT_EQ(get_block(*store_, block_id(0), memory, kBlock), Reason::kCorrupt);
  EXPECT_LT(right(), kBlocks);
}

TEST_F(DiskFault, SwappedPayloadsAreCaught) {
  fill();
  store_.reset();
  // Blocks written one by one: header page, two pages of payload, header page, ...
  auto& file = bytes(segments().front());
  std::vector<std::byte> first(file.begin() + 2 * 4096, file.begin() + 4 * 4096);
  std::memcpy(file.data() + 2 * 4096, file.data() + 5 * 4096, kBlock);
  std::memcpy(file.data() + 5 * 4096, first.data(), kBlock);
  open();
  const AlignedBuffer memory(kBlock);
  EXPECT_EQ(get_block(*store_, block_id(0), memory, kBlock), Reason::kCorrupt);
  EXPECT_EQ(get_block(*store_, block_id(1), memory, kBlock), Reason::kCorrupt);
  EXPECT_EQ(right(), kBlocks - 2);
}

TEST_F(DiskFault, SwappedSegmentsAndForeignGroupsAreNotTakenForOurs) {
  fill();
  store_.reset();
  const auto paths = segments();
  ASSERT_GE(paths.size(), 2u);
  std::swap(bytes(paths[0]), bytes(paths[1]));
  open();
  EXPECT_LT(right(), kBlocks) << "a segment under another's name is not read";
  store_.reset();
  for (const std::string& path : segments()) ASSERT_TRUE(memory_.remove(path));
  fill();
  store_.reset();
  // A whole group, header and payload, of one unfinished segment in the place of another's: the nonce differs.
  const auto again = segments();
  for (const std::string& path : again) bytes(path).back() ^= std::byte{1};
  std::memcpy(bytes(again[0]).data() + 4096, bytes(again[1]).data() + 4096, 3 * 4096);
  open();
  EXPECT_EQ(right(), kBlocks - 1);
}

TEST_F(DiskFault, AnotherNamespacesPayloadIsCaught) {
  open();
  ASSERT_EQ(put_numbered(*store_, 1, kBlock, 1), Reason::kNone);
  ASSERT_EQ(put_block(*store_, block_id(1, 2), block_payload(9, kBlock).span()), Reason::kNone);
  store_.reset();
  auto& file = bytes(segments().front());
  std::memcpy(file.data() + 2 * 4096, file.data() + 5 * 4096, kBlock);
  open();
  const AlignedBuffer memory(kBlock);
  EXPECT_EQ(get_block(*store_, block_id(1, 1), memory, kBlock), Reason::kCorrupt);
  EXPECT_EQ(get_block(*store_, block_id(1, 2), memory, kBlock), Reason::kNone);
}

TEST_F(DiskFault, ReadErrorsAreCountedAndTheCopyDropped) {
  fill();
  env_.fail_reads(IoStatus::kFailed, 0, 1);
  const AlignedBuffer memory(kBlock);
  EXPECT_EQ(get_block(*store_, block_id(3), memory, kBlock), Reason::kUnavailable);
  EXPECT_EQ(get_block(*store_, block_id(3), memory, kBlock), Reason::kMiss);
  EXPECT_EQ(store_->stats().errors, 1u);
  EXPECT_EQ(right(), kBlocks - 1);
}

TEST_F(DiskFault, WriteErrorsStoreNothing) {
  fill();
  env_.fail_writes(IoStatus::kFailed, 0, 1);
  EXPECT_EQ(put_numbered(*store_, 100, kBlock), Reason::kUnavailable);
  EXPECT_FALSE(has_block(*store_, 100, kBlock));
  EXPECT_EQ(store_->stats().errors, 1u);
  EXPECT_EQ(put_numbered(*store_, 101, kBlock), Reason::kNone);
  open();
  EXPECT_FALSE(has_block(*store_, 100, kBlock)) << "half a group on disk is no block";
  EXPECT_TRUE(has_block(*store_, 101, kBlock));
  EXPECT_EQ(right(), kBlocks);
}

TEST_F(DiskFault, ABrokenDiskStoresNothingAndComesBack) {
  fill();
  env_.fail_writes(IoStatus::kFailed);
  for (std::uint64_t n = 200; n < 300; ++n) EXPECT_EQ(put_numbered(*store_, n, kBlock), Reason::kUnavailable);
  env_.heal();
  EXPECT_EQ(put_numbered(*store_, 300, kBlock), Reason::kNone);
  EXPECT_TRUE(has_block(*store_, 300, kBlock));
  EXPECT_GT(right(), 0u);
}

TEST_F(DiskFault, AFullDiskShrinksTheTier) {
  fill();
  const std::uint64_t configured = store_->stats().capacity_bytes;
  env_.space(0);
  std::uint64_t refused = 0;
  for (std::uint64_t n = 100; n < 400; ++n) refused += put_numbered(*store_, n, kBlock) != Reason::kNone;
  EXPECT_LT(store_->stats().capacity_bytes, configured);
  EXPECT_GT(refused, 0u) << "the fault env never gives space back";
  env_.heal();
  for (std::uint64_t n = 400; n < 800; ++n) EXPECT_EQ(put_numbered(*store_, n, kBlock), Reason::kNone);
  EXPECT_EQ(store_->stats().capacity_bytes, configured) << "and grows again when there is room";
}

TEST(DiskFull, MakesDoWithTheRoomThereIs) {
  MemoryEnv env(5 * kSegment + 4096);
  auto store = DiskStore::open({.path = "/d", .capacity = 16 * kSegment, .segment = kSegment}, env);
  ASSERT_TRUE(store);
  for (std::uint64_t n = 0; n < 500; ++n) ASSERT_EQ(put_numbered(**store, n, kBlock), Reason::kNone) << n;
  EXPECT_LE((*store)->stats().capacity_bytes, 5 * kSegment + 4096);
  EXPECT_GT((*store)->stats().blocks, 60u);
  EXPECT_TRUE(has_block(**store, 499, kBlock));
}

TEST_F(DiskFault, ARemovedDirectoryIsMadeAgain) {
  fill();
  env_.remove_directory(false);
  std::uint64_t unavailable = 0;
  for (std::uint64_t n = 100; n < 200; ++n) unavailable += put_numbered(*store_, n, kBlock) == Reason::kUnavailable;
  EXPECT_GT(unavailable, 50u);
  EXPECT_GT(right(), 0u) << "open files stay readable";
  env_.remove_directory(true);
  for (std::uint64_t n = 200; n < 300; ++n) EXPECT_EQ(put_numbered(*store_, n, kBlock), Reason::kNone) << n;
}

TEST_F(DiskFault, AHangingReadHoldsOnlyItsCaller) {
  fill();
  env_.hang_reads();
  const AlignedBuffer memory(kBlock);
  Reason reason = Reason::kMiss;
  std::thread reader([&] { reason = get_block(*store_, block_id(1), memory, kBlock); });
  ASSERT_TRUE(env_.wait_hanging(1));
  EXPECT_EQ(put_numbered(*store_, 100, kBlock), Reason::kNone);
  const BlockId id = block_id(2);
  bool present = false;
  EXPECT_TRUE(store_->contains(std::span(&id, 1), std::span(&present, 1), Deadline::never()));
  EXPECT_TRUE(present);
  EXPECT_GT(store_->stats().blocks, 0u);
  env_.release();
  reader.join();
  EXPECT_EQ(reason, Reason::kNone);
}

TEST_F(DiskFault, PowerLossNeverGivesWrongBytes) {
  std::uint64_t total = 0;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    fill();
    auto dying = std::move(store_);  // its files go on with their own copy; what it seals at the end is lost
    memory_.lose_power(seed);
    open();
    total += right();
    dying.reset();
    total += right();
    store_.reset();
    for (const std::string& path : segments()) ASSERT_TRUE(memory_.remove(path));
  }
  EXPECT_GT(total, 0u) << "some of it was on the disk";
}

TEST_F(DiskFault, ANewerFormatIsLeftAlone) {
  fill();
  store_.reset();
  const auto paths = segments();
  const auto before = bytes(paths[0]);
  auto& file = bytes(paths.back());
  // What a later version would write: the version counted up, the checksum right.
  disk::Footer footer;
  ASSERT_EQ(disk::decode_footer(Bytes(file).last(4096), file.size(), footer), disk::Defect::kNone);
  disk::encode_footer(footer, MutableBytes(file).last(4096), disk::kFormatVersion + 1);
  // Another segment is damaged: it must not be repaired either.
  bytes(paths[0]).back() ^= std::byte{1};
  const auto damaged = bytes(paths[0]);
  const auto store = DiskStore::open({.path = "/d", .capacity = 8 * kSegment, .segment = kSegment}, env_);
  ASSERT_FALSE(store.has_value());
  EXPECT_EQ(store.error().code, ErrorCode::kVersion);
  EXPECT_THAT(store.error().message, ::testing::HasSubstr(paths.back()));
  EXPECT_EQ(segments(), paths);
  EXPECT_EQ(bytes(paths[0]), damaged);
}

}  // namespace
}  // namespace reprise
