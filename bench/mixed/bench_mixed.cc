// bench_mixed: how much of the arena stays usable when block sizes from 4 KiB to 4 MiB share it and the mix shifts,
// and how long a call can take meanwhile.
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "bench/harness/harness.h"
#include "bench/mixed/load.h"

namespace reprise::bench {
namespace {

// One load, run when the first of its rows asks.
struct Run {
  LoadOptions options;
  bool done = false;
  LoadResult result;
};

Result<void> ensure(Run& run) {
  if (run.done) return {};
  Result<LoadResult> result = run_load(run.options);
  if (!result) return std::unexpected(result.error());
  if (result->wrong_blocks != 0) {
    return fail(ErrorCode::kInternal, std::to_string(result->wrong_blocks) + " blocks had wrong bytes");
  }
  run.result = *std::move(result);
  run.done = true;
  return {};
}

void add_rows(Harness& harness, const LoadOptions& options) {
  const auto run = std::make_shared<Run>(Run{options, false, {}});
  const std::string prefix = options.policy + (options.odd_sizes ? ", odd sizes too: " : ": ");
  const auto add = [&](const std::string& name, const std::string& unit, Goal goal, auto figure) {
    harness.add({.name = prefix + name,
                 .unit = unit,
                 .ours = [=]() -> Result<Sample> { return figure(run->result); },
                 .goal = goal,
                 .prepare = [=] { return ensure(*run); },
                 .pairs = 1});
  };
  using R = const LoadResult&;
  const auto count = [](std::uint64_t n) { return Sample{static_cast<double>(n)}; };
  add("capacity in use, least", "share", Goal::value_at_least(0.9), [](R r) { return Sample{r.min_used}; });
  for (std::size_t i = 0; i < kPhaseCount; ++i) {
    add("  in phase '" + phase_name(i) + "', least", "share", Goal::none(),
        [i](R r) { return Sample{r.min_used_by_phase.at(i)}; });
    add("  of the blocks offered in it, declined", "share", Goal::none(),
        [i](R r) { return Sample{r.declined_by_phase.at(i)}; });
  }
  add("capacity in use, mean", "share", Goal::none(), [](R r) { return Sample{r.mean_used}; });
  add("capacity under lease, most", "share", Goal::value_at_most(options.pinned_share),
      [](R r) { return Sample{r.peak_pinned}; });
  const auto longest = [&](const std::string& call, std::vector<double> LoadResult::* times,
                           Longest LoadResult::* top) {
    add("longest " + call + " (aim: 10)", "ms", Goal::none(), [=](R r) { return Sample{(r.*top).wall_ms, r.*times}; });
    add("  of it on the processor", "ms", Goal::none(), [=](R r) { return Sample{(r.*top).cpu_ms}; });
    add("  of it bytes asked for", "MiB", Goal::none(),
        [=](R r) { return Sample{static_cast<double>((r.*top).bytes) / (1 << 20)}; });
  };
  longest("put", &LoadResult::put_us, &LoadResult::longest_put);
  longest("get", &LoadResult::get_us, &LoadResult::longest_get);
  longest("acquire", &LoadResult::acquire_us, &LoadResult::longest_acquire);
  longest("release", &LoadResult::release_us, &LoadResult::longest_release);
  add("calls, with making and checking bytes", "calls/s", Goal::none(),
      [](R r) { return Sample{static_cast<double>(r.calls) / r.seconds}; });
  add("blocks accepted", "blocks", Goal::none(), [=](R r) { return count(r.accepted); });
  add("blocks declined", "blocks", Goal::none(), [=](R r) { return count(r.declined); });
  add("puts cut short for want of room", "calls", Goal::none(), [=](R r) { return count(r.full); });
  add("blocks read", "blocks", Goal::none(), [=](R r) { return count(r.blocks_read); });
  add("  of them checked byte by byte, all right", "blocks", Goal::none(),
      [=](R r) { return count(r.blocks_checked); });
}

}  // namespace
}  // namespace reprise::bench

int main(int argc, char** argv) {
  using namespace reprise::bench;
  std::string capacity_mib = "1024", pinned_percent = "25";
  const auto options = parse_options("mixed", argc, argv,
                                     {{"--capacity-mib", "payload in memory", &capacity_mib},
                                      {"--pinned-percent", "of it under lease at most", &pinned_percent}});
  if (!options) return usage_error(options.error());
  const std::uint64_t mib = options->quick ? 128 : std::strtoull(capacity_mib.c_str(), nullptr, 10);
  if (mib < 64) return usage_error({reprise::ErrorCode::kInvalid, "--capacity-mib must be at least 64"});
  Harness harness("mixed", *options);
  for (const bool odd_sizes : {false, true}) {
    for (const char* policy : {"lru", "adaptive"}) {
      LoadOptions load{.capacity = mib << 20, .policy = policy, .odd_sizes = odd_sizes};
      load.pinned_share = std::strtod(pinned_percent.c_str(), nullptr) / 100;
      if (options->quick) load.volume = 0.5;
      add_rows(harness, load);
    }
  }
  harness.note("load", "8 phases of " + std::string(options->quick ? "0.5" : "2") +
                           " capacities each, 2 threads; each put is followed by a get, every third by an acquire");
  return harness.run();
}
