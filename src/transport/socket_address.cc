#include "transport/socket_address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <memory>
#include <system_error>

#include "transport/socket_stream.h"

namespace reprise {

std::string error_text(int number) {
  return std::generic_category().message(number);
}

std::string address_text(const sockaddr_storage& address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    ::inet_ntop(AF_INET, &v4.sin_addr, text.data(), text.size());
    return std::string(text.data()) + ":" + std::to_string(ntohs(v4.sin_port));
  }
  if (address.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    ::inet_ntop(AF_INET6, &v6.sin6_addr, text.data(), text.size());
    return "[" + std::string(text.data()) + "]:" + std::to_string(ntohs(v6.sin6_port));
  }
  return address.ss_family == AF_UNIX ? "unix" : "unknown";
}

int socket_family(int socket) {
  int family = -1;
  socklen_t size = sizeof(family);
  return ::getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &family, &size) == 0 ? family : -1;
}

std::string describe_peer(int socket, bool is_unix) {
  if (is_unix) {
    const auto who = peer_credentials(socket);
    if (!who) return "unix";
    return "unix pid " + std::to_string(who->pid) + " uid " + std::to_string(who->uid);
  }
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (::getpeername(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return "unknown";
  return address_text(address);
}

Result<sockaddr_un> unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path) || path.find('\0') != std::string::npos) {
    return fail(ErrorCode::kConfig, "socket path \"" + path + "\": must have 1 to " +
                                        std::to_string(sizeof(address.sun_path) - 1) + " bytes; choose a shorter one");
  }
  std::copy(path.begin(), path.end(), address.sun_path);
  return address;
}

void tune_new_tcp(int socket, const sockaddr& address) {
  bool here = false;
  if (address.sa_family == AF_INET) {
    here = ntohl(reinterpret_cast<const sockaddr_in&>(address).sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
  } else if (address.sa_family == AF_INET6) {
    here = IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6&>(address).sin6_addr);
  }
  // Inside one machine nothing is congested, and an algorithm that paces (bbr) costs up to half the speed. This one is
  // always there and always allowed.
  constexpr std::string_view kUnpaced = "reno";
  if (here) (void)::setsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, kUnpaced.data(), kUnpaced.size());
}

void tune_tcp(int socket) {
  const int family = socket_family(socket);
  if (family != AF_INET && family != AF_INET6) return;
  constexpr int kOn = 1;
  constexpr int kIdleSeconds = 30;
  constexpr int kIntervalSeconds = 10;
  constexpr int kProbes = 3;
  // All of these only improve matters: none is worth refusing a connection for.
  (void)::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &kOn, sizeof(kOn));
  (void)::setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &kOn, sizeof(kOn));
  (void)::setsockopt(socket, IPPROTO_TCP, TCP_KEEPIDLE, &kIdleSeconds, sizeof(kIdleSeconds));
  (void)::setsockopt(socket, IPPROTO_TCP, TCP_KEEPINTVL, &kIntervalSeconds, sizeof(kIntervalSeconds));
  (void)::setsockopt(socket, IPPROTO_TCP, TCP_KEEPCNT, &kProbes, sizeof(kProbes));
}

Result<HostPort> parse_host_port(std::string_view text, std::uint16_t default_port) {
  const auto bad = [&](std::string_view why) {
    return fail(ErrorCode::kConfig, "address \"" + std::string(text) + "\": " + std::string(why) +
                                        "; write host:port, or [address]:port for IPv6");
  };
  HostPort result{.host = {}, .port = default_port};
  std::string_view rest = text;
  if (rest.starts_with('[')) {
    const std::size_t end = rest.find(']');
    if (end == std::string_view::npos) return bad("no closing bracket");
    result.host = rest.substr(1, end - 1);
    if (result.host.empty()) return bad("empty brackets");
    rest.remove_prefix(end + 1);
    if (!rest.empty() && rest.front() != ':') return bad("something between bracket and port");
  } else {
    const std::size_t colon = rest.find(':');
    result.host = rest.substr(0, colon);
    rest.remove_prefix(std::min(colon, rest.size()));
    if (rest.find(':', 1) != std::string_view::npos) return bad("more than one colon");
  }
  // A name never has these; passed on, they would come back as a puzzling complaint of the resolver.
  if (result.host.find_first_of(" \t\r\n/@[]") != std::string::npos) return bad("a character no host has");
  if (rest.empty()) {
    if (default_port == 0 || result.host.empty()) return bad("no port");
    return result;
  }
  rest.remove_prefix(1);
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), result.port);
  if (rest.empty() || error != std::errc() || end != rest.data() + rest.size()) {
    return bad("the port is no number from 0 to 65535");
  }
  return result;
}

bool is_loopback(const std::string& host) {
  if (host.empty()) return false;  // Every interface.
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), nullptr, &hints, &found) != 0) return false;
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);
  for (const addrinfo* it = found; it != nullptr; it = it->ai_next) {
    if (it->ai_family == AF_INET) {
      const auto* v4 = reinterpret_cast<const sockaddr_in*>(it->ai_addr);
      if ((ntohl(v4->sin_addr.s_addr) >> 24) != 127) return false;
    } else if (it->ai_family == AF_INET6) {
      const auto* v6 = reinterpret_cast<const sockaddr_in6*>(it->ai_addr);
      const bool mapped = IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) && v6->sin6_addr.s6_addr[12] == 127;
      if (!mapped && !IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr)) return false;
    } else {
      return false;
    }
  }
  return found != nullptr;
}

}  // namespace reprise
