#include "server/admin/exchange_pool.h"

#include <sys/eventfd.h>

#include <iterator>
#include <utility>

namespace reprise::admin {

ExchangePool::ExchangePool(std::size_t threads, std::size_t max_requests, const HttpCodec& codec, int wake)
    : codec_(codec), wake_(wake) {
  waiting_.reserve(max_requests);
  done_.reserve(max_requests);
  for (std::size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { run(); });
}

ExchangePool::~ExchangePool() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  work_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ExchangePool::submit(std::uint64_t connection, std::string head, bool last) {
  {
    const std::scoped_lock lock(mutex_);
    waiting_.push_back({connection, std::move(head), last});
  }
  work_.notify_one();
}

void ExchangePool::take_done(std::vector<Done>& done) {
  const std::scoped_lock lock(mutex_);
  std::move(done_.begin(), done_.end(), std::back_inserter(done));
  done_.clear();
}

void ExchangePool::run() {
  for (;;) {
    Task task;
    {
      std::unique_lock lock(mutex_);
      work_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
      if (stopping_) return;
      task = std::move(waiting_.front());
      waiting_.erase(waiting_.begin());
    }
    Done done{task.connection, codec_.answer(task.head, task.last)};
    {
      const std::scoped_lock lock(mutex_);
      done_.push_back(std::move(done));
    }
    (void)::eventfd_write(wake_, 1);
  }
}

}  // namespace reprise::admin
