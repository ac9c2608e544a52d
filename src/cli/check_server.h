// What `reprise check` says about the options of a server: files that must be readable, options that need each other,
// ports that leave loopback. A pure function of the options and of what `readable` answers.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/server_options.h"
#include "cli/check_command.h"

namespace reprise::cli {

using FileProbe = std::function<bool(const std::string& path)>;

/// Nothing of what is not configured. The server itself has the last word when it starts.
[[nodiscard]] std::vector<Finding> judge_server(const ServerOptions& options, const FileProbe& readable);

/// True for a regular file that this process may read.
[[nodiscard]] bool is_readable(const std::string& path);

}  // namespace reprise::cli
