#include "engine/io_threads.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include "testing/hook_store.h"

namespace reprise {
namespace {

using testing::Gate;

// Waits for a task that comes behind everything submitted before, on a pool of one thread.
void await_turn(IoThreads& threads) {
  auto gate = std::make_shared<Gate>();
  gate->open();
  ASSERT_TRUE(threads.submit([gate] { gate->pass(); }));
  gate->await(1);
}

TEST(IoThreadsTest, RunsTasksInOrder) {
  IoThreads threads(1, 0, 100);
  auto seen = std::make_shared<std::vector<int>>();
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(threads.submit([seen, i] { seen->push_back(i); }));
  await_turn(threads);
  ASSERT_EQ(seen->size(), 20);
  EXPECT_TRUE(std::is_sorted(seen->begin(), seen->end()));
}

TEST(IoThreadsTest, RefusesBeyondItsQueue) {
  auto gate = std::make_shared<Gate>();
  IoThreads threads(1, 0, 2);
  ASSERT_TRUE(threads.submit([gate] { gate->pass(); }));
  gate->await(1);
  EXPECT_TRUE(threads.submit([] {}));
  EXPECT_TRUE(threads.submit([] {}));
  EXPECT_FALSE(threads.submit([] {}));
  gate->open();
}

TEST(IoThreadsTest, SparesMakeUpForHangingThreads) {
  auto hang = std::make_shared<Gate>();
  auto free = std::make_shared<Gate>();
  IoThreads threads(1, 2, 100);
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(threads.submit([hang] { hang->pass(); }));
    hang->await(i + 1);
    threads.make_up_for(static_cast<std::size_t>(i) + 1);
  }
  free->open();
  ASSERT_TRUE(threads.submit([free] { free->pass(); }));
  free->await(1);
  EXPECT_FALSE(hang->is_open());
  hang->open();
}

TEST(IoThreadsTest, ClosesWithoutATaskThatHangs) {
  auto gate = std::make_shared<Gate>();
  auto owned = std::make_shared<int>(1);
  {
    IoThreads threads(1, 0, 10);
    threads.set_grace(std::chrono::milliseconds(10));
    ASSERT_TRUE(threads.submit([gate] { gate->pass(); }));
    gate->await(1);
    ASSERT_TRUE(threads.submit([owned] { *owned = 2; }));
  }
  EXPECT_FALSE(gate->is_open());
  EXPECT_EQ(owned.use_count(), 1) << "what was queued is dropped";
  EXPECT_EQ(*owned, 1);
  gate->open();
}

TEST(IoThreadsTest, WaitsForRunningTasksWithinItsGrace) {
  auto gate = std::make_shared<Gate>();
  auto done = std::make_shared<std::atomic<bool>>(false);
  std::thread opener;
  {
    IoThreads threads(1, 0, 10);
    threads.set_grace(std::chrono::minutes(5));
    ASSERT_TRUE(threads.submit([gate, done] {
      gate->pass();
      *done = true;
    }));
    gate->await(1);
    opener = std::thread([gate] { gate->open(); });
  }
  EXPECT_TRUE(*done);
  opener.join();
}

TEST(IoThreadsTest, OutlivesATaskThatThrows) {
  IoThreads threads(1, 0, 10);
  ASSERT_TRUE(threads.submit([] { throw std::runtime_error("broken"); }));
  ASSERT_TRUE(threads.submit([] { throw 7; }));
  await_turn(threads);
}

TEST(IoThreadsTest, TakesNothingAfterItStopped) {
  IoThreads threads(2, 0, 10);
  threads.stop(std::chrono::milliseconds(1000));
  EXPECT_FALSE(threads.submit([] {}));
}

}  // namespace
}  // namespace reprise
