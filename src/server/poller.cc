#include "server/poller.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

namespace reprise {
namespace {

constexpr std::uint64_t kStop = UINT64_MAX;

}  // namespace

Result<std::unique_ptr<Poller>> Poller::create() {
  std::unique_ptr<Poller> poller(new Poller);
  poller->epoll_ = FileDescriptor(::epoll_create1(EPOLL_CLOEXEC));
  poller->stop_ = FileDescriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = kStop;
  if (!poller->epoll_.valid() || !poller->stop_.valid() ||
      ::epoll_ctl(poller->epoll_.get(), EPOLL_CTL_ADD, poller->stop_.get(), &event) != 0) {
    return fail(ErrorCode::kIo, std::string("cannot wait for connections: ") + std::strerror(errno));
  }
  return poller;
}

void Poller::run(std::size_t threads, Ready ready) {
  ready_ = std::move(ready);
  for (std::size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { work(ready_); });
}

void Poller::stop() {
  const std::uint64_t one = 1;
  if (stop_.valid()) static_cast<void>(!::write(stop_.get(), &one, sizeof one));
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

bool Poller::add(int fd, std::uint64_t id) {
  epoll_event event{};
  event.events = EPOLLONESHOT;
  event.data.u64 = id;
  return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

void Poller::arm(int fd, std::uint64_t id, std::uint32_t events) {
  epoll_event event{};
  event.events = events | EPOLLONESHOT;
  event.data.u64 = id;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
}

void Poller::remove(int fd) {
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

void Poller::work(const Ready& ready) {
  for (;;) {
    epoll_event event{};
    const int count = ::epoll_wait(epoll_.get(), &event, 1, -1);
    if (count < 0 && errno != EINTR) return;
    if (count != 1) continue;
    if (event.data.u64 == kStop) return;
    ready(event.data.u64, event.events);
  }
}

}  // namespace reprise
