// The seam for "somewhere else": work that must not run on the caller's thread.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace reprise {

/// Runs tasks, in any order. Thread-safe.
class Executor {
 public:
  virtual ~Executor() = default;
  /// False, and the task is dropped, when the executor is full or shutting down.
  [[nodiscard]] virtual bool submit(std::function<void()> task) = 0;
};

/// A fixed number of threads over one bounded queue. Destruction runs what is queued, then joins.
class ThreadPool final : public Executor {
 public:
  ThreadPool(std::size_t threads, std::size_t max_queued);
  ~ThreadPool() override;
  [[nodiscard]] bool submit(std::function<void()> task) override;

 private:
  void run();

  const std::size_t max_queued_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;  // guarded by mutex_
  bool stopping_ = false;                    // guarded by mutex_
  std::vector<std::thread> threads_;
};

}  // namespace reprise
