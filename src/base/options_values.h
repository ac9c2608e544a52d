// Values of options as people write them: "4KiB", "1.5GiB", "500ms". Pure functions, no locale.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "reprise/status.h"

namespace reprise {

/// Bytes of "4096", "4KiB", "10 GiB", "1.5MiB", "2GB". Units, in any case: B, KiB MiB GiB TiB (powers of 1024), KB MB
/// GB TB (powers of 1000). Fails with kInvalid on anything else, on fractions of a byte, and beyond 2^63 - 1.
[[nodiscard]] Result<std::uint64_t> read_size(std::string_view text);
/// The shortest exact form that read_size reads back: 4096 -> "4KiB", 5000 -> "5000B", 0 -> "0B".
[[nodiscard]] std::string size_text(std::uint64_t bytes);
/// Three digits for people, not exact: "3.91 MiB".
[[nodiscard]] std::string approximate_size(double bytes);

/// "500ms", "2s", "1.5s", "3min", "1h". A unit is mandatory, except for "0". Fails with kInvalid on anything else, on
/// fractions of a millisecond, and beyond 10^6 hours.
[[nodiscard]] Result<std::chrono::milliseconds> read_duration(std::string_view text);
/// The shortest exact form that read_duration reads back: 2000 ms -> "2s".
[[nodiscard]] std::string duration_text(std::chrono::milliseconds span);

}  // namespace reprise
