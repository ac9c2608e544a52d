#include "cli/text_table.h"

#include <algorithm>
#include <cstdio>

namespace reprise::cli {

std::string TextTable::text() const {
  std::vector<std::size_t> widths;
  for (const auto& row : rows_) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string out;
  for (std::size_t r = 0; r < rows_.size(); ++r) {
    out += "  ";
    for (std::size_t i = 0; i < rows_[r].size(); ++i) {
      const std::string padding(widths[i] - rows_[r][i].size(), ' ');
      if (i > 0) out += "  ";
      out += i == 0 ? rows_[r][i] + (rows_[r].size() > 1 ? padding : "") : padding + rows_[r][i];
    }
    out += '\n';
    if (r > 0) continue;
    std::size_t total = 0;
    for (const std::size_t width : widths) total += width + 2;
    out += "  " + std::string(total > 2 ? total - 2 : 0, '-') + "\n";
  }
  return out;
}

std::string with_commas(std::uint64_t n) {
  std::string digits = std::to_string(n);
  for (std::size_t at = digits.size(); at > 3;) {
    at -= 3;
    digits.insert(at, ",");
  }
  return digits;
}

std::string fixed(double value, int decimals) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", decimals, value);
  return text;
}

std::string short_number(double value) {
  static constexpr const char* kUnits[] = {"", " k", " M", " G", " T"};
  int unit = 0;
  while (value >= 1000 && unit < 4) {
    value /= 1000;
    ++unit;
  }
  return fixed(value, unit == 0 ? 0 : value >= 100 ? 0 : 1) + kUnits[unit];
}

std::string microseconds(double us) {
  if (us >= 1000) return with_commas(static_cast<std::uint64_t>(us + 0.5));
  return fixed(us, us >= 100 ? 0 : us >= 10 ? 1 : 2);
}

}  // namespace reprise::cli
