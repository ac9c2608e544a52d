// Two connected streams inside one process: no address, no port, nothing on the network. A Unix socketpair below, so
// that everything that polls, and passes descriptors, works; with small buffers where a test wants short moves.
#pragma once

#include <sys/socket.h>

#include <memory>
#include <utility>

#include "base/file_descriptor.h"
#include "transport/socket_stream.h"
#include "transport/stream.h"

namespace reprise::testing {

struct StreamPair {
  std::unique_ptr<Stream> client;
  std::unique_ptr<Stream> server;
};

struct SocketPair {
  FileDescriptor client;
  FileDescriptor server;
};

/// `buffer_bytes`: how much one direction holds before a write waits, roughly (the kernel has a minimum of some KiB);
/// 0 leaves the system's. Both invalid when the process is out of descriptors.
inline SocketPair make_socket_pair(int buffer_bytes = 0) {
  int fds[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) return {};
  if (buffer_bytes > 0) {
    for (const int fd : fds) {
      (void)::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer_bytes, sizeof(buffer_bytes));
      (void)::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof(buffer_bytes));
    }
  }
  return {FileDescriptor(fds[0]), FileDescriptor(fds[1])};
}

inline StreamPair make_loopback(int buffer_bytes = 0) {
  SocketPair sockets = make_socket_pair(buffer_bytes);
  return {make_socket_stream(std::move(sockets.client)), make_socket_stream(std::move(sockets.server))};
}

}  // namespace reprise::testing
