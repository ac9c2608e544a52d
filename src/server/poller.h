// Threads that wait for descriptors: one epoll for all, each descriptor armed for one event at a time.
//
// A descriptor is known by a number that is never used twice. The thread that wakes calls `ready` and may do with the
// descriptor what it likes until it arms it again. Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "base/file_descriptor.h"
#include "reprise/status.h"

namespace reprise {

class Poller {
 public:
  using Ready = std::function<void(std::uint64_t id, std::uint32_t events)>;

  /// kIo when the system has no descriptors or threads left. Nothing is called before run().
  [[nodiscard]] static Result<std::unique_ptr<Poller>> create();
  /// Stops the threads, which takes as long as the calls they are in.
  ~Poller() { stop(); }
  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;

  void run(std::size_t threads, Ready ready);
  void stop();

  /// Known from now on, not armed. False when the system refuses.
  [[nodiscard]] bool add(int fd, std::uint64_t id);
  /// For EPOLLIN, EPOLLOUT, EPOLLRDHUP; errors and hang-ups always count.
  void arm(int fd, std::uint64_t id, std::uint32_t events);
  void remove(int fd);

 private:
  Poller() = default;
  void work(const Ready& ready);

  FileDescriptor epoll_;
  FileDescriptor stop_;  // readable once stopping, for all threads and for good
  Ready ready_;
  std::vector<std::thread> threads_;
};

}  // namespace reprise
