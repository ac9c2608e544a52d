// Addresses of sockets, and texts about them: what the files of this room share.
//
// Free functions, thread-safe.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <string>

#include "reprise/status.h"

namespace reprise {

/// "Connection refused": the system's words for an errno.
[[nodiscard]] std::string error_text(int number);
/// "127.0.0.1:80", "[::1]:80", "unix".
[[nodiscard]] std::string address_text(const sockaddr_storage& address);
/// AF_UNIX, AF_INET, AF_INET6; -1 for what is no socket.
[[nodiscard]] int socket_family(int socket);
/// Who is at the other end, for people: an address, or for Unix sockets process and user.
[[nodiscard]] std::string describe_peer(int socket, bool is_unix);
/// kConfig when the path is empty or longer than the system allows (107 bytes).
[[nodiscard]] Result<sockaddr_un> unix_address(const std::string& path);
/// For a socket about to connect to the address, or to be bound to it: no pacing on loopback. What a listener accepts
/// is like it. Later is too late: a connection keeps the pacing it began with.
void tune_new_tcp(int socket, const sockaddr& address);
/// TCP_NODELAY and keep-alive (a silent peer is noticed after about a minute); nothing for other families.
void tune_tcp(int socket);

}  // namespace reprise
