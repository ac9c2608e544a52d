#include "base/uring_env.h"

#include <liburing.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <string>
#include <system_error>
#include <utility>

namespace reprise {
namespace {

constexpr unsigned kDepth = 32;
constexpr std::size_t kMaxIdle = 64;
constexpr std::uint64_t kCancelTag = ~0ULL;

IoStatus finish(const ReadRequest& request, std::size_t skip) {
  return read_fully(request, skip);
}
IoStatus finish(const WriteRequest& request, std::size_t skip) {
  return write_fully(request, skip);
}
void prepare(io_uring_sqe* sqe, const ReadRequest& request, const std::vector<iovec>& v) {
  const int fd = static_cast<const PosixFile*>(request.file)->fd();
  if (v.size() == 1)
    return io_uring_prep_read(sqe, fd, v[0].iov_base, static_cast<unsigned>(v[0].iov_len), request.offset);
  io_uring_prep_readv(sqe, fd, v.data(), static_cast<unsigned>(v.size()), request.offset);
}
void prepare(io_uring_sqe* sqe, const WriteRequest& request, const std::vector<iovec>& v) {
  const int fd = static_cast<const PosixFile*>(request.file)->fd();
  if (v.size() == 1)
    return io_uring_prep_write(sqe, fd, v[0].iov_base, static_cast<unsigned>(v[0].iov_len), request.offset);
  io_uring_prep_writev(sqe, fd, v.data(), static_cast<unsigned>(v.size()), request.offset);
}

}  // namespace

class UringEnv::Ring {
 public:
  /// 0 or an errno.
  int init() {
    // Two entries a request: the second is for cancelling it.
    const int made = io_uring_queue_init(2 * kDepth, &ring_, IORING_SETUP_COOP_TASKRUN);
    const int plain = made == -EINVAL ? io_uring_queue_init(2 * kDepth, &ring_, 0) : made;
    ready_ = plain == 0;
    return -plain;
  }
  Ring() = default;
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  ~Ring() {
    if (ready_) io_uring_queue_exit(&ring_);
  }

  template <typename Request>
  void run(std::span<const Request> requests, const Done& done, Deadline deadline) {
    std::size_t next = 0;
    unsigned in_flight = 0;
    std::array<unsigned, kDepth> free_slots;
    unsigned free_count = kDepth;
    for (unsigned i = 0; i < kDepth; ++i) free_slots[i] = i;
    bool late = false;
    while (next < requests.size() || in_flight > 0) {
      if (!late && passed(deadline)) {
        late = true;
        if (in_flight > 0) cancel_all();
      }
      while (!late && next < requests.size() && free_count > 0) {
        start(requests, next++, free_slots[--free_count]);
        ++in_flight;
      }
      if (late) {
        for (; next < requests.size(); ++next) done(next, IoStatus::kTimeout);
      }
      if (in_flight == 0) continue;
      wait(late ? Deadline::never() : deadline);
      reap([&](unsigned slot, int result) {
        free_slots[free_count++] = slot;
        --in_flight;
        const Slot& s = slots_[slot];
        done(s.request, outcome(requests[s.request], s.bytes, result, late));
      });
    }
  }

 private:
  struct Slot {
    std::size_t request = 0;
    std::size_t bytes = 0;
    std::vector<iovec> pieces;
  };

  static bool passed(Deadline deadline) {
    return !deadline.is_never() && deadline.passed(std::chrono::steady_clock::now());
  }

  template <typename Request>
  void start(std::span<const Request> requests, std::size_t i, unsigned slot) {
    Slot& s = slots_[slot];
    s.request = i;
    s.pieces.clear();
    s.bytes = remaining_pieces(requests[i].pieces, 0, s.pieces);
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);  // never null: at most kDepth in flight, and they are submitted below
    prepare(sqe, requests[i], s.pieces);
    io_uring_sqe_set_data64(sqe, slot);
  }

  /// Submits what was prepared and waits for one completion, or the deadline.
  void wait(Deadline deadline) {
    io_uring_cqe* cqe = nullptr;
    if (deadline.is_never()) {
      io_uring_submit_and_wait(&ring_, 1);
      return;
    }
    const Duration left = std::max(Duration(0), Duration(deadline.when() - std::chrono::steady_clock::now()));
    __kernel_timespec span{.tv_sec = left.count() / 1'000'000'000, .tv_nsec = left.count() % 1'000'000'000};
    io_uring_submit_and_wait_timeout(&ring_, &cqe, 1, &span, nullptr);
  }

  void cancel_all() {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    if (sqe == nullptr) return;  // then they run to their end
    io_uring_prep_cancel(sqe, nullptr, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
    io_uring_sqe_set_data64(sqe, kCancelTag);
  }

  template <typename Each>
  void reap(Each each) {
    io_uring_cqe* cqe = nullptr;
    while (io_uring_peek_cqe(&ring_, &cqe) == 0 && cqe != nullptr) {
      const std::uint64_t tag = io_uring_cqe_get_data64(cqe);
      const int result = cqe->res;
      io_uring_cqe_seen(&ring_, cqe);
      if (tag != kCancelTag) each(static_cast<unsigned>(tag), result);
    }
  }

  template <typename Request>
  static IoStatus outcome(const Request& request, std::size_t bytes, int result, bool late) {
    if (result == -ECANCELED || (late && result == -EINTR)) return IoStatus::kTimeout;
    // The rare cases go on without the ring: interrupted, out of kernel memory, or cut short.
    if (result == -EINTR || result == -EAGAIN) return finish(request, 0);
    if (result < 0) return status_of_errno(-result);
    if (static_cast<std::size_t>(result) == bytes) return IoStatus::kOk;
    return finish(request, static_cast<std::size_t>(result));
  }

  io_uring ring_{};
  bool ready_ = false;
  std::array<Slot, kDepth> slots_;
};

UringEnv::UringEnv() {
  idle_.reserve(kMaxIdle);
}
UringEnv::~UringEnv() = default;

Result<std::unique_ptr<Env>> UringEnv::make() {
  auto env = std::make_unique<UringEnv>();
  auto ring = std::make_unique<Ring>();
  if (const int error = ring->init(); error != 0) {
    return fail(ErrorCode::kConfig, "io_uring is not permitted here: " + std::generic_category().message(error));
  }
  env->give_back(std::move(ring));
  return env;
}

std::unique_ptr<UringEnv::Ring> UringEnv::borrow() {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      auto ring = std::move(idle_.back());
      idle_.pop_back();
      return ring;
    }
  }
  auto ring = std::make_unique<Ring>();
  return ring->init() == 0 ? std::move(ring) : nullptr;
}

void UringEnv::give_back(std::unique_ptr<Ring> ring) {
  const std::lock_guard lock(mutex_);
  if (idle_.size() < kMaxIdle) idle_.push_back(std::move(ring));
}

void UringEnv::read(std::span<const ReadRequest> requests, const Done& done, Deadline deadline) {
  auto ring = borrow();
  if (ring == nullptr) return PosixEnv::read(requests, done, deadline);
  ring->run(requests, done, deadline);
  give_back(std::move(ring));
}

void UringEnv::write(std::span<const WriteRequest> requests, const Done& done, Deadline deadline) {
  auto ring = borrow();
  if (ring == nullptr) return PosixEnv::write(requests, done, deadline);
  ring->run(requests, done, deadline);
  give_back(std::move(ring));
}

}  // namespace reprise
