// Small helpers for listening and connecting. Free functions, thread-safe.
#pragma once

#include <sys/un.h>

#include <string>

#include "reprise/status.h"

namespace reprise {

/// kConfig when the path is empty or longer than the system allows (107 bytes).
[[nodiscard]] Result<sockaddr_un> unix_address(const std::string& path);
/// TCP_NODELAY and keep-alive (a silent peer is noticed after about a minute); nothing for other families.
void tune_tcp(int socket);

}  // namespace reprise
