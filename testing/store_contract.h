// What every Store must do. Include in one test file and instantiate with the forms to be checked:
//
//   INSTANTIATE_TEST_SUITE_P(Mock, StoreContract, ::testing::Values(StoreForm{"mock", ...}), store_form_name);
//
// A form's store has to hold at least 16 MiB.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "testing/blocks.h"

namespace reprise::testing {

struct StoreForm {
  std::string name;
  /// Called at the start of a test and, for persistent stores, again with the same `home` after the store was closed.
  std::function<std::unique_ptr<Store>(std::shared_ptr<void>& home)> make;
  /// A block that is written while the store looks around may be counted twice for a while.
  bool counts_roughly = false;
};
inline std::string store_form_name(const ::testing::TestParamInfo<StoreForm>& info) {
  return info.param.name;
}
inline void PrintTo(const StoreForm& form, std::ostream* out) {
  *out << form.name;
}

class StoreContract : public ::testing::TestWithParam<StoreForm> {
 protected:
  static constexpr std::size_t kBlock = 32 << 10;

  void SetUp() override { open(); }
  void open() {
    store_.reset();
    store_ = GetParam().make(home_);
    ASSERT_NE(store_, nullptr);
  }

  std::shared_ptr<void> home_;  // whatever the form keeps between openings
  std::unique_ptr<Store> store_;
};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(StoreContract);

TEST_P(StoreContract, InfoIsSane) {
  const StoreInfo& info = store_->info();
  EXPECT_FALSE(info.name.empty());
  EXPECT_GT(info.alignment, 0u);
  EXPECT_EQ(info.alignment & (info.alignment - 1), 0u);
  EXPECT_GE(info.max_block_bytes, kBlock);
  EXPECT_EQ(store_->stats().name, info.name);
}

TEST_P(StoreContract, GivesBackWhatWasWritten) {
  for (std::uint64_t n = 0; n < 20; ++n) ASSERT_EQ(put_numbered(*store_, n, kBlock), Reason::kNone);
  for (std::uint64_t n = 0; n < 20; ++n) EXPECT_TRUE(has_block(*store_, n, kBlock)) << n;
  EXPECT_FALSE(has_block(*store_, 20, kBlock));
  const TierStats stats = store_->stats();
  EXPECT_EQ(stats.blocks, 20u);
  EXPECT_EQ(stats.used_bytes, 20 * kBlock);
  EXPECT_EQ(stats.writes, 20u);
  EXPECT_EQ(stats.hits, 20u);
  EXPECT_EQ(stats.read_bytes, 20 * kBlock);
  EXPECT_EQ(stats.corrupt + stats.foreign + stats.errors, 0u);
}

TEST_P(StoreContract, BatchesMixHitsAndMisses) {
  constexpr std::uint64_t kBlocks = 150;
  std::vector<AlignedBuffer> payloads;
  std::vector<WriteOp> writes;
  for (std::uint64_t n = 0; n < kBlocks; n += 2) {
    payloads.push_back(block_payload(n, kBlock));
    writes.push_back({block_id(n), payloads.back().span(), checksum(payloads.back().span())});
  }
  store_->write(writes, Deadline::never());
  for (const WriteOp& op : writes) ASSERT_EQ(op.result, Reason::kNone);
  std::vector<AlignedBuffer> memory;
  std::vector<ReadOp> reads;
  std::vector<BlockId> ids;
  for (std::uint64_t n = 0; n < kBlocks; ++n) {
    memory.emplace_back(kBlock);
    reads.push_back({block_id(n), memory.back().span()});
    ids.push_back(block_id(n));
  }
  store_->read(reads, Deadline::never());
  const auto present = std::make_unique<bool[]>(kBlocks);
  ASSERT_TRUE(store_->contains(ids, {present.get(), kBlocks}, Deadline::never()));
  for (std::uint64_t n = 0; n < kBlocks; ++n) {
    ASSERT_EQ(reads[n].result, n % 2 == 0 ? Reason::kNone : Reason::kMiss) << n;
    EXPECT_EQ(present[n], n % 2 == 0) << n;
    if (n % 2 == 1) continue;
    ASSERT_TRUE(std::ranges::equal(memory[n].span(), payloads[n / 2].span())) << n;
    EXPECT_EQ(reads[n].checksum, writes[n / 2].checksum);
  }
}

TEST_P(StoreContract, EveryLengthFits) {
  std::uint64_t n = 0;
  for (const std::size_t bytes : {1u, 7u, 4095u, 4096u, 4097u, 50'000u, 1u << 20}) {
    const std::uint64_t ns = 10 + n;
    ASSERT_EQ(put_numbered(*store_, n, bytes, ns), Reason::kNone) << bytes;
    EXPECT_TRUE(has_block(*store_, n, bytes, ns)) << bytes;
    ++n;
  }
}

TEST_P(StoreContract, UnalignedMemoryIsTaken) {
  // The contract asks for aligned buffers; getting it wrong may cost time, never bytes.
  const AlignedBuffer payload = block_payload(1, kBlock + 4096);
  const Bytes odd = payload.span().subspan(13, kBlock);
  ASSERT_EQ(put_block(*store_, block_id(1), odd), Reason::kNone);
  const AlignedBuffer memory(kBlock + 8192);
  std::ranges::fill(memory.span(), std::byte{0x5A});
  ReadOp op{block_id(1), memory.span().subspan(77, kBlock)};
  store_->read(std::span(&op, 1), Deadline::never());
  ASSERT_EQ(op.result, Reason::kNone);
  EXPECT_TRUE(std::ranges::equal(op.into, odd));
  EXPECT_EQ(memory.data()[76], std::byte{0x5A});
  EXPECT_EQ(memory.data()[77 + kBlock], std::byte{0x5A});
}

TEST_P(StoreContract, NamespacesDoNotMeet) {
  BlockId one = block_id(1, 1);
  BlockId two = one;
  two.ns = block_id(1, 2).ns;
  ASSERT_EQ(put_block(*store_, one, block_payload(1, kBlock).span()), Reason::kNone);
  const AlignedBuffer memory(kBlock);
  EXPECT_EQ(get_block(*store_, two, memory, kBlock), Reason::kMiss);
  ASSERT_EQ(put_block(*store_, two, block_payload(2, kBlock).span()), Reason::kNone);
  ASSERT_EQ(get_block(*store_, one, memory, kBlock), Reason::kNone);
  EXPECT_TRUE(std::ranges::equal(memory.span(), block_payload(1, kBlock).span()));
}

TEST_P(StoreContract, AnotherLengthIsForeign) {
  ASSERT_EQ(put_numbered(*store_, 1, kBlock), Reason::kNone);
  const AlignedBuffer memory(2 * kBlock);
  EXPECT_EQ(get_block(*store_, block_id(1), memory, kBlock / 2), Reason::kForeign);
  EXPECT_EQ(get_block(*store_, block_id(1), memory, 2 * kBlock), Reason::kForeign);
  EXPECT_EQ(store_->stats().foreign, 2u);
  EXPECT_TRUE(has_block(*store_, 1, kBlock)) << "and does no harm to the copy";
}

TEST_P(StoreContract, AWrongChecksumIsCaughtOnLoadAtTheLatest) {
  const AlignedBuffer payload = block_payload(1, kBlock);
  WriteOp op{block_id(1), payload.span(), checksum(payload.span()) + 1};
  store_->write(std::span(&op, 1), Deadline::never());
  const AlignedBuffer memory(kBlock);
  if (op.result != Reason::kCorrupt) {
    EXPECT_EQ(get_block(*store_, block_id(1), memory, kBlock), Reason::kCorrupt);
  }
  EXPECT_EQ(get_block(*store_, block_id(1), memory, kBlock), Reason::kMiss) << "the bad copy is dropped";
  EXPECT_EQ(store_->stats().corrupt, 1u);
  EXPECT_EQ(store_->stats().blocks, 0u);
  EXPECT_EQ(put_numbered(*store_, 1, kBlock), Reason::kNone);
  EXPECT_TRUE(has_block(*store_, 1, kBlock));
}

TEST_P(StoreContract, SecondWriteOfABlockKeepsTheFirst) {
  ASSERT_EQ(put_numbered(*store_, 1, kBlock), Reason::kNone);
  ASSERT_EQ(put_numbered(*store_, 1, kBlock), Reason::kNone);
  EXPECT_EQ(store_->stats().blocks, 1u);
  EXPECT_EQ(store_->stats().writes, 1u);
}

TEST_P(StoreContract, EmptyAndOversizedAreRefused) {
  EXPECT_EQ(put_block(*store_, block_id(1), {}), Reason::kUnsupported);
  store_->read({}, Deadline::never());
  store_->write({}, Deadline::never());
  EXPECT_EQ(*store_->erase({}, Deadline::never()), 0u);
  EXPECT_EQ(store_->stats().blocks, 0u);
}

TEST_P(StoreContract, Erases) {
  if (!store_->info().can_erase) GTEST_SKIP();
  for (std::uint64_t n = 0; n < 200; ++n) ASSERT_EQ(put_numbered(*store_, n, 4096), Reason::kNone);
  std::vector<BlockId> ids;
  for (std::uint64_t n = 0; n < 300; n += 2) ids.push_back(block_id(n));
  EXPECT_EQ(*store_->erase(ids, Deadline::never()), 100u);
  EXPECT_EQ(*store_->erase(ids, Deadline::never()), 0u);
  for (std::uint64_t n = 0; n < 200; ++n) EXPECT_EQ(has_block(*store_, n, 4096), n % 2 == 1) << n;
  EXPECT_EQ(store_->stats().blocks, 100u);
  ASSERT_EQ(put_numbered(*store_, 0, 4096), Reason::kNone);
  EXPECT_TRUE(has_block(*store_, 0, 4096)) << "an erased block can be written again";
}

TEST_P(StoreContract, APassedDeadlineIsATimeoutAndTouchesNothing) {
  ASSERT_EQ(put_numbered(*store_, 1, kBlock), Reason::kNone);
  const AlignedBuffer memory(kBlock);
  std::ranges::fill(memory.span(), std::byte{0x5A});
  EXPECT_EQ(get_block(*store_, block_id(1), memory, kBlock, Deadline::now()), Reason::kTimeout);
  EXPECT_EQ(std::ranges::count(memory.span(), std::byte{0x5A}), static_cast<long>(kBlock));
  EXPECT_EQ(put_block(*store_, block_id(2), block_payload(2, kBlock).span(), Deadline::now()), Reason::kTimeout);
  EXPECT_FALSE(has_block(*store_, 2, kBlock));
  EXPECT_TRUE(has_block(*store_, 1, kBlock));
}

TEST_P(StoreContract, OutlivesItsProcess) {
  if (!store_->info().persistent) GTEST_SKIP();
  for (std::uint64_t n = 0; n < 100; ++n) ASSERT_EQ(put_numbered(*store_, n, kBlock), Reason::kNone);
  const BlockId gone = block_id(7);
  ASSERT_EQ(*store_->erase(std::span(&gone, 1), Deadline::never()), 1u);
  ASSERT_TRUE(store_->flush(Deadline::never()));
  for (int round = 0; round < 2; ++round) {
    open();
    for (std::uint64_t n = 0; n < 100; ++n) EXPECT_EQ(has_block(*store_, n, kBlock), n != 7) << n;
  }
}

TEST_P(StoreContract, ThreadsReadAndWriteAtOnce) {
  constexpr std::uint64_t kEach = 60;
  std::array<std::uint64_t, 4> wrong{};
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      for (std::uint64_t i = 0; i < kEach; ++i) {
        const std::uint64_t n = t * kEach + i;
        wrong[t] += put_numbered(*store_, n, kBlock) != Reason::kNone;
        wrong[t] += !has_block(*store_, t * kEach + i / 2, kBlock);
        // Another thread's block: there or not, but never wrong.
        const AlignedBuffer memory(kBlock);
        const std::uint64_t other = (t + 1) % wrong.size() * kEach + i;
        const Reason reason = get_block(*store_, block_id(other), memory, kBlock);
        if (reason == Reason::kNone) {
          wrong[t] += !std::ranges::equal(memory.span(), block_payload(other, kBlock).span());
        } else {
          wrong[t] += reason != Reason::kMiss;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(wrong, ::testing::Each(0u));
  const std::uint64_t written = wrong.size() * kEach;
  EXPECT_GE(store_->stats().blocks, written);
  EXPECT_LE(store_->stats().blocks, GetParam().counts_roughly ? 2 * written : written);
}

}  // namespace reprise::testing
