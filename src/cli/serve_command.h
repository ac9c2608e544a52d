// `reprise serve`, which is also what a binary called `reprised` does: the server, in the foreground.
#pragma once

#include "base/options.h"
#include "cli/services.h"

namespace reprise::cli {

/// Runs Services::serve, listening on the default socket where the options name no place. Returns an ExitCode.
[[nodiscard]] int serve_command(ResolvedOptions options, const Services& services, Terminal& terminal,
                                const StopFlag& stop);

}  // namespace reprise::cli
