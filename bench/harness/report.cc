#include "bench/harness/report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace reprise::bench {
namespace {

using Json = nlohmann::ordered_json;

std::string figure(std::optional<double> value) {
  if (!value || !std::isfinite(*value)) return "-";
  const double size = std::abs(*value);
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, size >= 1000 ? "%.0f" : size >= 10 ? "%.1f" : "%.3f", *value);
  return buffer;
}

std::string latency(double us) {
  return us == 0 ? "-" : figure(us);
}

std::string pad(const std::string& text, std::size_t width, bool right) {
  const std::string space(width > text.size() ? width - text.size() : 0, ' ');
  return right ? space + text : text + space;
}

std::vector<std::string> cells(const Row& row) {
  if (!row.error.empty()) return {row.name, "failed", row.unit, "-", "-", "-", "-", "-", row.goal.text(), row.error};
  const Summary& s = row.summary;
  const std::string aa = s.aa_low ? figure(s.aa_low) + ".." + figure(s.aa_high) : "-";
  const std::string holds = !row.holds ? "" : *row.holds ? "holds" : "MISSED";
  return {row.name,
          figure(s.value),
          row.unit,
          figure(s.limit),
          figure(s.ratio),
          aa,
          latency(row.p50_us),
          latency(row.p99_us),
          row.goal.text(),
          holds};
}

Json number(std::optional<double> value) {
  return value && std::isfinite(*value) ? Json(*value) : Json(nullptr);
}
Json latency_number(double us) {
  return us == 0 ? Json(nullptr) : Json(us);
}

Json to_json(const Row& row) {
  const bool ok = row.error.empty();
  Json runs = Json::array();
  for (const Pair& pair : row.pairs) {
    runs.push_back({{"ours", number(pair.ours)},
                    {"limit", number(pair.limit)},
                    {"limit_again", number(pair.limit_again)},
                    {"ours_first", pair.ours_first}});
  }
  Json out = {{"case", row.name},
              {"value", ok ? number(row.summary.value) : Json(nullptr)},
              {"unit", row.unit},
              {"limit", number(row.summary.limit)},
              {"ratio", number(row.summary.ratio)},
              {"aa_low", number(row.summary.aa_low)},
              {"aa_high", number(row.summary.aa_high)},
              {"p50_us", latency_number(row.p50_us)},
              {"p99_us", latency_number(row.p99_us)},
              {"goal", row.goal.text()},
              {"holds", row.holds ? Json(*row.holds) : Json(nullptr)},
              {"runs", std::move(runs)}};
  if (!ok) out["error"] = row.error;
  return out;
}

}  // namespace

std::string to_table(const Report& report) {
  std::vector<std::vector<std::string>> lines = {
      {"case", "value", "unit", "limit", "ratio", "A/A quartiles", "p50 us", "p99 us", "goal", "verdict"}};
  for (const Row& row : report.rows) lines.push_back(cells(row));
  std::vector<std::size_t> widths(lines[0].size());
  for (const auto& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  }
  widths.back() = 0;
  std::string out;
  for (const auto& line : lines) {
    std::string text;
    for (std::size_t i = 0; i < line.size(); ++i) {
      const bool left = i == 0 || i == 2 || i >= 8;
      text += (i == 0 ? "" : "  ") + pad(line[i], widths[i], !left);
    }
    out += text.substr(0, text.find_last_not_of(' ') + 1) + '\n';
  }
  const Machine& m = report.machine;
  out += m.cpu + ", " + std::to_string(m.cores) + " cores, " + std::to_string(m.memory_bytes >> 30) + " GiB, LLC " +
         std::to_string(m.llc_bytes >> 20) + " MiB, " + m.kernel + '\n';
  for (const auto& [key, value] : report.notes) out += key + ": " + value + '\n';
  if (report.quick) out += "quick run: the figures mean nothing\n";
  return out;
}

std::string to_json(const Report& report) {
  const Machine& m = report.machine;
  Json out = {{"name", report.name},
              {"machine",
               {{"cpu", m.cpu},
                {"cores", m.cores},
                {"memory_bytes", m.memory_bytes},
                {"llc_bytes", m.llc_bytes},
                {"kernel", m.kernel},
                {"card", m.card}}},
              {"quick", report.quick},
              {"notes", report.notes},
              {"rows", Json::array()}};
  for (const Row& row : report.rows) out["rows"].push_back(to_json(row));
  return out.dump(1) + '\n';
}

}  // namespace reprise::bench
