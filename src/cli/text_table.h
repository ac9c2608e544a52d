// Columns of text for a terminal: first column left-aligned, the others right-aligned. One thread at a time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace reprise::cli {

class TextTable {
 public:
  explicit TextTable(std::vector<std::string> head) : rows_{std::move(head)} {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  /// Head, rule and rows, each line indented by two spaces and ended.
  [[nodiscard]] std::string text() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

[[nodiscard]] std::string with_commas(std::uint64_t n);       ///< "12,031"
[[nodiscard]] std::string fixed(double value, int decimals);  ///< "0.3257"
[[nodiscard]] std::string short_number(double value);         ///< "24.4 M"
[[nodiscard]] std::string microseconds(double us);            ///< three digits: "0.82", "14.3", "1,204"

}  // namespace reprise::cli
