#include "store/fs/workers.h"

#include <string>
#include <system_error>

#include "base/log.h"

namespace reprise::fs {

Workers::Workers(std::size_t helpers) {
  threads_.reserve(helpers);
  try {
    while (threads_.size() < helpers) threads_.emplace_back([this] { help(); });
  } catch (const std::system_error& error) {
    log::warn("fs: " + std::to_string(threads_.size()) + " of " + std::to_string(helpers) +
              " threads could be started: " + error.what());
  }
}

Workers::~Workers() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Workers::each(std::size_t count, const Task& task) {
  Batch batch{task, count};
  const bool shared = count > 1 && !threads_.empty();
  if (shared) {
    {
      const std::lock_guard lock(mutex_);
      append(batch);
    }
    for (std::size_t i = 1; i < count && i <= threads_.size(); ++i) wake_.notify_one();
  }
  work(batch);
  if (!shared) return;
  std::unique_lock lock(mutex_);
  take_out(batch);
  idle_.wait(lock, [&] { return batch.helpers == 0; });
}

void Workers::work(Batch& batch) {
  for (;;) {
    const std::size_t i = batch.next.fetch_add(1, std::memory_order_relaxed);
    if (i >= batch.count) return;
    batch.task(i);
  }
}

void Workers::help() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stopping_ || first_ != nullptr; });
    if (stopping_) return;
    Batch& batch = *first_;
    ++batch.helpers;
    lock.unlock();
    work(batch);
    lock.lock();
    take_out(batch);  // Nothing of it is left to be begun.
    // Under the lock: the batch may be gone as soon as its owner sees 0.
    if (--batch.helpers == 0) idle_.notify_all();
  }
}

void Workers::append(Batch& batch) {
  Batch** end = &first_;
  while (*end != nullptr) end = &(*end)->after;
  *end = &batch;
  batch.queued = true;
}

void Workers::take_out(Batch& batch) {
  if (!batch.queued) return;
  Batch** at = &first_;
  while (*at != &batch) at = &(*at)->after;
  *at = batch.after;
  batch.queued = false;
}

}  // namespace reprise::fs
