// Rows as a table for people and as the JSON object for scripts. Pure functions.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "bench/harness/harness.h"
#include "bench/harness/machine.h"

namespace reprise::bench {

struct Report {
  std::string name;
  Machine machine;
  bool quick = false;
  std::map<std::string, std::string> notes;
  std::vector<Row> rows;
};

[[nodiscard]] std::string to_table(const Report& report);

/// {"name", "machine", "quick", "notes", "rows": [{"case", "value", "unit", "limit", "ratio", "aa_low", "aa_high",
/// "p50_us", "p99_us", "goal", "holds", "runs", and "error" for a failed case}]}; null where there is no figure.
[[nodiscard]] std::string to_json(const Report& report);

}  // namespace reprise::bench
