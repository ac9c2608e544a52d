// Threads for requests that wait for L2, so that those which need not wait never queue behind them.
//
// Thread-safe. Bounded in tasks and in the bytes they keep; what does not fit is refused at once. The destructor drops
// what is queued, and waits for what runs: tasks keep their own deadlines.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace reprise {

class WaitingPool {
 public:
  static constexpr std::size_t kMaxTasks = 1024;
  static constexpr std::size_t kMaxBytes = 128 << 20;

  explicit WaitingPool(std::size_t threads);
  ~WaitingPool();
  WaitingPool(const WaitingPool&) = delete;
  WaitingPool& operator=(const WaitingPool&) = delete;

  /// False when the queue is full. `bytes`: what the task keeps until it has run.
  [[nodiscard]] bool submit(std::size_t bytes, std::function<void()> task);

 private:
  struct Task {
    std::size_t bytes = 0;
    std::function<void()> run;
  };
  void work();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Task> tasks_;  // guarded by mutex_, as are the next two
  std::size_t bytes_ = 0;
  bool closing_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace reprise
