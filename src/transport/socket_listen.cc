// Listening and accepting, and who is at the other end of a Unix socket.
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <memory>
#include <thread>

#include "transport/socket_address.h"
#include "transport/socket_stream.h"

namespace reprise {

namespace {

constexpr std::size_t kMaxGroups = 1024;

constexpr int kBacklog = 1024;
constexpr int kSocketFlags = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;

std::unexpected<Error> failed(const std::string& where, std::string_view what, int number) {
  const bool denied = number == EACCES || number == EPERM || number == EROFS;
  return fail(denied ? ErrorCode::kDenied : ErrorCode::kIo,
              where + ": " + std::string(what) + ": " + error_text(number));
}

/// Excludes other servers from the directory while a socket file is looked at and replaced. The lock is on the
/// directory itself, so nothing is left behind; it is held for microseconds, and waited for a second at most.
Result<FileDescriptor> lock_directory(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  const std::string directory = parent.empty() ? "." : parent;
  FileDescriptor lock(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!lock.valid()) return failed(directory, "cannot open the socket's directory", errno);
  for (int attempt = 0; attempt < 100; ++attempt) {
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) == 0) return lock;
    if (errno != EWOULDBLOCK && errno != EINTR) return failed(directory, "cannot lock the socket's directory", errno);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return fail(ErrorCode::kConfig, directory + ": another process holds a lock on the socket's directory");
}

/// Removes the socket file of a server that is gone. The directory is locked.
Result<void> remove_stale(const std::string& path, const sockaddr_un& address) {
  struct stat status{};
  if (::lstat(path.c_str(), &status) != 0) {
    if (errno == ENOENT) return {};
    return failed(path, "cannot look at it", errno);
  }
  if (!S_ISSOCK(status.st_mode)) {
    return fail(ErrorCode::kConfig, path + ": exists and is no socket; remove it or choose another path");
  }
  const FileDescriptor probe(::socket(AF_UNIX, kSocketFlags, 0));
  if (!probe.valid()) return failed(path, "cannot make a socket", errno);
  const int answer = ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  if (answer == 0 || errno == EAGAIN) {
    return fail(ErrorCode::kConfig, path + ": a server listens there already; stop it or choose another path");
  }
  if (errno == ENOENT) return {};
  if (errno != ECONNREFUSED) return failed(path, "cannot tell whether its server is alive", errno);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    return failed(path, "cannot remove what a dead server left", errno);
  }
  return {};
}

/// Tries one address; an errno on failure.
int try_listen(const addrinfo& address, FileDescriptor& out) {
  FileDescriptor socket(::socket(address.ai_family, kSocketFlags, 0));
  if (!socket.valid()) return errno;
  const int on = 1;
  (void)::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  tune_new_tcp(socket.get(), *address.ai_addr);
  if (::bind(socket.get(), address.ai_addr, address.ai_addrlen) != 0) return errno;
  if (::listen(socket.get(), kBacklog) != 0) return errno;
  out = std::move(socket);
  return 0;
}

std::uint16_t bound_port(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  if (address.ss_family == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
  return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

/// Trouble of the connection that was waiting or of the network, gone by the next call; see accept(2).
bool passes_by(int number) {
  static constexpr std::array kPassing = {EAGAIN,      EINTR,       ECONNABORTED,    ENETDOWN,     EPROTO,
                                          ENOPROTOOPT, EHOSTDOWN,   ENONET,          EHOSTUNREACH, EPERM,
                                          EOPNOTSUPP,  ENETUNREACH, ESOCKTNOSUPPORT, ETIMEDOUT};
  return std::ranges::find(kPassing, number) != kPassing.end();
}

}  // namespace

Result<FileDescriptor> listen_unix(const std::string& path, mode_t mode) {
  const auto address = unix_address(path);
  if (!address) return std::unexpected(address.error());
  const auto lock = lock_directory(path);
  if (!lock) return std::unexpected(lock.error());
  if (const auto removed = remove_stale(path, *address); !removed) return std::unexpected(removed.error());
  FileDescriptor socket(::socket(AF_UNIX, kSocketFlags, 0));
  if (!socket.valid()) return failed(path, "cannot make a socket", errno);
  // Linux makes the file with the socket's own mode, less the umask: set before bind, there is no moment in which the
  // file is wider than asked, and no umask of the whole process to change. The chmod gives back what the umask took;
  // until listen, connecting is refused anyway.
  if (::fchmod(socket.get(), mode) != 0) return failed(path, "cannot set the socket's mode", errno);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof(*address)) != 0) {
    return failed(path, "cannot make the socket file", errno);
  }
  if (::chmod(path.c_str(), mode) != 0 || ::listen(socket.get(), kBacklog) != 0) {
    const int number = errno;
    (void)::unlink(path.c_str());
    return failed(path, "cannot listen", number);
  }
  return socket;
}

Result<TcpListener> listen_tcp(const HostPort& address) {
  const std::string where = address.host + ":" + std::to_string(address.port);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const char* host = address.host.empty() ? nullptr : address.host.c_str();
  const int answer = ::getaddrinfo(host, std::to_string(address.port).c_str(), &hints, &found);
  if (answer != 0) return fail(ErrorCode::kConfig, where + ": cannot resolve the host: " + ::gai_strerror(answer));
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);
  // For every interface, one IPv6 socket serves both families; where there is no IPv6, IPv4 is next.
  int number = EADDRNOTAVAIL;
  for (const bool v6_first : {true, false}) {
    for (const addrinfo* it = found; it != nullptr; it = it->ai_next) {
      if (host == nullptr && (it->ai_family == AF_INET6) != v6_first) continue;
      TcpListener result;
      number = try_listen(*it, result.descriptor);
      if (number == 0) {
        result.port = bound_port(result.descriptor.get());
        return result;
      }
    }
    if (host != nullptr) break;
  }
  if (number == EADDRINUSE) {
    return fail(ErrorCode::kConfig, where + ": the port is taken; stop what listens there or choose another");
  }
  return failed(where, "cannot listen", number);
}

Result<FileDescriptor> accept_connection(int listener) {
  FileDescriptor socket(::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (socket.valid()) {
    tune_tcp(socket.get());
    return socket;
  }
  if (passes_by(errno)) return FileDescriptor();
  return fail(ErrorCode::kIo, std::string("cannot accept a connection: ") + error_text(errno));
}

Result<PeerCredentials> peer_credentials(int unix_socket) {
  ucred who{};
  socklen_t size = sizeof(who);
  if (::getsockopt(unix_socket, SOL_SOCKET, SO_PEERCRED, &who, &size) != 0 || size != sizeof(who)) {
    return fail(ErrorCode::kIo, "cannot ask who is at the other end of the socket: " + error_text(errno));
  }
  // Sockets of other families answer, with nobody.
  if (who.uid == static_cast<uid_t>(-1)) return fail(ErrorCode::kInvalid, "only Unix sockets know their peer");
  PeerCredentials peer{who.pid, who.uid, who.gid, {}};
  std::array<gid_t, kMaxGroups> groups{};
  size = sizeof(groups);
  // Somebody in more groups than that is known by the first one alone.
  if (::getsockopt(unix_socket, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &size) == 0) {
    peer.groups.assign(groups.begin(), groups.begin() + size / sizeof(gid_t));
  }
  return peer;
}

}  // namespace reprise
