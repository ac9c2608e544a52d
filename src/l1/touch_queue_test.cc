#include "l1/touch_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <thread>
#include <vector>

namespace reprise {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<BlockSlot> slots(const std::vector<Touched>& touched) {
  std::vector<BlockSlot> out;
  for (const Touched& t : touched) out.push_back(t.slot);
  return out;
}

TEST(TouchQueue, HandsOverRecordsInOrderEachWithItsEnd) {
  TouchQueue queue(16);
  std::vector<Touched> into;
  queue.push(std::vector<Touched>{{1, 10}, {2, 20}});
  queue.push(std::vector<Touched>{});
  queue.push(std::vector<Touched>{{3, 30}});
  queue.take(into);
  EXPECT_THAT(slots(into), ElementsAre(1, 2, kNoSlot, 3, kNoSlot));
  EXPECT_EQ(into[1].generation, 20);
  queue.take(into);
  EXPECT_THAT(into, IsEmpty());
}

TEST(TouchQueue, DropsAndCountsARecordThatDoesNotFitWhole) {
  TouchQueue queue(4);
  std::vector<Touched> into;
  queue.push(std::vector<Touched>{{1, 0}, {2, 0}});
  queue.push(std::vector<Touched>{{3, 0}});
  EXPECT_EQ(queue.dropped(), 1);
  queue.take(into);
  EXPECT_THAT(slots(into), ElementsAre(1, 2, kNoSlot));
  queue.push(std::vector<Touched>{{3, 0}});
  queue.take(into);
  EXPECT_THAT(slots(into), ElementsAre(3, kNoSlot)) << "there is room again";
  EXPECT_EQ(queue.dropped(), 1);
}

TEST(TouchQueue, TwoBuffersServeForEver) {
  TouchQueue queue(8);
  std::vector<Touched> into;
  queue.take(into);
  for (int round = 0; round < 5; ++round) {
    queue.push(std::vector<Touched>{{1, 0}});
    queue.take(into);
    EXPECT_GE(into.capacity(), 8) << "a buffer too small would have to grow under the lock";
  }
}

TEST(TouchQueue, KeepsEachThreadsRecordsWholeAndInOrder) {
  constexpr std::uint32_t kThreads = 3;
  constexpr std::uint32_t kRecords = 2'000;
  TouchQueue queue(1 << 16);
  std::vector<std::jthread> threads;
  for (std::uint32_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (std::uint32_t n = 0; n < kRecords; ++n) queue.push(std::vector<Touched>{{t, n}, {t, n}});
    });
  }
  std::map<BlockSlot, std::uint32_t> next;
  std::vector<Touched> into;
  std::uint32_t records = 0;
  while (records < kThreads * kRecords) {
    queue.take(into);
    ASSERT_EQ(into.size() % 3, 0);
    for (std::size_t i = 0; i < into.size(); i += 3, ++records) {
      ASSERT_EQ(into[i].slot, into[i + 1].slot);
      ASSERT_EQ(into[i + 2].slot, kNoSlot);
      ASSERT_EQ(into[i].generation, next[into[i].slot]++);
    }
  }
  EXPECT_EQ(queue.dropped(), 0);
}

}  // namespace
}  // namespace reprise
