#include <memory>
#include <utility>

#include "bench/l1/cases.h"
#include "bench/l1/copy_rig.h"

namespace reprise::bench {
namespace {

struct Slot {
  std::unique_ptr<CopyRig> rig;
  std::size_t round = 0;
};
using SharedSlot = std::shared_ptr<Slot>;

Result<void> make_rig(const SharedSlot& slot, const CopyShape& shape) {
  auto made = CopyRig::create(shape);
  if (!made) return std::unexpected(made.error());
  slot->rig = *std::move(made);
  return {};
}

// The faster of the two copies of one run, in turn over all its passes.
Sample best_copy(Slot& slot, std::span<const CopyOp> ops) {
  double took = 0;
  const std::size_t round = slot.round++;
  std::vector<CopyOp> all;
  for (std::size_t pass = 0; pass < slot.rig->passes(); ++pass) all.insert(all.end(), ops.begin(), ops.end());
  took = best_copy_seconds(all, round);
  return Sample{static_cast<double>(slot.rig->bytes()) / took / 1e6};
}

Result<Sample> run_get(Slot& slot) {
  Sample sample;
  const double start = seconds();
  if (auto done = slot.rig->get_pass(0, 1, &sample.latency_us); !done) return std::unexpected(done.error());
  sample.value = static_cast<double>(slot.rig->bytes()) / (seconds() - start) / 1e6;
  return sample;
}

Result<Sample> run_put(Slot& slot) {
  Sample sample;
  slot.rig->make_new_keys();
  const double start = seconds();
  if (auto done = slot.rig->put_pass(&sample.latency_us); !done) return std::unexpected(done.error());
  sample.value = static_cast<double>(slot.rig->bytes()) / (seconds() - start) / 1e6;
  if (auto learnt = slot.rig->learn_put_ops(); !learnt) return std::unexpected(learnt.error());
  return sample;
}

std::string name_of(const char* what, const CopyShape& shape) {
  return std::string(what) + " " + shape.text() + (shape.with_checksum ? ", with checksum" : ", no checksum");
}

// The bars of the issue: large blocks and the smallest; 256 KiB is shown without one.
Goal bar(const CopyShape& shape, double large, double small) {
  if (shape.block >= 1ULL << 20) return Goal::ratio_at_least(large);
  return shape.block <= 32ULL << 10 ? Goal::ratio_at_least(small) : Goal::none();
}

void add_get(Harness& harness, const CopyShape& shape) {
  auto slot = std::make_shared<Slot>();
  harness.add({.name = name_of("get", shape),
               .unit = "MB/s",
               .ours = [=] { return run_get(*slot); },
               .limit = [=]() -> Result<Sample> { return best_copy(*slot, slot->rig->get_ops()); },
               .goal = bar(shape, 0.95, 0.6),
               .prepare = [=]() -> Result<void> {
                 Result<void> made = make_rig(slot, shape);
                 return made ? slot->rig->hold_all() : made;
               },
               .cleanup = [=] { slot->rig.reset(); }});
}

void add_put(Harness& harness, const CopyShape& shape) {
  auto slot = std::make_shared<Slot>();
  harness.add({.name = name_of("put", shape),
               .unit = "MB/s",
               .ours = [=] { return run_put(*slot); },
               .limit = [=]() -> Result<Sample> { return best_copy(*slot, slot->rig->put_ops()); },
               .goal = bar(shape, 0.9, 0.45),
               .prepare = [=]() -> Result<void> {
                 if (auto made = make_rig(slot, shape); !made) return made;
                 const Result<Sample> warm = run_put(*slot);  // the first limit needs the places of a put
                 return warm ? Result<void>() : std::unexpected(warm.error());
               },
               .cleanup = [=] { slot->rig.reset(); }});
}

}  // namespace

void add_copy_cases(Harness& harness) {
  for (const bool with_checksum : {false, true}) {
    for (const std::size_t block : {32ULL << 10, 256ULL << 10, 1ULL << 20, 4ULL << 20}) {
      for (const std::size_t batch : {1, 32}) {
        const CopyShape shape{block, batch, with_checksum, harness.options().quick};
        if (shape.quick && block * batch > 8ULL << 20) continue;
        add_get(harness, shape);
        add_put(harness, shape);
      }
    }
  }
  harness.note("copies",
               "policy lru, so that every put is accepted and evicts; the limit is the faster of memcpy and "
               "a non-temporal copy over the same addresses in the same order");
}

}  // namespace reprise::bench
