// Threads that carry out the operations of one batch side by side: a remote file system answers each of them late, but
// many at once.
//
// each() may be called by several threads at a time; the caller works too, so a batch moves on even when every helper
// is held up elsewhere. Calls return before the destructor runs.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace reprise::fs {

class Workers {
 public:
  using Task = std::function<void(std::size_t)>;

  /// Starts as many helpers as the system gives, up to `helpers`.
  explicit Workers(std::size_t helpers);
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  /// Calls task(i) once for each i below `count`, on any thread, in any order; back when all have returned. `task` does
  /// not throw.
  void each(std::size_t count, const Task& task);

 private:
  // Lives on the stack of each(); the list is threaded through it, so nothing is allocated under the lock.
  struct Batch {
    const Task& task;
    const std::size_t count;
    std::atomic<std::size_t> next{0};
    std::size_t helpers = 0;  // at work on it; guarded by mutex_
    bool queued = false;      // guarded by mutex_
    Batch* after = nullptr;   // guarded by mutex_
  };

  static void work(Batch& batch);
  void help();
  void append(Batch& batch);    // under mutex_
  void take_out(Batch& batch);  // under mutex_; fine when it is out already

  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable idle_;
  Batch* first_ = nullptr;  // guarded by mutex_
  bool stopping_ = false;   // guarded by mutex_
  std::vector<std::thread> threads_;
};

}  // namespace reprise::fs
