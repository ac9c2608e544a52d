// What Services::serve really does: the server of src/server, told by flags when to stop and when to read its files.
#pragma once

#include "base/options.h"
#include "cli/services.h"
#include "reprise/cache.h"

namespace reprise::cli {

/// Returns an ExitCode, when `stop` is set and all is drained or server.drain-timeout is over.
[[nodiscard]] int run_server(const ResolvedOptions& options, const PolicyRegistry& policies,
                             const StoreRegistry& stores, Terminal& terminal, const StopFlag& stop, ReloadFlag& reload,
                             const std::vector<std::string>& environment);

}  // namespace reprise::cli
