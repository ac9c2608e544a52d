#include <memory>
#include <utility>

#include "bench/fixture/threads.h"
#include "bench/l1/cases.h"
#include "bench/l1/copy_rig.h"
#include "bench/l1/walk.h"

namespace reprise::bench {
namespace {

using Walk = Result<void> (*)(Resident&, const WalkPlan&, std::uint64_t);

Result<void> walk_cache_untimed(Resident& resident, const WalkPlan& plan, std::uint64_t seed) {
  return walk_cache(resident, plan, seed, nullptr);
}

// Blocks a microsecond, all threads together. Two threads take halves of the chains, one thread takes them all: the
// tables touched are the same.
Result<Sample> blocks_per_us(Resident& resident, Walk walk, std::size_t threads, std::size_t blocks,
                             std::uint64_t seed) {
  const WalkPlan all = plan_for(resident, blocks);
  const std::size_t share = all.chains / threads;
  const Result<double> took = run_threads(
      threads, [&](std::size_t t) { return walk(resident, {t * share, share, all.calls}, seed * threads + t); });
  if (!took) return std::unexpected(took.error());
  return Sample{static_cast<double>(threads * all.calls * resident.keys.length()) / (*took * 1e6)};
}

void add_scaling(Harness& harness, const std::string& what, Walk walk, std::size_t resident, Goal goal) {
  auto slot = std::make_shared<std::unique_ptr<Resident>>();
  auto round = std::make_shared<std::uint64_t>(0);
  const bool quick = harness.options().quick;
  const std::size_t blocks = quick ? resident / 50 : resident, run = quick ? 20'000 : 1'000'000;
  const std::string count = resident >= 1'000'000 ? "10^6" : "10^4";
  harness.add({.name = what + ", 2 threads on disjoint chains against 1, " + count + " resident",
               .unit = "blocks/us",
               .ours = [=] { return blocks_per_us(**slot, walk, 2, run, ++*round); },
               .limit = [=] { return blocks_per_us(**slot, walk, 1, run, ++*round); },
               .goal = goal,
               .prepare = [=]() -> Result<void> {
                 // At least one chain each, also in a quick run.
                 auto made = Resident::create(std::max<std::size_t>(blocks, 2 * 2'048), 2'048);
                 if (!made) return std::unexpected(made.error());
                 *slot = *std::move(made);
                 return {};
               },
               .cleanup = [=] { slot->reset(); }});
}

Result<Sample> two_thread_get(CopyRig& rig) {
  const Result<double> took = run_threads(2, [&](std::size_t t) { return rig.get_pass(t, 2, nullptr); });
  if (!took) return std::unexpected(took.error());
  return Sample{static_cast<double>(rig.bytes()) / *took / 1e6};
}

Result<Sample> two_thread_copy(CopyRig& rig) {
  double best = 0;
  for (const auto copy : {copy_plain, copy_non_temporal}) {
    const Result<double> took = run_threads(2, [&](std::size_t t) {
      for (std::size_t pass = 0; pass < rig.passes(); ++pass) copy(rig.half_of_get_ops(t));
      return Result<void>();
    });
    if (!took) return std::unexpected(took.error());
    best = std::max(best, static_cast<double>(rig.bytes()) / *took / 1e6);
  }
  return Sample{best};
}

void add_two_thread_get(Harness& harness, std::size_t batch) {
  auto rig = std::make_shared<std::unique_ptr<CopyRig>>();
  const CopyShape shape{.block = 1ULL << 20, .batch = batch, .quick = harness.options().quick};
  harness.add({.name = "get " + shape.text() + ", 2 threads on disjoint chains",
               .unit = "MB/s",
               .ours = [=] { return two_thread_get(**rig); },
               .limit = [=] { return two_thread_copy(**rig); },
               .goal = Goal::ratio_at_least(0.9),
               .prepare = [=]() -> Result<void> {
                 auto made = CopyRig::create(shape);
                 if (!made) return std::unexpected(made.error());
                 *rig = *std::move(made);
                 return (*rig)->hold_all();
               },
               .cleanup = [=] { rig->reset(); }});
}

}  // namespace

void add_thread_cases(Harness& harness) {
  for (const std::size_t resident : {10'000, 1'000'000}) {
    add_scaling(harness, "acquire + release", walk_cache_untimed, resident, Goal::ratio_at_least(1.5));
    add_scaling(harness, "the bare loop", walk_limit, resident, Goal::none());
  }
  add_two_thread_get(harness, 1);
  add_two_thread_get(harness, 32);
}

}  // namespace reprise::bench
