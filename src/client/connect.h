// From a URL and options to connections: where the server is, how it is reached, and who says so.
//
// Nothing is kept but values; the functors made here are called by one thread at a time.
#pragma once

#include <string>
#include <string_view>

#include "client/link_pool.h"
#include "reprise/options.h"
#include "reprise/status.h"

namespace reprise {

inline constexpr std::uint16_t kDefaultPort = 9600;

/// kConfig, naming the option and the range, when the attach.* options cannot work.
[[nodiscard]] Result<void> check_attach_options(const CacheOptions& options);
/// "unix:///run/reprise/reprise.sock" to the path; kConfig for anything but an absolute one.
[[nodiscard]] Result<std::string> unix_path(std::string_view url);

/// How the pool gets its sessions: with shared memory over a Unix socket, without over TCP or TLS. Reads the token's
/// file once now, so that a wrong one is an error (kConfig), and again for every connection, so that it may change.
[[nodiscard]] Result<LinkPool::Connect> connect_shared(std::string_view url, const CacheOptions& options);
[[nodiscard]] Result<LinkPool::Connect> connect_remote(std::string_view url, const CacheOptions& options);

}  // namespace reprise
