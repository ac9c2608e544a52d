// The other half of a raw pair: a process that answers on a connected stream socket with blocking calls and no cache.
//
// It reads a request of 64 bytes, the payload that follows it, and sends what the request asks for, from and to a
// buffer it walks through in circles. What a daemon costs is measured against it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace reprise::bench {

struct RawRequest {
  std::uint64_t payload = 0;  ///< Bytes that follow this request.
  std::uint64_t reply = 0;    ///< Bytes to send back.
  std::uint64_t unused[6] = {};
};
static_assert(sizeof(RawRequest) == 64);

/// Whether a driver's arguments ask it to be a raw peer: "--raw-peer BUFFER_BYTES SOCKETS", the sockets being
/// descriptors 3, 4 and so on.
[[nodiscard]] bool is_raw_peer(int argc, char** argv);
/// Serves the sockets, a thread and a buffer each, until they are closed. The exit status for main.
[[nodiscard]] int run_raw_peer(int argc, char** argv);

/// A place of `size` bytes in a buffer of `capacity`, behind the place before. `at` is the walker's position.
[[nodiscard]] inline std::size_t next_place(std::size_t& at, std::size_t size, std::size_t capacity) {
  if (at + size > capacity) at = 0;
  const std::size_t place = at;
  at += size;
  return place;
}

/// All of it, or false.
[[nodiscard]] bool send_all(int socket, const void* bytes, std::size_t size);
[[nodiscard]] bool receive_all(int socket, void* bytes, std::size_t size);

}  // namespace reprise::bench
