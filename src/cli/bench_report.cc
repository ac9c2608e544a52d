// What `reprise bench` prints.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/options_values.h"
#include "cli/bench_command.h"
#include "cli/text_table.h"

namespace reprise::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kGiga = 1e9;

double share(double part, double whole) {
  return whole > 0 ? part / whole : 0;
}

double rounded(double value) {
  return std::round(value * 1e6) / 1e6;
}

std::string gigabytes(double bytes_per_second) {
  const double value = bytes_per_second / kGiga;
  return fixed(value, value >= 10 ? 1 : value >= 1 ? 2 : 3);
}

void add_side(TextTable& table, const BenchResult& result, const char* what, const BenchSide& side) {
  if (side.calls == 0) return;
  // Reading under a lease moves nothing: the rate of blocks held says nothing about memory.
  const bool moves = !result.plan.in_place || &side == &result.counts.put;
  table.add({size_text(result.plan.block_bytes) + " x " + std::to_string(result.plan.batch) + " " + what,
             with_commas(side.calls), short_number(side.calls_per_second),
             moves ? gigabytes(side.bytes_per_second) : "-", gigabytes(result.counts.copy_bytes_per_second),
             moves ? fixed(share(side.bytes_per_second, result.counts.copy_bytes_per_second), 2) : "-",
             microseconds(side.latency.quantile_us(0.5)), microseconds(side.latency.quantile_us(0.99)),
             fixed(100 * share(static_cast<double>(side.blocks), static_cast<double>(side.asked)), 1) + " %"});
}

Json side_json(const BenchSide& side) {
  return {{"calls", side.calls},
          {"calls_per_second", rounded(side.calls_per_second)},
          {"bytes_per_second", rounded(side.bytes_per_second)},
          {"blocks_asked", side.asked},
          {"blocks_done", side.blocks},
          {"latency_us",
           {{"mean", rounded(side.latency.mean_us())},
            {"p50", side.latency.quantile_us(0.5)},
            {"p90", side.latency.quantile_us(0.9)},
            {"p99", side.latency.quantile_us(0.99)},
            {"p999", side.latency.quantile_us(0.999)},
            {"max", side.latency.max_us()}}}};
}

Json case_json(const BenchResult& result) {
  Json reasons = Json::object();
  for (int i = 1; i < kReasonCount; ++i) {
    const std::uint64_t count = result.counts.reasons[static_cast<std::size_t>(i)];
    if (count > 0) reasons[std::string(to_string(static_cast<Reason>(i)))] = count;
  }
  return {{"block_bytes", result.plan.block_bytes},
          {"batch", result.plan.batch},
          {"threads", result.plan.threads},
          {"working_set_bytes", result.plan.threads * result.plan.chains * result.plan.batch * result.plan.block_bytes},
          {"seconds", rounded(result.seconds)},
          {"interrupted", result.interrupted},
          {"get", side_json(result.counts.get)},
          {"put", side_json(result.counts.put)},
          {"memcpy_bytes_per_second", rounded(result.counts.copy_bytes_per_second)},
          {"cut_short", std::move(reasons)},
          {"checked_blocks", result.counts.checked_blocks},
          {"wrong_blocks", result.counts.wrong_blocks}};
}

}  // namespace

std::string bench_table(std::span<const BenchResult> results) {
  TextTable table(
      {"block x batch, call", "calls", "calls/s", "GB/s", "memcpy GB/s", "share", "p50 us", "p99 us", "done"});
  std::uint64_t checked = 0;
  std::uint64_t wrong = 0;
  std::array<std::uint64_t, kReasonCount> reasons{};
  for (const BenchResult& result : results) {
    add_side(table, result, "get", result.counts.get);
    add_side(table, result, "put", result.counts.put);
    checked += result.counts.checked_blocks;
    wrong += result.counts.wrong_blocks;
    for (std::size_t i = 0; i < reasons.size(); ++i) reasons[i] += result.counts.reasons[i];
  }
  std::string out =
      table.text() + "\nRates by time inside the calls, summed over threads; memcpy by the same threads. " +
      with_commas(checked) + " blocks got were compared byte by byte, " + with_commas(wrong) + " of them wrong.\n";
  std::string cut;
  for (int i = 1; i < kReasonCount; ++i) {
    const std::uint64_t count = reasons[static_cast<std::size_t>(i)];
    if (count > 0)
      cut += (cut.empty() ? "" : ", ") + std::string(to_string(static_cast<Reason>(i))) + " " + with_commas(count);
  }
  return cut.empty() ? out : out + "Answers cut short: " + cut + "\n";
}

std::string bench_json(const BenchArguments& arguments, std::span<const BenchResult> results) {
  Json cases = Json::array();
  for (const BenchResult& result : results) cases.push_back(case_json(result));
  const Json out = {{"cache", arguments.cache_url},
                    {"threads", arguments.threads},
                    {"mix", arguments.mix},
                    {"in_place", arguments.in_place},
                    {"cases", std::move(cases)}};
  return out.dump(2);
}

}  // namespace reprise::cli
