// What a connection has yet to send: whole frames, in order, each with what keeps its payload alive.
//
// Not thread-safe; the connection guards it. Frames leave in as few gather writes as the stream allows; payload is sent
// from where it lies.
#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <vector>

#include "reprise/lease.h"
#include "transport/stream.h"
#include "wire/frame.h"

namespace reprise {

/// One frame on its way out.
struct Outgoing {
  wire::HeaderBytes header{};
  std::vector<std::byte> body;
  std::vector<Bytes> payload;
  Lease lease;                   ///< Keeps `payload` from being overwritten; renewed while it is sent.
  std::vector<int> descriptors;  ///< Go with the first byte; not owned.
};

class Outbox {
 public:
  void push(Outgoing frame);
  /// Sends what can be sent, up to `most` bytes and a little more (kWantWrite then). kMoved: everything is gone. A
  /// lease that ran out on the way is kFailed: its bytes may be another block's by now.
  [[nodiscard]] Flow flush(Stream& stream, Duration lease_ttl, std::uint64_t most = UINT64_MAX);

  [[nodiscard]] bool empty() const { return frames_.empty(); }
  /// Headers and bodies that wait, in bytes; payloads are not copied and not counted.
  [[nodiscard]] std::size_t bytes() const { return bytes_; }
  [[nodiscard]] bool has_payload() const { return payloads_ > 0; }
  [[nodiscard]] std::uint64_t sent() const { return sent_; }

 private:
  void consume(std::size_t count);

  std::deque<Outgoing> frames_;
  std::size_t front_sent_ = 0;  // bytes of the first frame that are gone
  std::size_t bytes_ = 0;
  std::size_t payloads_ = 0;
  std::uint64_t sent_ = 0;
};

}  // namespace reprise
