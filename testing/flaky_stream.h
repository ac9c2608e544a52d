// A Stream that makes the trouble networks make: short moves, wants without cause, delays, a flipped byte, a reset.
//
// Wraps any other form. Deterministic: the same seed and the same calls give the same trouble; each direction has its
// own. Threads as for every Stream.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "transport/stream.h"

namespace reprise::testing {

struct Trouble {
  static constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();

  std::uint64_t seed = 1;
  std::size_t most = kNever;  ///< One call moves 1 to `most` bytes.
  /// Of 100 calls so many give a want and move nothing; a read may also want to write.
  unsigned want_percent = 0;
  Duration delay{0};                   ///< Before each move.
  std::uint64_t reset_after = kNever;  ///< Bytes of both directions together, then it is broken for both sides.
  std::uint64_t corrupt_at = kNever;   ///< Which byte of those read comes with a bit flipped.
};

class FlakyStream final : public Stream {
 public:
  FlakyStream(std::unique_ptr<Stream> inner, Trouble trouble)
      : inner_(std::move(inner)), trouble_(trouble), reading_(trouble.seed * 2), writing_(trouble.seed * 2 + 1) {}

  Moved read(std::span<const MutableBytes> pieces) override {
    if (broken()) return {Flow::kFailed, 0};
    // What is buffered already makes no descriptor readable: wanting it would wait for ever, and no stream may.
    if (!inner_->has_buffered() && reading_.percent(trouble_.want_percent)) {
      return {reading_.percent(20) ? Flow::kWantWrite : Flow::kWantRead, 0};
    }
    std::array<MutableBytes, kMaxStreamPieces> shorter;
    const Moved moved = inner_->read(shorten(pieces, shorter, reading_));
    if (moved.flow == Flow::kMoved) {
      corrupt(pieces, moved.bytes);
      count(moved.bytes);
      read_ += moved.bytes;
    }
    return moved;
  }

  Moved write(std::span<const Bytes> pieces) override {
    if (broken()) return {Flow::kFailed, 0};
    if (writing_.percent(trouble_.want_percent)) return {Flow::kWantWrite, 0};
    std::array<Bytes, kMaxStreamPieces> shorter;
    const Moved moved = inner_->write(shorten(pieces, shorter, writing_));
    if (moved.flow == Flow::kMoved) count(moved.bytes);
    return moved;
  }

  int fd() const override { return inner_->fd(); }
  void shutdown() override { inner_->shutdown(); }
  bool has_buffered() const override { return inner_->has_buffered(); }
  std::string peer() const override { return inner_->peer(); }
  std::string failure() const override { return broken() ? "reset, as the test wanted" : inner_->failure(); }
  bool attach_descriptors(std::span<const int> descriptors) override { return inner_->attach_descriptors(descriptors); }
  std::vector<FileDescriptor> take_descriptors() override { return inner_->take_descriptors(); }

 private:
  class Dice {
   public:
    explicit Dice(std::uint64_t seed) : state_(seed) { (void)next(); }
    std::uint64_t next() {
      state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
      return state_ >> 33;
    }
    bool percent(unsigned of_100) { return of_100 > 0 && next() % 100 < of_100; }

   private:
    std::uint64_t state_;
  };

  template <typename Piece>
  std::span<const Piece> shorten(std::span<const Piece> pieces, std::array<Piece, kMaxStreamPieces>& out, Dice& dice) {
    if (trouble_.delay > Duration(0)) std::this_thread::sleep_for(trouble_.delay);
    std::uint64_t left = trouble_.most == Trouble::kNever ? trouble_.most : 1 + dice.next() % trouble_.most;
    // Up to the reset, not beyond it: a test can say which byte is the last.
    const std::uint64_t moved = moved_.load();
    left = std::min(left, trouble_.reset_after - std::min(moved, trouble_.reset_after));
    std::size_t count = 0;
    for (const Piece& piece : pieces.first(std::min(pieces.size(), kMaxStreamPieces))) {
      out[count] = piece.first(std::min<std::uint64_t>(piece.size(), left));
      left -= out[count++].size();
    }
    return std::span(out).first(count);
  }

  void corrupt(std::span<const MutableBytes> pieces, std::size_t got) {
    if (trouble_.corrupt_at < read_ || trouble_.corrupt_at >= read_ + got) return;
    std::uint64_t at = trouble_.corrupt_at - read_;
    for (const MutableBytes& piece : pieces) {
      if (at < piece.size()) {
        piece[at] ^= std::byte{0x10};
        return;
      }
      at -= piece.size();
    }
  }

  void count(std::size_t bytes) {
    if (moved_.fetch_add(bytes) + bytes >= trouble_.reset_after) inner_->shutdown();
  }
  bool broken() const { return moved_.load() >= trouble_.reset_after; }

  const std::unique_ptr<Stream> inner_;
  const Trouble trouble_;
  Dice reading_;
  Dice writing_;
  std::uint64_t read_ = 0;
  std::atomic<std::uint64_t> moved_ = 0;  // By both directions.
};

inline std::unique_ptr<Stream> make_flaky(std::unique_ptr<Stream> inner, Trouble trouble) {
  return std::make_unique<FlakyStream>(std::move(inner), trouble);
}

}  // namespace reprise::testing
