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

/// Sleeps until the descriptor is ready for `want`, an error on it included, but no longer than `limit`.
void sleep_until_ready(int fd, Flow want, Deadline limit) {
  timespec span{};
  if (!limit.is_never()) {
    const auto left = std::max(limit.when() - steady_clock::now(), Duration(0));
    span.tv_sec = left / std::chrono::seconds(1);
    span.tv_nsec = (left % std::chrono::seconds(1)).count();
  }
  pollfd entry{fd, static_cast<short>(want == Flow::kWantRead ? POLLIN : POLLOUT), 0};
  // What woke it, a signal included, does not matter: the next move tells.
  (void)::ppoll(&entry, 1, limit.is_never() ? nullptr : &span, nullptr);
}

/// One stall: from the first move that moved nothing to the next that does.
class Wait {
 public:
  /// `natural`: what a move of this direction waits for when nothing but bytes is on its way.
  Wait(Patience patience, Flow natural) : patience_(patience), natural_(natural) {}

  void moved() { stalled_ = false; }
  /// Whether there is a point in trying again.
  [[nodiscard]] bool once(Stream& stream, Flow want) {
    const TimePoint now = steady_clock::now();
    if (patience_.deadline.passed(now)) return false;
    if (!stalled_) {
      stalled_ = true;
      spin_until_ = now + std::min<Duration>(patience_.spin, std::chrono::hours(1));
    }
    if (now < spin_until_) {
      std::this_thread::yield();
    } else if (stream.fd() < 0) {
      std::this_thread::sleep_for(kBlindPause);
    } else {
      // A handshake makes a write wait for the peer's bytes. The thread that reads may take these bytes, and the
      // descriptor would never become readable for us: look again soon.
      const bool shared = want != natural_;
      sleep_until_ready(stream.fd(), want,
                        shared ? std::min(patience_.deadline, Deadline::at(now + kSharedPause)) : patience_.deadline);
    }
    return true;
  }

 private:
  static constexpr Duration kBlindPause = std::chrono::microseconds(50);  // For streams that have nothing to poll.
  static constexpr Duration kSharedPause = std::chrono::milliseconds(1);

  const Patience patience_;
  const Flow natural_;
  bool stalled_ = false;
  TimePoint spin_until_;
};

template <typename Piece, typename Move>
Flow move_all(Stream& stream, std::span<const Piece> pieces, Patience patience, Flow natural, const Move& move) {
  Cursor<Piece> cursor(pieces);
  Wait wait(patience, natural);
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
  return move_all(stream, pieces, patience, Flow::kWantRead,
                  [&](std::span<const MutableBytes> window) { return stream.read(window); });
}

Flow write_all(Stream& stream, std::span<const Bytes> pieces, Patience patience) {
  return move_all(stream, pieces, patience, Flow::kWantWrite,
                  [&](std::span<const Bytes> window) { return stream.write(window); });
}

}  // namespace reprise
