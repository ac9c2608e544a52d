// Files that are damaged, cut, swapped or not ours, and file systems that fail: fewer blocks, never wrong bytes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "store/fs/fs_store.h"
#include "testing/blocks.h"
#include "testing/fault_env.h"
#include "testing/memory_env.h"

namespace reprise {
namespace {

using namespace reprise::testing;  // NOLINT(google-build-using-namespace)

constexpr std::size_t kBlock = 4 << 10;
constexpr std::uint64_t kBlocks = 20;

class FsFault : public ::testing::Test {
 protected:
  void SetUp() override { open(); }
  void open(FsOptions options = {}) {
    options.path = "/d";
    options.threads = 2;
    auto store = FsStore::open(options, env_, [this] { return memory_.time(); });
    ASSERT_TRUE(store) << store.error().message;
    store_ = std::move(*store);
  }
  void fill() {
    for (std::uint64_t n = 0; n < kBlocks; ++n) ASSERT_EQ(put_numbered(*store_, n, kBlock), Reason::kNone);
  }
  static std::string path(std::uint64_t n, std::uint64_t ns = 1) { return fs::Layout("/d").file(block_id(n, ns)); }
  std::vector<std::byte>& bytes(std::uint64_t n) { return *memory_.raw(path(n)); }
  Reason get(std::uint64_t n, std::size_t length = kBlock) {
    const AlignedBuffer memory(length);
    const Reason reason = get_block(*store_, block_id(n), memory, length);
    if (reason == Reason::kNone) {
      EXPECT_TRUE(std::ranges::equal(memory.span().first(length), block_payload(n, length).span().first(length)))
          << "wrong bytes of " << n;
    }
    return reason;
  }

