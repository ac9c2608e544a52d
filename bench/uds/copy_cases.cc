#include <functional>
#include <memory>
#include <utility>

#include "bench/attached/rig.h"
#include "bench/harness/machine.h"
#include "bench/uds/cases.h"

namespace reprise::bench {
namespace {

constexpr std::size_t kKiB = 1ULL << 10, kMiB = 1ULL << 20;

// Made when the case starts, dropped when it ends, shared by its closures.
struct Slot {
  std::unique_ptr<Rig> rig;
  std::unique_ptr<Buffer> other;  // stands for the daemon's memory when the limit copies
  std::vector<CopyOp> copies;     // of one run of the limit
  std::size_t round = 0;
};
using SharedSlot = std::shared_ptr<Slot>;

RigShape shape_of(const Harness& harness, std::size_t block, std::size_t batch) {
  const bool quick = harness.options().quick;
  return {.block = block,
          .batch = batch,
          .resident = quick ? 8 * kMiB : 4 * llc_bytes(),
          .per_run = quick ? 1 : 768 * kMiB};
}

Result<void> make(const SharedSlot& slot, const RigShape& shape) {
  auto rig = Rig::create(shape);
  if (!rig) return std::unexpected(rig.error());
  slot->rig = *std::move(rig);
  slot->other = std::make_unique<Buffer>(slot->rig->pass_bytes());
  return {};
}

void limit_is(Slot& slot, const std::vector<CopyOp>& pass, std::size_t passes) {
  slot.copies.clear();
  for (std::size_t i = 0; i < passes; ++i) slot.copies.insert(slot.copies.end(), pass.begin(), pass.end());
}

Result<Sample> best_copy(Slot& slot) {
  double bytes = 0;
  for (const CopyOp& op : slot.copies) bytes += static_cast<double>(op.size);
  return Sample{bytes / best_copy_seconds(slot.copies, slot.round++) / 1e6};
}

void add(Harness& harness, const SharedSlot& slot, const std::string& name, Goal goal,
         std::function<Result<void>()> prepare, std::function<Result<Sample>()> ours) {
  harness.add({.name = name,
               .unit = "MB/s",
               .ours = std::move(ours),
               .limit = [slot] { return best_copy(*slot); },
               .goal = goal,
               .prepare = std::move(prepare),
               .cleanup = [slot] { *slot = Slot(); }});
}

void add_get(Harness& harness, const RigShape& shape, Goal goal) {
  const auto slot = std::make_shared<Slot>();
  const auto prepare = [=]() -> Result<void> {
    if (auto made = make(slot, shape); !made) return made;
    limit_is(*slot, slot->rig->get_copies(*slot->other), slot->rig->passes());
    return slot->rig->fill();
  };
  add(harness, slot, "get " + shape.text(), goal, prepare, [=] { return mb_per_second(slot->rig->run_get()); });
}

void add_put(Harness& harness, const RigShape& shape, Goal goal) {
  const auto slot = std::make_shared<Slot>();
  const auto prepare = [=]() -> Result<void> {
    if (auto made = make(slot, shape); !made) return made;
    limit_is(*slot, slot->rig->put_copies(*slot->other), slot->rig->passes());
    return slot->rig->warm_puts();
  };
  add(harness, slot, "put " + shape.text(), goal, prepare, [=] { return mb_per_second(slot->rig->run_put()); });
}

// A client that has just attached: no page of the arena is in its tables, unless its own populating was faster.
void add_cold_get(Harness& harness, const RigShape& shape) {
  const auto slot = std::make_shared<Slot>();
  const auto prepare = [=]() -> Result<void> {
    if (auto made = make(slot, shape); !made) return made;
    limit_is(*slot, slot->rig->get_copies(*slot->other), 1);
    return slot->rig->fill();
  };
  add(harness, slot, "get " + shape.text() + ", first pass of a new client", Goal::none(), prepare,
      [=]() -> Result<Sample> {
        if (auto done = slot->rig->reattach(); !done) return std::unexpected(done.error());
        return mb_per_second(slot->rig->get_once());
      });
}

// Nor is there any memory behind the arena yet.
void add_cold_put(Harness& harness, RigShape shape) {
  const auto slot = std::make_shared<Slot>();
  shape.populate = false;
  const auto fresh = [=]() -> Result<void> {
    slot->rig.reset();
    if (auto made = make(slot, shape); !made) return made;
    limit_is(*slot, slot->rig->put_copies(*slot->other), 1);
    return {};
  };
  add(harness, slot, "put " + shape.text() + ", first pass into a new daemon", Goal::none(), fresh,
      [=]() -> Result<Sample> {
        if (auto made = fresh(); !made) return std::unexpected(made.error());
        return mb_per_second(slot->rig->put_once());
      });
}

}  // namespace

void add_copy_cases(Harness& harness) {
  const RigShape large = shape_of(harness, kMiB, harness.options().quick ? 4 : 32);
  add_get(harness, large, Goal::ratio_at_least(0.9));
  add_put(harness, large, Goal::ratio_at_least(0.85));
  for (const std::size_t block : {32 * kKiB, 256 * kKiB, kMiB, 4 * kMiB}) {
    if (harness.options().quick && block > 32 * kKiB) continue;
    add_get(harness, shape_of(harness, block, 1), Goal::none());
    add_put(harness, shape_of(harness, block, 1), Goal::none());
  }
  add_cold_get(harness, large);
  add_cold_put(harness, large);
  harness.note("copies",
               "policy lru, so that every put is accepted and evicts; the limit is the faster of memcpy and a "
               "non-temporal copy between buffers of this process, as large and in the same order");
}

}  // namespace reprise::bench
