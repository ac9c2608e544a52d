#include "server/waiting_pool.h"

#include <utility>

namespace reprise {

WaitingPool::WaitingPool(std::size_t threads) {
  threads_.reserve(threads);
  for (std::size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
}

WaitingPool::~WaitingPool() {
  std::deque<Task> dropped;  // goes after the lock: tasks hold connections
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    dropped.swap(tasks_);
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

bool WaitingPool::submit(std::size_t bytes, std::function<void()> task) {
  {
    const std::lock_guard lock(mutex_);
    if (closing_ || tasks_.size() == kMaxTasks || bytes > kMaxBytes - bytes_) return false;
    bytes_ += bytes;
    tasks_.push_back({bytes, std::move(task)});
  }
  wake_.notify_one();
  return true;
}

void WaitingPool::work() {
  for (;;) {
    Task task;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return closing_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
      bytes_ -= task.bytes;
    }
    task.run();
  }
}

}  // namespace reprise
