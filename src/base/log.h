// Log lines for operators. The sink is spdlog's default logger on stderr; level from REPRISE_LOG (error, warn, info,
// debug; default warn). Formatting happens at the caller with std::string, so this header costs nothing to include.
#pragma once

#include <string_view>

namespace reprise::log {

void debug(std::string_view message);
void info(std::string_view message);
void warn(std::string_view message);
void error(std::string_view message);

}  // namespace reprise::log
