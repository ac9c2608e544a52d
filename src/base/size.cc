#include "base/size.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <span>
#include <utility>

namespace reprise {
namespace {

using Unit = std::pair<std::string_view, double>;

constexpr std::array<Unit, 10> kSizes{{{"", 1},
                                       {"B", 1},
                                       {"KiB", 1024.0},
                                       {"MiB", 1024.0 * 1024},
                                       {"GiB", 1024.0 * 1024 * 1024},
                                       {"TiB", 1024.0 * 1024 * 1024 * 1024},
                                       {"KB", 1e3},
                                       {"MB", 1e6},
                                       {"GB", 1e9},
                                       {"TB", 1e12}}};
constexpr std::array<Unit, 6> kDurations{
    {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"min", 60e9}, {"h", 3600e9}}};
constexpr double kMost = 9.2e18;  // below 2^63

Result<double> parse(std::string_view option, std::string_view text, std::span<const Unit> units,
                     std::string_view example) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (error == std::errc{} && number >= 0) {
    const std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
    for (const auto& [name, factor] : units) {
      if (unit == name && number * factor < kMost) return number * factor;
    }
  }
  return fail(ErrorCode::kConfig, std::string(option) + "=" + std::string(text) + ": expected " + std::string(example));
}

}  // namespace

Result<std::uint64_t> parse_size(std::string_view option, std::string_view text) {
  // Plain integers exactly: a double has 53 bits only.
  std::uint64_t whole = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), whole);
  if (error == std::errc{} && end == text.data() + text.size() && whole < (1ULL << 63)) return whole;
  const auto bytes = parse(option, text, kSizes, "a size such as 4096, 64MiB or 10GiB");
  if (!bytes) return std::unexpected(bytes.error());
  return static_cast<std::uint64_t>(std::llround(*bytes));
}

Result<Duration> parse_duration(std::string_view option, std::string_view text) {
  if (text == "0") return Duration(0);  // In any unit.
  const auto ns = parse(option, text, kDurations, "a duration such as 500us, 20ms or 2s");
  if (!ns) return std::unexpected(ns.error());
  return Duration(std::llround(*ns));
}

std::string format_size(std::uint64_t bytes) {
  static constexpr std::array<std::string_view, 5> kNames{"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  double value = static_cast<double>(bytes);
  while (value >= 1024 && unit + 1 < kNames.size()) {
    value /= 1024;
    ++unit;
  }
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.4g", value);
  return std::string(text.data()) + std::string(kNames[unit]);
}

}  // namespace reprise
