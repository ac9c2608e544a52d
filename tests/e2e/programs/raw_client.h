// A peer of the daemon that speaks the protocol frame by frame, and may speak it wrongly: nothing of the client
// library, only frames and streams. For tests of what the daemon does with peers that are broken or mean.
//
// Single-threaded. Owns its connection.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "rpc/frame_reader.h"
#include "transport/stream.h"
#include "wire/auth.h"
#include "wire/messages.h"

namespace reprise::e2e {

struct RawTarget {
  std::string url;  ///< "unix:/path" or "tcp:host:port".
  std::string tls_ca;
  wire::Credential credential;
  int receive_buffer = 0;  ///< SO_RCVBUF; 0 = the system's.
};

class RawClient {
 public:
  static Result<std::unique_ptr<RawClient>> connect(const RawTarget& target);
  [[nodiscard]] bool is_unix() const { return unix_; }

  /// What read_frame() came to.
  enum class Got : std::uint8_t { kFrame, kTimeout, kClosed, kReset };
  /// The next frame; a payload that follows is taken and counted.
  [[nodiscard]] Got read_frame(Duration wait);
  [[nodiscard]] wire::Type type() const { return reader_.header().type; }
  [[nodiscard]] Bytes body() const { return reader_.body(); }
  [[nodiscard]] std::uint64_t payload() const { return sink_.count; }

  /// False when the peer is gone.
  bool send(wire::FrameHeader header, Bytes body);
  bool send(wire::Type type, Bytes body) { return send({.type = type, .request = ++request_}, body); }
  bool send_bytes(Bytes bytes);
  /// Up to `count` bytes, without looking at them; how many came.
  std::size_t read_bytes(std::size_t count, Duration wait);

  bool send_hello(std::uint8_t min_version, std::uint8_t max_version);
  /// To be called after the reply to a hello was read; false when it asks for no proof.
  bool send_proof();
  void session_open() { reader_.set_max_body(wire::kMaxBody); }

 private:
  struct Discard final : PayloadSink {
    std::byte place[65536];
    std::uint64_t count = 0;
    MutableBytes next() override { return place; }
    void arrived(std::size_t bytes) override { count += bytes; }
  };
  RawClient(const RawTarget& target, std::unique_ptr<Stream> stream, bool over_unix)
      : target_(target), stream_(std::move(stream)), unix_(over_unix) {}
  void wait_for(FrameReader::Step step, TimePoint end) const;

  RawTarget target_;
  std::unique_ptr<Stream> stream_;
  bool unix_;
  FrameReader reader_;
  Discard sink_;
  std::uint64_t request_ = 0;
  wire::Nonce nonce_{};
};

/// "failed", "welcome", ..., or the type's number.
[[nodiscard]] std::string reply_name(wire::Type type);

}  // namespace reprise::e2e