  MemoryEnv memory_;
  FaultEnv env_{memory_};
  std::unique_ptr<FsStore> store_;
};

TEST_F(FsFault, EveryFlippedBitIsCaughtAndTheFileDropped) {
  std::mt19937_64 random(1);
  for (std::size_t bit = 0; bit < (kStoredBlockHeaderBytes + kBlock) * 8; bit += 1 + random() % 40) {
    ASSERT_EQ(put_numbered(*store_, 1, kBlock), Reason::kNone);
    bytes(1)[bit / 8] ^= static_cast<std::byte>(1 << (bit % 8));
    ASSERT_EQ(get(1), Reason::kCorrupt) << bit;
    ASSERT_EQ(memory_.raw(path(1)), nullptr) << bit;
    ASSERT_EQ(get(1), Reason::kMiss) << bit;
  }
  EXPECT_EQ(store_->stats().blocks, 0u);
  EXPECT_EQ(store_->stats().used_bytes, 0u);
}

TEST_F(FsFault, AFlippedBitOnTheWayIsCaught) {
  fill();
  env_.flip_bits(1);
  EXPECT_EQ(get(3), Reason::kCorrupt);
  EXPECT_EQ(store_->stats().corrupt, 1u);
}

TEST_F(FsFault, EveryCutIsCaught) {
  for (std::size_t left = 0; left < kStoredBlockHeaderBytes + kBlock; left += left < 100 ? 1 : 501) {
    ASSERT_EQ(put_numbered(*store_, 1, kBlock), Reason::kNone);
    bytes(1).resize(left);
    ASSERT_EQ(get(1), Reason::kCorrupt) << left;
    ASSERT_EQ(get(1), Reason::kMiss) << left;
  }
}

TEST_F(FsFault, ABadFileIsReplacedByTheNextWriteIfItsLengthTells) {
  fill();
  bytes(1).resize(100);
  ASSERT_EQ(put_numbered(*store_, 1, kBlock), Reason::kNone);
  EXPECT_EQ(get(1), Reason::kNone);
  EXPECT_EQ(store_->stats().blocks, kBlocks);
}

TEST_F(FsFault, AFileOfAnotherBlockIsForeignAndDropped) {
  fill();
  bytes(1) = bytes(2);
  EXPECT_EQ(get(1), Reason::kForeign);
  EXPECT_EQ(memory_.raw(path(1)), nullptr);
  EXPECT_EQ(get(2), Reason::kNone);
  EXPECT_EQ(store_->stats().foreign, 1u);
  // A file moved to another namespace.
  ASSERT_TRUE(memory_.make_directory(fs::Layout("/d").directory({block_id(0, 2).ns, block_id(2).key})));
  BlockId other = block_id(2);
  other.ns = block_id(0, 2).ns;
  ASSERT_TRUE(memory_.rename(path(2), fs::Layout("/d").file(other)));
  const AlignedBuffer memory(kBlock);
  EXPECT_EQ(get_block(*store_, other, memory, kBlock), Reason::kForeign);
}

TEST_F(FsFault, FilesThatWeDidNotWriteAreNotBlocks) {
  fill();
  bytes(1).assign(kStoredBlockHeaderBytes + kBlock, std::byte{'x'});
  EXPECT_EQ(get(1), Reason::kCorrupt);
  bytes(2).assign(10, std::byte{'x'});
  EXPECT_EQ(get(2), Reason::kCorrupt);
  bytes(3).clear();
  EXPECT_EQ(get(3), Reason::kCorrupt);
}

TEST_F(FsFault, AFileOfANewerVersionIsLeftAlone) {
  fill();
  const AlignedBuffer payload = block_payload(1, kBlock);
  encode_stored_block({block_id(1), kBlock, checksum(payload.span()), 1}, bytes(1), kStoredBlockVersion + 1);
  EXPECT_EQ(get(1), Reason::kForeign);
  EXPECT_NE(memory_.raw(path(1)), nullptr);
}

TEST_F(FsFault, AReadThatFailsIsUnavailableAndLosesNothing) {
  fill();
  env_.fail_reads(IoStatus::kFailed, 0, 1);
  EXPECT_EQ(get(1), Reason::kUnavailable);
  EXPECT_EQ(store_->stats().errors, 1u);
  EXPECT_EQ(get(1), Reason::kNone);
}

TEST_F(FsFault, AWriteThatFailsLeavesNothing) {
  for (const auto& [status, reason] : {std::pair{IoStatus::kFailed, Reason::kUnavailable},
                                       {IoStatus::kNoSpace, Reason::kFull},
                                       {IoStatus::kDenied, Reason::kUnavailable}}) {
    env_.fail_writes(status);
    EXPECT_EQ(put_numbered(*store_, 1, kBlock), reason);
    env_.heal();
    EXPECT_EQ(memory_.raw(path(1)), nullptr);
    EXPECT_TRUE(memory_.list("/d/tmp")->empty()) << "the half that was written";
    EXPECT_EQ(get(1), Reason::kMiss);
  }
  EXPECT_EQ(store_->stats().errors, 3u);
  EXPECT_EQ(store_->stats().blocks, 0u);
}

TEST_F(FsFault, AFullFileSystemIsAnAnswer) {
  fill();
  env_.space(0);
  EXPECT_EQ(put_numbered(*store_, 100, kBlock), Reason::kFull);
  EXPECT_EQ(get(1), Reason::kNone);
  env_.heal();
  EXPECT_EQ(put_numbered(*store_, 100, kBlock), Reason::kNone);
}

TEST_F(FsFault, AFileSystemThatIsGoneIsNotMadeAnew) {
  fill();
  env_.remove_directory(/*may_return=*/true);
  EXPECT_EQ(put_numbered(*store_, 100, kBlock), Reason::kUnavailable);
  EXPECT_EQ(get(1), Reason::kMiss);
  env_.heal();
  EXPECT_EQ(get(1), Reason::kNone);
  EXPECT_EQ(put_numbered(*store_, 100, kBlock), Reason::kNone);
}

TEST_F(FsFault, TheDeadlineIsKeptBetweenOperations) {
  fill();
  env_.hang_reads();
  std::vector<AlignedBuffer> memory;
  std::vector<ReadOp> ops;
  for (std::uint64_t n = 0; n < kBlocks; ++n) {
    memory.emplace_back(kBlock);
    ops.push_back({block_id(n), memory.back().span()});
  }
  const Deadline deadline = Deadline::after(std::chrono::milliseconds(50));
  std::thread reader([&] { store_->read(ops, deadline); });
  ASSERT_TRUE(env_.wait_hanging(3)) << "two helpers and the caller read at once";
  std::this_thread::sleep_until(deadline.when());
  env_.release();
  reader.join();
  for (const ReadOp& op : ops) EXPECT_EQ(op.result, Reason::kTimeout);
}

TEST_F(FsFault, APowerLossNeverGivesWrongBytes) {
  std::uint64_t lost = 0;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    open();
    fill();
    memory_.lose_power(seed);
    for (std::uint64_t n = 0; n < kBlocks; ++n) lost += get(n) != Reason::kNone;
  }
  EXPECT_GT(lost, 0u);
  open({.path = "/d", .sync = true});
  fill();
  memory_.lose_power(100);
  for (std::uint64_t n = 0; n < kBlocks; ++n) EXPECT_EQ(get(n), Reason::kNone) << "sync=on: " << n;
}

TEST_F(FsFault, RandomUseOfTwoWritersNeverGivesWrongBytes) {
  std::mt19937_64 random(7);
  auto second =
      FsStore::open({.path = "/d", .capacity = 1 << 20, .threads = 1}, env_, [this] { return memory_.time(); });
  ASSERT_TRUE(second);
  std::uint64_t hits = 0;
  for (int step = 0; step < 3000; ++step) {
    const std::uint64_t n = random() % 60;
    const BlockId id = block_id(n);
    if (random() % 10 == 0) env_.flip_bits(1);
    if (random() % 10 == 0) env_.fail_writes(IoStatus::kNoSpace, random() % 3, 1);
    if (random() % 30 == 0 && memory_.raw(path(n)) != nullptr) bytes(n).resize(random() % (bytes(n).size() + 1));
    if (random() % 3 == 0) (*second).swap(store_);
    if (random() % 3 == 0) {
      (void)put_numbered(*store_, n, kBlock);
    } else if (random() % 20 == 0) {
      ASSERT_TRUE(store_->erase(std::span(&id, 1), Deadline::never()));
    } else {
      hits += get(n) == Reason::kNone;
    }
  }
  EXPECT_GT(hits, 300u);
}

}  // namespace
}  // namespace reprise
