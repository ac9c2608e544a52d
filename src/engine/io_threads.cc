#include "engine/io_threads.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "base/log.h"

namespace reprise {

struct IoThreads::State {
  std::mutex mutex;
  std::condition_variable wake;
  std::condition_variable ended;
  // Guarded by mutex.
  std::deque<std::function<void()>> tasks;
  std::size_t max_queued = 0;
  std::size_t threads = 0;
  std::size_t wanted = 0;  // threads that do not hang
  std::size_t spare = 0;   // beyond `wanted`
  bool stopping = false;
};

IoThreads::IoThreads(std::size_t threads, std::size_t spare, std::size_t max_queued)
    : state_(std::make_shared<State>()) {
  state_->max_queued = max_queued;
  state_->spare = spare;
  state_->wanted = threads;
  make_up_for(0);
}

IoThreads::~IoThreads() {
  stop(grace_);
}

void IoThreads::stop(std::chrono::milliseconds grace) {
  std::deque<std::function<void()>> dropped;  // what they own goes after the lock
  std::unique_lock lock(state_->mutex);
  if (state_->stopping) return;
  state_->stopping = true;
  dropped.swap(state_->tasks);
  state_->wake.notify_all();
  const bool ended = state_->ended.wait_for(lock, grace, [this] { return state_->threads == 0; });
  lock.unlock();
  if (!ended) log::warn("an L2 operation does not return; closing without it");
}

bool IoThreads::submit(std::function<void()> task) {
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->stopping || state_->threads == 0 || state_->tasks.size() >= state_->max_queued) return false;
    state_->tasks.push_back(std::move(task));
  }
  state_->wake.notify_one();
  return true;
}

void IoThreads::make_up_for(std::size_t stuck) {
  for (;;) {
    {
      const std::lock_guard lock(state_->mutex);
      if (state_->stopping || state_->threads >= state_->wanted + std::min(stuck, state_->spare)) return;
      ++state_->threads;
    }
    if (!start_thread(state_)) return;
  }
}

bool IoThreads::start_thread(const std::shared_ptr<State>& state) {
  try {
    std::thread([state] { run(state); }).detach();  // the state counts it; see stop()
    return true;
  } catch (const std::system_error& error) {
    {
      const std::lock_guard lock(state->mutex);
      --state->threads;
    }
    log::error(std::string("no thread for L2: ") + error.what());
    return false;
  }
}

void IoThreads::run(const std::shared_ptr<State>& state) {
  std::unique_lock lock(state->mutex);
  for (;;) {
    state->wake.wait(lock, [&] { return state->stopping || !state->tasks.empty(); });
    if (state->stopping) break;
    std::function<void()> task = std::move(state->tasks.front());
    state->tasks.pop_front();
    lock.unlock();
    try {
      task();
    } catch (const std::exception& error) {
      log::error(std::string("an L2 task threw: ") + error.what());
    } catch (...) {
      log::error("an L2 task threw");
    }
    task = nullptr;  // what it owned goes before the lock is taken
    lock.lock();
  }
  --state->threads;
  state->ended.notify_all();
}

}  // namespace reprise
