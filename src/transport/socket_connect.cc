// Connecting within a deadline.
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <thread>

#include "transport/socket_address.h"
#include "transport/socket_stream.h"

namespace reprise {

namespace {

using std::chrono::steady_clock;
constexpr int kSocketFlags = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;

std::string_view advice(int number) {
  switch (number) {
    case ENOENT: return "; is the server running, and is this its socket?";
    case ECONNREFUSED: return "; is the server running there?";
    case EACCES:
    case EPERM: return "; the socket file does not admit this user";
    case ETIMEDOUT: return "; the host or its server does not answer in time";
    case EAGAIN: return "; the server has too many connections waiting";
    case EMFILE:
    case ENFILE: return "; raise the limit on open files";
    default: return "";
  }
}

std::unexpected<Error> refused(const std::string& where, int number) {
  return fail(ErrorCode::kIo, "cannot connect to " + where + ": " + error_text(number) + std::string(advice(number)));
}

/// Waits for a connection in the making; an errno, 0 when it stands.
int await_connection(int socket, Deadline deadline) {
  for (;;) {
    timespec span{};
    if (!deadline.is_never()) {
      const TimePoint now = steady_clock::now();
      const auto left = deadline.passed(now) ? Duration(0) : deadline.when() - now;
      span.tv_sec = left / std::chrono::seconds(1);
      span.tv_nsec = (left % std::chrono::seconds(1)).count();
    }
    pollfd entry{socket, POLLOUT, 0};
    const int ready = ::ppoll(&entry, 1, deadline.is_never() ? nullptr : &span, nullptr);
    if (ready > 0) break;
    if (ready == 0) return ETIMEDOUT;
    if (errno != EINTR) return errno;
  }
  int error = 0;
  socklen_t size = sizeof(error);
  if (::getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return errno;
  return error;
}

/// A port of the ephemeral range that nobody listens on may connect to itself: both ends are this socket.
bool is_own_peer(int socket) {
  sockaddr_storage here{};
  sockaddr_storage there{};
  socklen_t here_size = sizeof(here);
  socklen_t there_size = sizeof(there);
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&here), &here_size) != 0) return false;
  if (::getpeername(socket, reinterpret_cast<sockaddr*>(&there), &there_size) != 0) return false;
  return here_size == there_size && std::memcmp(&here, &there, here_size) == 0;
}

int try_connect(const addrinfo& address, Deadline deadline, FileDescriptor& out) {
  FileDescriptor socket(::socket(address.ai_family, kSocketFlags, 0));
  if (!socket.valid()) return errno;
  tune_new_tcp(socket.get(), *address.ai_addr);
  int number = 0;
  if (::connect(socket.get(), address.ai_addr, address.ai_addrlen) != 0) {
    if (errno != EINPROGRESS && errno != EINTR) return errno;
    number = await_connection(socket.get(), deadline);
  }
  if (number != 0) return number;
  if (is_own_peer(socket.get())) return ECONNREFUSED;
  out = std::move(socket);
  return 0;
}

/// An equal part of what is left, so that one silent address leaves time for the others.
Deadline share(Deadline deadline, std::size_t addresses) {
  if (deadline.is_never() || addresses <= 1) return deadline;
  const TimePoint now = steady_clock::now();
  if (deadline.passed(now)) return deadline;
  return Deadline::at(now + (deadline.when() - now) / static_cast<std::int64_t>(addresses));
}

}  // namespace

Result<FileDescriptor> connect_unix(const std::string& path, Deadline deadline) {
  const auto address = unix_address(path);
  if (!address) return std::unexpected(address.error());
  FileDescriptor socket(::socket(AF_UNIX, kSocketFlags, 0));
  if (!socket.valid()) return refused(path, errno);
  while (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof(*address)) != 0) {
    if (errno == EINTR) continue;
    // EAGAIN: the backlog is full. Nothing can be polled for; it is rare, and clears within a round of the server.
    if (errno != EAGAIN || deadline.passed(steady_clock::now())) return refused(path, errno);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return socket;
}

Result<FileDescriptor> connect_tcp(const HostPort& address, Deadline deadline) {
  const std::string where = address.host + ":" + std::to_string(address.port);
  if (address.port == 0) return fail(ErrorCode::kConfig, where + ": port 0 cannot be connected to");
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const char* host = address.host.empty() ? nullptr : address.host.c_str();
  const int answer = ::getaddrinfo(host, std::to_string(address.port).c_str(), &hints, &found);
  if (answer != 0) {
    return fail(ErrorCode::kIo, "cannot connect to " + where + ": cannot resolve the host: " + ::gai_strerror(answer));
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);
  std::size_t left = 0;
  for (const addrinfo* it = found; it != nullptr; it = it->ai_next) ++left;
  int number = ENOENT;
  for (const addrinfo* it = found; it != nullptr; it = it->ai_next, --left) {
    FileDescriptor socket;
    number = try_connect(*it, share(deadline, left), socket);
    if (number == 0) {
      tune_tcp(socket.get());
      return socket;
    }
  }
  return refused(where, number);
}

}  // namespace reprise
