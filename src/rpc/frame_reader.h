// Takes frames off a stream that never blocks, however the bytes trickle in.
//
// Owned by whoever serves the connection; one thread at a time. Between frames it holds no memory. Body memory grows as
// bytes arrive, so that a length alone costs the server nothing; a payload goes straight to where its sink says.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "transport/stream.h"
#include "wire/frame.h"

namespace reprise {

/// Where a payload goes, piece by piece. Called by the thread that reads.
class PayloadSink {
 public:
  virtual ~PayloadSink() = default;
  /// Memory for the next bytes; empty when there is none for now. May be called again without bytes in between.
  [[nodiscard]] virtual MutableBytes next() = 0;
  /// `count` bytes were written to the front of what next() gave.
  virtual void arrived(std::size_t count) = 0;
};

class FrameReader {
 public:
  enum class Step : std::uint8_t {
    kFrame,        ///< header() and body() are complete and in order. If a payload follows, call receive() next.
    kPayloadDone,  ///< The payload arrived whole.
    kSinkFull,     ///< The sink has no memory for the next bytes of the payload; call again when it has.
    kWantRead,
    kWantWrite,
    kClosed,
    kFailed,    ///< The stream broke.
    kOutOfStep  ///< The peer does not speak the protocol; fault() says how. The connection has to go.
  };
  enum class Fault : std::uint8_t {
    kNone,
    kForeign,
    kVersion,
    kTooLong,
    kChecksum,
    kPayload,  ///< A payload follows for which nobody called receive().
  };

  explicit FrameReader(std::uint64_t max_body = wire::kMaxBodyEarly) : max_body_(max_body) {}
  void set_max_body(std::uint64_t bytes) { max_body_ = bytes; }

  [[nodiscard]] Step advance(Stream& stream);
  /// The payload of the frame just read goes to `sink`, which outlives it.
  void receive(PayloadSink& sink) { sink_ = &sink; }

  [[nodiscard]] const wire::FrameHeader& header() const { return header_; }
  /// 8-aligned; valid until the next advance().
  [[nodiscard]] Bytes body() const { return {reinterpret_cast<const std::byte*>(body_.data()), header_.body_bytes}; }
  [[nodiscard]] Fault fault() const { return fault_; }
  /// True inside a frame: the peer owes bytes.
  [[nodiscard]] bool inside() const { return stage_ != Stage::kHeader || header_have_ > 0; }
  /// Bytes of the next frame are here already.
  [[nodiscard]] bool has_unread() const { return unread_ != filled_; }
  /// Gives back what memory can be given back while nothing arrives; the body of a frame not looked past yet stays.
  void rest();
  /// Bytes taken off streams so far.
  [[nodiscard]] std::uint64_t received() const { return received_; }
  /// Memory held now.
  [[nodiscard]] std::size_t memory_bytes() const { return body_.capacity() * 8 + (buffer_ ? kBufferBytes : 0); }

 private:
  enum class Stage : std::uint8_t { kHeader, kBody, kReady, kPayload };
  static constexpr std::size_t kBufferBytes = 16384;  // little enough that payload caught in it is cheap to copy

  [[nodiscard]] std::size_t take(MutableBytes into);
  [[nodiscard]] Moved fill(Stream& stream);
  Step end_header();
  void grow_body();
  Step read_payload(Stream& stream);

  Stage stage_ = Stage::kHeader;
  Fault fault_ = Fault::kNone;
  std::uint64_t max_body_;
  wire::HeaderBytes header_bytes_{};
  std::size_t header_have_ = 0;
  wire::FrameHeader header_;
  std::vector<std::uint64_t> body_;  // words, for alignment
  std::size_t body_have_ = 0;
  PayloadSink* sink_ = nullptr;
  std::uint64_t payload_left_ = 0;
  std::uint64_t received_ = 0;

  std::unique_ptr<std::byte[]> buffer_;  // bytes [unread_, filled_) are not looked at yet
  std::size_t unread_ = 0;
  std::size_t filled_ = 0;
};

}  // namespace reprise
