// The limit for attached caches: this process and another on a stream socket, blocking calls, nothing else.
//
// One thread per connection of a pair.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "base/file_descriptor.h"
#include "bench/attached/process.h"
#include "bench/fixture/fixture.h"

namespace reprise::bench {

enum class Wire { kUnix, kTcp };

class RawPair {
 public:
  /// Starts this program again as the peer. TCP is loopback with TCP_NODELAY. Each connection has its buffers of
  /// `buffer_bytes`, one here and one there, walked through in circles.
  [[nodiscard]] static Result<std::unique_ptr<RawPair>> start(Wire wire, std::size_t buffer_bytes,
                                                              std::size_t connections = 1);

  /// One request with `payload` bytes behind it, and a reply of `reply` bytes.
  [[nodiscard]] Result<void> round_trip(std::size_t payload, std::size_t reply, std::size_t connection = 0);
  /// `count` replies of `reply` bytes with `in_flight` requests under way all the time, on the first connection.
  [[nodiscard]] Result<void> stream(std::size_t count, std::size_t reply, std::size_t in_flight);

  /// Processor time of both sides so far.
  [[nodiscard]] double cpu_seconds() const { return own_cpu_seconds() + peer_->cpu_seconds(); }

 private:
  struct Connection {
    FileDescriptor socket;
    std::unique_ptr<Buffer> buffer;
    std::size_t in = 0, out = 0;
  };
  RawPair() = default;

  std::vector<Connection> connections_;
  std::unique_ptr<Process> peer_;
};

}  // namespace reprise::bench
