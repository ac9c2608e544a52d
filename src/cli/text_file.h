// Results that go to a file, or to the standard output for "-".
#pragma once

#include <string>

#include "cli/services.h"

namespace reprise::cli {

/// Writes `text` and a newline. Fails with kIo, naming the path.
[[nodiscard]] Result<void> write_text(const std::string& path, const std::string& text, Terminal& terminal);

/// The first line of a small file, without blanks at its ends: a token. Fails with kIo, naming the path.
[[nodiscard]] Result<std::string> read_first_line(const std::string& path);

}  // namespace reprise::cli
