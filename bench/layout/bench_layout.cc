// bench_layout: blocks between an engine's paged tensors and a cache's memory, beside copies of the same pieces.
#include <memory>

#include "bench/fixture/copy_limit.h"
#include "bench/harness/harness.h"
#include "bench/layout/paged_rig.h"

namespace reprise::bench {
namespace {

struct Slot {
  std::unique_ptr<PagedRig> rig;
  std::size_t passes = 1;
};

Result<Sample> run_ours(Slot& slot) {
  Sample sample;
  const double start = seconds();
  for (std::size_t pass = 0; pass < slot.passes; ++pass) {
    if (auto done = slot.rig->pass(&sample.latency_us); !done) return std::unexpected(done.error());
  }
  sample.value = static_cast<double>(slot.passes * slot.rig->bytes()) / (seconds() - start) / 1e6;
  return sample;
}

Sample run_memcpy(const Slot& slot, const std::vector<CopyOp>& ops) {
  const double start = seconds();
  for (std::size_t pass = 0; pass < slot.passes; ++pass) copy_plain(ops);
  return {static_cast<double>(slot.passes * slot.rig->bytes()) / (seconds() - start) / 1e6};
}

void add_case(Harness& harness, const PagedShape& shape, bool whole, Goal goal) {
  auto slot = std::make_shared<Slot>();
  slot->passes = shape.quick ? 1 : 6;
  harness.add({.name = shape.text() + (whole ? ", against whole blocks" : ""),
               .unit = "MB/s",
               .ours = [=] { return run_ours(*slot); },
               .limit = [=]() -> Result<Sample> {
                 return run_memcpy(*slot, whole ? slot->rig->whole_ops() : slot->rig->ops());
               },
               .goal = goal,
               .prepare = [=]() -> Result<void> {
                 auto made = PagedRig::create(shape);
                 if (!made) return std::unexpected(made.error());
                 slot->rig = *std::move(made);
                 return {};
               },
               .cleanup = [=] { slot->rig.reset(); }});
}

void add_cases(Harness& harness) {
  const bool quick = harness.options().quick;
  for (const std::size_t kib : {4, 32, 256}) {
    for (const bool gather : {true, false}) {
      const Goal goal = kib >= 32 ? Goal::ratio_at_least(0.8) : Goal::none();
      PagedShape shape{.piece = kib << 10, .layers = 16, .batch = 1, .gather = gather, .quick = quick};
      add_case(harness, shape, false, goal);
      if (quick) continue;
      shape.batch = 8;
      add_case(harness, shape, false, goal);
      add_case(harness, shape, true, goal);
      if (kib < 256) continue;
      shape.threads = 2;
      add_case(harness, shape, false, Goal::none());
    }
  }
  harness.note("limit",
               "memcpy of the same pieces between the same addresses in the same order; 'whole blocks': of as "
               "many bytes in whole blocks, contiguous on both sides. One thread.");
}

}  // namespace
}  // namespace reprise::bench

int main(int argc, char** argv) {
  using namespace reprise::bench;
  const auto options = parse_options("layout", argc, argv);
  if (!options) return usage_error(options.error());
  Harness harness("layout", *options);
  add_cases(harness);
  return harness.run();
}
