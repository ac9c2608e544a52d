// The command line: parses it, resolves the options, runs the command it names.
#pragma once

#include <string>
#include <vector>

#include "cli/services.h"

namespace reprise::cli {

/// `arguments` without the program's name. Returns an ExitCode.
[[nodiscard]] int run_command_line(const std::vector<std::string>& arguments, const Services& services,
                                   Terminal& terminal, const StopFlag& stop);

}  // namespace reprise::cli
