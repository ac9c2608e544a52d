#include "transport/stream.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <ctime>
#include <thread>

namespace reprise {

namespace {

using std::chrono::steady_clock;

/// Walks over pieces of any number in windows of kMaxStreamPieces, from wherever the last move stopped.
template <typename Piece>
class Cursor {
 public:
  explicit Cursor(std::span<const Piece> pieces) : rest_(pieces) { skip_empty(); }

  [[nodiscard]] bool done() const { return rest_.empty(); }
  [[nodiscard]] std::span<const Piece> window() {
    const std::size_t count = std::min(rest_.size(), window_.size());
    std::copy_n(rest_.begin(), count, window_.begin());
    window_[0] = window_[0].subspan(offset_);
    return std::span(window_).first(count);
  }
  void advance(std::size_t bytes) {
    while (bytes > 0 && !rest_.empty()) {
      const std::size_t step = std::min(bytes, rest_.front().size() - offset_);
      bytes -= step;
      offset_ += step;
      skip_empty();
    }
  }

 private:
  // A window of empty pieces alone would look like the end of the stream.
  void skip_empty() {
    while (!rest_.empty() && rest_.front().size() == offset_) {
      rest_ = rest_.subspan(1);
      offset_ = 0;
    }
  }

  std::span<const Piece> rest_;
  std::size_t offset_ = 0;  // Into the first piece of the rest.
  std::array<Piece, kMaxStreamPieces> window_;
};

/// Sleeps until the descriptor is ready for `want`, an error on it included, or the deadline.
void sleep_until_ready(int fd, Flow want, Deadline deadline) {
  timespec span{};
  if (!deadline.is_never()) {
    const auto left = std::max(deadline.when() - steady_clock::now(), Duration(0));
    span.tv_sec = left / std::chrono::seconds(1);
    span.tv_nsec = (left % std::chrono::seconds(1)).count();
  }
  pollfd entry{fd, static_cast<short>(want == Flow::kWantRead ? POLLIN : POLLOUT), 0};
  // What woke it, a signal included, does not matter: the next move tells.
  (void)::ppoll(&entry, 1, deadline.is_never() ? nullptr : &span, nullptr);
}

/// One stall: from the first move that moved nothing to the next that does.
class Wait {
 public:
  explicit Wait(Patience patience) : patience_(patience) {}

  void moved() { stalled_ = false; }
  /// Whether there is a point in trying again.
  [[nodiscard]] bool once(Stream& stream, Flow want) {
    constexpr Duration kBlindPause = std::chrono::microseconds(50);  // For streams that have nothing to poll.
    const TimePoint now = steady_clock::now();
    if (patience_.deadline.passed(now)) return false;
    if (!stalled_) {
      stalled_ = true;
      spin_until_ = now + patience_.spin;
    }
    if (now < spin_until_) {
      std::this_thread::yield();
    } else if (stream.fd() >= 0) {
      sleep_until_ready(stream.fd(), want, patience_.deadline);
    } else {
      std::this_thread::sleep_for(kBlindPause);
    }
    return true;
  }

 private:
  Patience patience_;
  bool stalled_ = false;
  TimePoint spin_until_;
};

template <typename Piece, typename Move>
Flow move_all(Stream& stream, std::span<const Piece> pieces, Patience patience, const Move& move) {
  Cursor<Piece> cursor(pieces);
  Wait wait(patience);
  // A peer that always has a little more must not hold the caller beyond its deadline; a deadline that had passed
  // before the call asks for what there is.
  const bool watch = !patience.deadline.is_never() && patience.deadline != Deadline::now();
  while (!cursor.done()) {
    const Moved moved = move(cursor.window());
    switch (moved.flow) {
      case Flow::kMoved:
        cursor.advance(moved.bytes);
        wait.moved();
        if (watch && !cursor.done() && patience.deadline.passed(steady_clock::now())) return Flow::kTimeout;
        break;
      case Flow::kWantRead:
      case Flow::kWantWrite:
        if (!wait.once(stream, moved.flow)) return Flow::kTimeout;
        break;
      case Flow::kClosed:
      case Flow::kFailed:
      case Flow::kTimeout: return moved.flow;
    }
  }
  return Flow::kMoved;
}

}  // namespace

Flow read_all(Stream& stream, std::span<const MutableBytes> pieces, Patience patience) {
  return move_all(stream, pieces, patience, [&](std::span<const MutableBytes> window) { return stream.read(window); });
}

Flow write_all(Stream& stream, std::span<const Bytes> pieces, Patience patience) {
  return move_all(stream, pieces, patience, [&](std::span<const Bytes> window) { return stream.write(window); });
}

}  // namespace reprise
