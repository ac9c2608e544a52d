#include "bench/harness/harness.h"

#include <cstdio>
#include <fstream>
#include <iostream>
#include <regex>
#include <utility>

#include "bench/harness/report.h"

namespace reprise::bench {
namespace {

// "ours, limit, again" or "again, limit, ours": ours and again are both neighbours of limit, in both orders.
Result<Pair> run_pair(const Case& c, bool ours_first, std::vector<double>& latency_us) {
  Pair pair{.ours_first = ours_first};
  const auto run_ours = [&]() -> Result<void> {
    Result<Sample> sample = c.ours();
    if (!sample) return std::unexpected(sample.error());
    pair.ours = sample->value;
    latency_us.insert(latency_us.end(), sample->latency_us.begin(), sample->latency_us.end());
    return {};
  };
  const auto run_limit = [&](std::optional<double>& into) -> Result<void> {
    Result<Sample> sample = c.limit();
    if (!sample) return std::unexpected(sample.error());
    into = sample->value;
    return {};
  };
  Result<void> done = ours_first || !c.limit ? run_ours() : run_limit(pair.limit_again);
  if (done && c.limit) done = run_limit(pair.limit);
  if (done && c.limit) done = ours_first ? run_limit(pair.limit_again) : run_ours();
  if (!done) return std::unexpected(done.error());
  return pair;
}

}  // namespace

Harness::Harness(std::string name, Options options) : name_(std::move(name)), options_(std::move(options)) {}

void Harness::add(Case c) {
  cases_.push_back(std::move(c));
}

void Harness::note(const std::string& key, const std::string& value) {
  notes_[key] = value;
}

Row Harness::run_case(const Case& c, std::size_t index, std::size_t count) const {
  Row row{.name = c.name, .unit = c.unit, .goal = c.goal};
  Result<void> ready = c.prepare ? c.prepare() : Result<void>();
  if (!ready) row.error = ready.error().message;
  std::vector<double> latency_us;
  const std::size_t pairs = c.pairs != 0 ? c.pairs : options_.pairs;
  for (std::size_t i = 0; i < pairs && row.error.empty(); ++i) {
    const Result<Pair> pair = run_pair(c, i % 2 == 0, latency_us);
    if (!pair) {
      row.error = pair.error().message;
      break;
    }
    row.pairs.push_back(*pair);
    std::fprintf(stderr, "[%zu/%zu] %s, pair %zu/%zu: %.4g %s", index, count, c.name.c_str(), i + 1, pairs, pair->ours,
                 c.unit.c_str());
    if (pair->limit) std::fprintf(stderr, ", limit %.4g and %.4g", *pair->limit, *pair->limit_again);
    std::fputc('\n', stderr);
  }
  if (c.cleanup) c.cleanup();
  if (!row.error.empty()) {
    std::fprintf(stderr, "[%zu/%zu] %s failed: %s\n", index, count, c.name.c_str(), row.error.c_str());
    return row;
  }
  row.summary = summarize(row.pairs, c.goal.allowance);
  row.p50_us = quantile(latency_us, 0.5);
  row.p99_us = quantile(latency_us, 0.99);
  if (!options_.quick) row.holds = verdict(c.goal, row.summary);
  return row;
}

int Harness::run() {
  const std::regex filter(options_.filter);
  std::vector<const Case*> chosen;
  for (const Case& c : cases_) {
    if (std::regex_search(c.name, filter)) chosen.push_back(&c);
  }
  bool ok = true;
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    rows_.push_back(run_case(*chosen[i], i + 1, chosen.size()));
    ok = ok && rows_.back().error.empty();
  }
  const Report report{name_, this_machine(), options_.quick, notes_, rows_};
  if (options_.json == "-") {
    std::cout << to_json(report);
    return ok ? 0 : 1;
  }
  std::cout << to_table(report) << std::flush;
  if (!options_.json.empty()) {
    std::ofstream out(options_.json, std::ios::trunc);
    out << to_json(report) << std::flush;
    if (!out) {
      std::cerr << "cannot write " << options_.json << '\n';
      ok = false;
    }
  }
  return ok ? 0 : 1;
}

}  // namespace reprise::bench
