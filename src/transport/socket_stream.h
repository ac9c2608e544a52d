// Unix and TCP sockets: listening, connecting, and the stream over a connected one. Linux only.
//
// Free functions, thread-safe. Addresses are text: "host:port" or "[v6 address]:port" for TCP, a path for Unix.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_descriptor.h"
#include "transport/stream.h"

namespace reprise {

struct HostPort {
  std::string host;
  std::uint16_t port = 0;
};
/// kConfig, with what is wrong, for anything but "host:port", "[v6]:port", ":port" and, with a default, "host".
[[nodiscard]] Result<HostPort> parse_host_port(std::string_view text, std::uint16_t default_port = 0);
/// Whether every address the host stands for is a loopback one. False when it cannot be resolved.
[[nodiscard]] bool is_loopback(const std::string& host);

/// Binds and listens. A socket file left behind by a dead server is replaced; a live server's is not (kConfig). The
/// file has `mode` from the moment it exists.
[[nodiscard]] Result<FileDescriptor> listen_unix(const std::string& path, mode_t mode);
/// Binds and listens, SO_REUSEADDR. `port` of the result is the real one when 0 was asked for.
struct TcpListener {
  FileDescriptor descriptor;
  std::uint16_t port = 0;
};
[[nodiscard]] Result<TcpListener> listen_tcp(const HostPort& address);

/// One waiting connection, non-blocking, close-on-exec; TCP with TCP_NODELAY and keep-alive. An invalid descriptor when
/// none waits; kIo when the process or system is out of descriptors.
[[nodiscard]] Result<FileDescriptor> accept_connection(int listener);

/// A connected, non-blocking socket. kIo names the address and the system's reason, with what to do about it.
[[nodiscard]] Result<FileDescriptor> connect_unix(const std::string& path, Deadline deadline);
/// Tries the addresses of the host in turn. Name resolution itself may take as long as the resolver likes.
[[nodiscard]] Result<FileDescriptor> connect_tcp(const HostPort& address, Deadline deadline);

struct PeerCredentials {
  pid_t pid = 0;  ///< 0 when it lives in another pid namespace.
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;  ///< Supplementary ones, as of when it connected.
};
[[nodiscard]] Result<PeerCredentials> peer_credentials(int unix_socket);

/// Takes the connected socket over.
[[nodiscard]] std::unique_ptr<Stream> make_socket_stream(FileDescriptor socket);

}  // namespace reprise
