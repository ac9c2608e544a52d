#include "store/fs/workers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <latch>
#include <set>

namespace reprise::fs {
namespace {

TEST(Workers, EachTaskOnce) {
  for (const std::size_t helpers : {0u, 1u, 4u}) {
    Workers workers(helpers);
    for (const std::size_t count : {0u, 1u, 3u, 1000u}) {
      std::vector<std::atomic<int>> seen(count);
      workers.each(count, [&](std::size_t i) { seen[i].fetch_add(1); });
      for (std::size_t i = 0; i < count; ++i) ASSERT_EQ(seen[i], 1) << helpers << " " << i;
    }
  }
}

// Each task waits for all others: only tasks that really run at once come to an end.
TEST(Workers, TasksRunSideBySide) {
  Workers workers(3);
  std::latch all(4);
  workers.each(4, [&](std::size_t) { all.arrive_and_wait(); });
  EXPECT_TRUE(all.try_wait());
}

TEST(Workers, AHungBatchDoesNotHoldUpTheOthers) {
  Workers workers(2);
  std::latch begun(3);
  std::latch release(1);
  std::thread hung([&] {
    workers.each(3, [&](std::size_t) {
      begun.count_down();
      release.wait();
    });
  });
  begun.wait();  // Both helpers and its caller are held.
  std::atomic<int> done{0};
  workers.each(10, [&](std::size_t) { ++done; });
  EXPECT_EQ(done, 10);
  release.count_down();
  hung.join();
}

TEST(Workers, ManyCallersAtOnce) {
  Workers workers(3);
  std::atomic<std::uint64_t> sum{0};
  std::vector<std::thread> callers;
  for (int t = 0; t < 4; ++t) {
    callers.emplace_back([&] {
      for (int round = 0; round < 300; ++round) workers.each(7, [&](std::size_t i) { sum += i; });
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(sum, 4u * 300u * 21u);
}

}  // namespace
}  // namespace reprise::fs
