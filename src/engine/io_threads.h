// Threads for work that may hang, and can then be left behind.
//
// Thread-safe. The threads own what they need through the tasks and through a state they share, so that destroying an
// IoThreads waits for a running task only for a grace period and then goes on without it: a device that does not
// answer never blocks shutdown.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>

namespace reprise {

class IoThreads {
 public:
  /// `threads` at first, up to `spare` more in place of threads that hang in a task; `max_queued` tasks wait at most.
  IoThreads(std::size_t threads, std::size_t spare, std::size_t max_queued);
  /// stop(), with the grace that was set.
  ~IoThreads();
  void set_grace(std::chrono::milliseconds grace) { grace_ = grace; }
  /// Drops what is queued, waits up to `grace` for running tasks. Only the first call does anything.
  void stop(std::chrono::milliseconds grace);

  IoThreads(const IoThreads&) = delete;
  IoThreads& operator=(const IoThreads&) = delete;

  /// False, and the task is dropped, when too many wait or when stopped. A task that throws ends there: the exception
  /// goes no further.
  [[nodiscard]] bool submit(std::function<void()> task);
  /// `stuck` threads hang in tasks that somebody gave up on: as many more are started, while spares last.
  void make_up_for(std::size_t stuck);

 private:
  struct State;
  static void run(const std::shared_ptr<State>& state);
  static bool start_thread(const std::shared_ptr<State>& state);

  // Shared with the threads, which may outlive this object.
  std::shared_ptr<State> state_;
  std::chrono::milliseconds grace_{2'000};
};

}  // namespace reprise
