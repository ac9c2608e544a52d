#include "base/options_values.h"

#include <array>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <optional>
#include <span>

namespace reprise {
namespace {

struct Unit {
  std::string_view name;
  std::uint64_t scale;
};

constexpr std::array<Unit, 5> kSizeUnits{
    {{"TiB", 1ULL << 40}, {"GiB", 1ULL << 30}, {"MiB", 1ULL << 20}, {"KiB", 1ULL << 10}, {"B", 1}}};
// Read, never written.
constexpr std::array<Unit, 4> kDecimalUnits{
    {{"TB", 1'000'000'000'000}, {"GB", 1'000'000'000}, {"MB", 1'000'000}, {"KB", 1'000}}};
constexpr std::array<Unit, 4> kTimeUnits{{{"h", 3'600'000}, {"min", 60'000}, {"s", 1'000}, {"ms", 1}}};

bool same_ignoring_case(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::tolower(static_cast<unsigned char>(a[i])) != std::tolower(static_cast<unsigned char>(b[i]))) return false;
  }
  return true;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

struct Scaled {
  std::uint64_t value = 0;
  bool had_unit = false;
};

// A decimal number times a unit, computed exactly: digits and fraction digits are kept as integers.
template <std::size_t N>
std::optional<Scaled> parse_scaled(std::string_view text, const std::array<Unit, N>& units,
                                   std::span<const Unit> more = {}) {
  text = trim(text);
  std::uint64_t mantissa = 0;
  std::uint64_t divisor = 1;
  std::size_t digits = 0;
  std::size_t i = 0;
  bool fraction = false;
  for (; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '.' && !fraction) {
      fraction = true;
    } else if (c >= '0' && c <= '9') {
      if (++digits > 18) return std::nullopt;  // keeps mantissa and divisor within 64 bits
      mantissa = mantissa * 10 + static_cast<std::uint64_t>(c - '0');
      if (fraction) divisor *= 10;
    } else {
      break;
    }
  }
  if (digits == 0 || (i > 0 && text[i - 1] == '.')) return std::nullopt;
  const std::string_view name = trim(text.substr(i));
  std::uint64_t scale = 1;
  if (!name.empty()) {
    scale = 0;
    for (const Unit& unit : units) {
      if (same_ignoring_case(unit.name, name)) scale = unit.scale;
    }
    for (const Unit& unit : more) {
      if (same_ignoring_case(unit.name, name)) scale = unit.scale;
    }
    if (scale == 0) return std::nullopt;
  }
  std::uint64_t product = 0;
  if (__builtin_mul_overflow(mantissa, scale, &product) || product % divisor != 0) return std::nullopt;
  return Scaled{product / divisor, !name.empty()};
}

template <std::size_t N>
std::string format_scaled(std::uint64_t value, const std::array<Unit, N>& units) {
  for (const Unit& unit : units) {
    if (value >= unit.scale && value % unit.scale == 0) {
      return std::to_string(value / unit.scale).append(unit.name);
    }
  }
  return std::to_string(value).append(units.back().name);
}

}  // namespace

Result<std::uint64_t> read_size(std::string_view text) {
  const auto parsed = parse_scaled(text, kSizeUnits, kDecimalUnits);
  if (!parsed || parsed->value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    return fail(ErrorCode::kInvalid, "'" + std::string(text) + "' is not a size: write e.g. 4096, 256KiB or 1.5GiB");
  }
  return parsed->value;
}

std::string size_text(std::uint64_t bytes) {
  return format_scaled(bytes, kSizeUnits);
}

std::string approximate_size(double bytes) {
  static constexpr std::array kNames = {"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  while (std::fabs(bytes) >= 1000 && unit + 1 < kNames.size()) {
    bytes /= 1024;
    ++unit;
  }
  char text[48];
  const int decimals = unit == 0 || bytes >= 100 ? 0 : bytes >= 10 ? 1 : 2;
  std::snprintf(text, sizeof text, "%.*f %s", decimals, bytes, kNames[unit]);
  return text;
}

Result<std::chrono::milliseconds> read_duration(std::string_view text) {
  const auto parsed = parse_scaled(text, kTimeUnits);
  if (!parsed || (!parsed->had_unit && parsed->value != 0) || parsed->value > 3'600'000'000'000ULL) {
    return fail(ErrorCode::kInvalid, "'" + std::string(text) + "' is not a duration: write e.g. 500ms, 2s or 1h");
  }
  return std::chrono::milliseconds(parsed->value);
}

std::string duration_text(std::chrono::milliseconds span) {
  return format_scaled(static_cast<std::uint64_t>(span.count()), kTimeUnits);
}

}  // namespace reprise
