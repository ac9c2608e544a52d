#include "engine/io_threads.h"

#include <condition_variable>
#include <deque>
#include <mutex>
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
  state_->threads = threads;
  state_->wanted = threads;
  for (std::size_t i = 0; i < threads; ++i) start_thread(state_);
}

IoThreads::~IoThreads() {
  std::deque<std::function<void()>> dropped;
  std::unique_lock lock(state_->mutex);
  state_->stopping = true;
  dropped.swap(state_->tasks);
  state_->wake.notify_all();
  if (!state_->ended.wait_for(lock, grace_, [this] { return state_->threads == 0; })) {
    log::warn("an L2 operation does not return; closing without it");
  }
}

bool IoThreads::submit(std::function<void()> task) {
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->stopping || state_->tasks.size() >= state_->max_queued) return false;
    state_->tasks.push_back(std::move(task));
  }
  state_->wake.notify_one();
  return true;
}

void IoThreads::make_up_for(std::size_t stuck) {
  {
    const std::lock_guard lock(state_->mutex);
    const bool enough = state_->threads >= state_->wanted + stuck;
    if (state_->stopping || enough || state_->threads >= state_->wanted + state_->spare) return;
    ++state_->threads;
  }
  start_thread(state_);
}

void IoThreads::start_thread(const std::shared_ptr<State>& state) {
  std::thread([state] { run(state); }).detach();  // the state counts it; see ~IoThreads
}

void IoThreads::run(const std::shared_ptr<State>& state) {
  std::unique_lock lock(state->mutex);
  for (;;) {
    state->wake.wait(lock, [&] { return state->stopping || !state->tasks.empty(); });
    if (state->stopping) break;
    std::function<void()> task = std::move(state->tasks.front());
    state->tasks.pop_front();
    lock.unlock();
    task();
    task = nullptr;  // what it owned goes before the lock is taken
    lock.lock();
  }
  --state->threads;
  state->ended.notify_all();
}

}  // namespace reprise
