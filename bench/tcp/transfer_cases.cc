#include <functional>
#include <memory>
#include <utility>

#include "bench/attached/raw_pair.h"
#include "bench/attached/raw_peer.h"
#include "bench/attached/rig.h"
#include "bench/tcp/cases.h"
#include "testing/certificates.h"
#include "testing/temp_dir.h"

namespace reprise::bench {
namespace {

constexpr std::size_t kKiB = 1ULL << 10, kMiB = 1ULL << 20;
constexpr std::size_t kInFlight = 32;

enum class Way { kGet, kPut };
using Figure = Result<Sample> (*)(Result<Run>);

// Made when the case starts, dropped when it ends, shared by its closures.
struct Slot {
  std::unique_ptr<Rig> rig;
  std::unique_ptr<RawPair> raw;
  std::unique_ptr<testing::TempDir> certificates;
};
using SharedSlot = std::shared_ptr<Slot>;

RigShape shape_of(const Harness& harness, std::size_t block, std::size_t batch) {
  const bool quick = harness.options().quick;
  return {.block = block,
          .batch = batch,
          .resident = quick ? 8 * kMiB : 256 * kMiB,
          .per_run = quick ? 1 : 768 * kMiB,
          .over_tcp = true};
}

Result<void> prepare(Slot& slot, Way way, const RigShape& shape) {
  auto rig = Rig::create(shape);
  if (!rig) return std::unexpected(rig.error());
  slot.rig = *std::move(rig);
  auto raw = RawPair::start(Wire::kTcp, shape.resident);
  if (!raw) return std::unexpected(raw.error());
  slot.raw = *std::move(raw);
  return way == Way::kGet ? slot.rig->fill() : slot.rig->warm_puts();
}

// As many bytes as a run of ours, by calls of one block.
Result<Run> raw_calls(Slot& slot, Way way, std::size_t block) {
  const std::size_t calls = slot.rig->passes() * slot.rig->pass_bytes() / block;
  const auto cpu = [&] { return slot.raw->cpu_seconds(); };
  return measure(static_cast<double>(calls * block), cpu, [&](std::vector<double>&) {
    Result<void> done;
    for (std::size_t i = 0; done && i < calls; ++i) {
      done = way == Way::kGet ? slot.raw->round_trip(0, block) : slot.raw->round_trip(block, sizeof(RawRequest));
    }
    return done;
  });
}

Result<Run> raw_stream(Slot& slot, std::size_t block) {
  const std::size_t replies = slot.rig->passes() * slot.rig->pass_bytes() / block;
  const auto cpu = [&] { return slot.raw->cpu_seconds(); };
  return measure(static_cast<double>(replies * block), cpu,
                 [&](std::vector<double>&) { return slot.raw->stream(replies, block, kInFlight); });
}

void add_calls(Harness& harness, Way way, std::size_t block, Figure figure, Goal goal) {
  const auto slot = std::make_shared<Slot>();
  const RigShape shape = shape_of(harness, block, 1);
  const bool rate = figure == mb_per_second;
  harness.add({.name = std::string(way == Way::kGet ? "get " : "put ") + size_text(block) +
                       (rate ? "" : ", processor time of both sides"),
               .unit = rate ? "MB/s" : "s/GB",
               .ours = [=] { return figure(way == Way::kGet ? slot->rig->run_get() : slot->rig->run_put()); },
               .limit = [=] { return figure(raw_calls(*slot, way, block)); },
               .goal = goal,
               .prepare = [=] { return prepare(*slot, way, shape); },
               .cleanup = [=] { *slot = Slot(); }});
}

// 32 small blocks under way: in one call, or as many calls at once on connections of their own.
void add_small(Harness& harness, std::size_t threads, Goal goal) {
  const auto slot = std::make_shared<Slot>();
  RigShape shape = shape_of(harness, 32 * kKiB, threads == 1 ? kInFlight : 1);
  shape.client.attach_connections = static_cast<std::uint32_t>(threads);
  harness.add({.name = threads == 1 ? "get 32 x 32 KiB in one call, against a stream with 32 in flight"
                                    : "get 32 KiB by 32 threads, against a stream with 32 in flight",
               .unit = "MB/s",
               .ours = [=] { return mb_per_second(slot->rig->run_get(threads)); },
               .limit = [=] { return mb_per_second(raw_stream(*slot, shape.block)); },
               .goal = goal,
               .prepare = [=] { return prepare(*slot, Way::kGet, shape); },
               .cleanup = [=] { *slot = Slot(); }});
}

// The limit stays the bare connection: what encryption and the cache cost together.
void add_tls(Harness& harness, Way way, std::size_t block) {
  const auto slot = std::make_shared<Slot>();
  harness.add({.name = std::string(way == Way::kGet ? "get " : "put ") + size_text(block) + ", TLS, against no TLS",
               .unit = "MB/s",
               .ours = [=] { return mb_per_second(way == Way::kGet ? slot->rig->run_get() : slot->rig->run_put()); },
               .limit = [=] { return mb_per_second(raw_calls(*slot, way, block)); },
               .prepare = [=, shape = shape_of(harness, block, 1)]() mutable -> Result<void> {
                 slot->certificates = std::make_unique<testing::TempDir>();
                 const testing::Authority authority(slot->certificates->path(), "bench-authority");
                 const testing::CertificateFiles server = authority.issue("bench-server", "IP:127.0.0.1");
                 shape.daemon_args = {"--tls-cert", server.cert, "--tls-key", server.key};
                 shape.client.attach_tls_ca = authority.cert();
                 return prepare(*slot, way, shape);
               },
               .cleanup = [=] { *slot = Slot(); }});
}

}  // namespace

void add_transfer_cases(Harness& harness) {
  const bool quick = harness.options().quick;
  const auto skipped = [&](std::size_t block) { return quick && block != 256 * kKiB; };
  for (const std::size_t block : {256 * kKiB, kMiB, 4 * kMiB}) {
    if (skipped(block)) continue;
    add_calls(harness, Way::kGet, block, mb_per_second, Goal::ratio_at_least(0.9));
    add_calls(harness, Way::kPut, block, mb_per_second, Goal::ratio_at_least(1.0));
  }
  add_small(harness, 1, Goal::ratio_at_least(0.9));
  if (!quick) add_small(harness, kInFlight, Goal::none());
  for (const std::size_t block : {256 * kKiB, kMiB, 4 * kMiB}) {
    if (skipped(block)) continue;
    add_calls(harness, Way::kGet, block, cpu_seconds_per_gb, Goal::ratio_at_most(1.25));
    add_calls(harness, Way::kPut, block, cpu_seconds_per_gb, Goal::ratio_at_most(1.25));
  }
  for (const Way way : {Way::kGet, Way::kPut}) add_tls(harness, way, quick ? 256 * kKiB : kMiB);
  harness.note(
      "raw pair",
      "two processes on loopback TCP with TCP_NODELAY, blocking calls: a 64-byte request, and the payload from "
      "and to buffers of 256 MiB walked through in circles; nothing is verified");
}

}  // namespace reprise::bench
