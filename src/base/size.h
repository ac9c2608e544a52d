// Sizes and durations as people write them in options and URLs: "64MiB", "10GiB", "4096"; "5ms", "2s". Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "reprise/deadline.h"
#include "reprise/status.h"

namespace reprise {

/// Bytes. A whole or decimal number with an optional unit: B, KiB MiB GiB TiB (powers of 1024) or KB MB GB TB (powers
/// of 1000). Fails with kConfig, naming `option` and the text, on anything else and on what does not fit 63 bits.
[[nodiscard]] Result<std::uint64_t> parse_size(std::string_view option, std::string_view text);

/// A whole or decimal number with a unit: ns, us, ms, s, min. Fails as parse_size does.
[[nodiscard]] Result<Duration> parse_duration(std::string_view option, std::string_view text);

/// "64MiB", "1.5GiB", "4096B": the shortest exact or three-digit form.
[[nodiscard]] std::string format_size(std::uint64_t bytes);

}  // namespace reprise
