#include <memory>
#include <utility>

#include "bench/attached/raw_peer.h"
#include "bench/attached/rig.h"
#include "bench/attached/visit.h"
#include "bench/uds/cases.h"

namespace reprise::bench {
namespace {

constexpr std::size_t kKiB = 1ULL << 10, kMiB = 1ULL << 20;
constexpr std::size_t kSmall = 32 * kKiB;
constexpr std::size_t kChain = 32, kChains = 2;

Result<void> acquire_and_release(Visit& visit, const Resident& resident) {
  const Chain chain(resident.ns, resident.keys.chain(visit.at++ % resident.keys.chains()));
  const Result<Acquired> got = visit.cache->acquire(chain);
  if (!got) return std::unexpected(got.error());
  if (got->match.blocks == chain.size()) return {};
  return fail(ErrorCode::kInternal, "acquired " + std::to_string(got->match.blocks) + " of " +
                                        std::to_string(chain.size()) +
                                        " resident blocks: " + std::string(to_string(got->match.reason)));
}

Result<Sample> time_acquire(Visit& visit, const Resident& resident, const Pace& pace) {
  return time_calls(pace, [&] { return acquire_and_release(visit, resident); });
}

void add_acquire(Harness& harness, std::size_t block, double gap_us) {
  const auto visit = std::make_shared<Visit>();
  const Pace pace = pace_of(harness, gap_us);
  harness.add({.name = "acquire + release, 32 x " + size_text(block) + ", " + pace.text(),
               .unit = "us",
               .ours = [=] { return time_acquire(*visit, visit->sizes[0], pace); },
               .limit = [=] { return visit->raw_trips(pace, sizeof(RawRequest)); },
               .goal = Goal::limit_plus(1, 20),
               .prepare = [=]() -> Result<void> {
                 const Result<void> done = visit->start(Wire::kUnix, 2 * kChains * kChain * block, kMiB);
                 return done ? visit->add_resident(block, kChains, kChain) : done;
               },
               .cleanup = [=] { visit->end(); }});
}

// Both sizes in one daemon; the smaller one is the limit.
void add_independence(Harness& harness, std::size_t block) {
  const auto visit = std::make_shared<Visit>();
  const Pace pace = pace_of(harness, 0);
  harness.add({.name = "acquire + release, 32 x " + size_text(block) + " against 32 KiB",
               .unit = "us",
               .ours = [=] { return time_acquire(*visit, visit->sizes[0], pace); },
               .limit = [=] { return time_acquire(*visit, visit->sizes[1], pace); },
               .goal = Goal::ratio_at_most(1.2),
               .prepare = [=]() -> Result<void> {
                 Result<void> done = visit->start(Wire::kUnix, 2 * kChains * kChain * (block + kSmall), kMiB);
                 if (done) done = visit->add_resident(block, kChains, kChain);
                 return done ? visit->add_resident(kSmall, kChains, kChain) : done;
               },
               .cleanup = [=] { visit->end(); }});
}

Result<void> get_one(Visit& visit, const Buffer& out) {
  const Resident& resident = visit.sizes[0];
  const std::size_t i = visit.at++ % resident.keys.chains();
  const MutableBytes place = out.slice(i, kSmall);
  const Result<Match> got = visit.cache->get(Chain(resident.ns, resident.keys.chain(i)), 0, std::span(&place, 1));
  if (!got) return std::unexpected(got.error());
  return got->blocks == 1 ? Result<void>() : fail(ErrorCode::kInternal, "get missed a resident block");
}

void add_small_get(Harness& harness, double gap_us) {
  const auto visit = std::make_shared<Visit>();
  const auto out = std::make_shared<std::unique_ptr<Buffer>>();
  const Pace pace = pace_of(harness, gap_us);
  const std::size_t chains = harness.options().quick ? 32 : 1'024;  // 32 MiB, as the raw pair's buffers
  harness.add({.name = "get 32 KiB, " + pace.text(),
               .unit = "us",
               .ours = [=] { return time_calls(pace, [&] { return get_one(*visit, **out); }); },
               .limit = [=] { return visit->raw_trips(pace, kSmall); },
               .goal = Goal::ratio_at_most(2),
               .prepare = [=]() -> Result<void> {
                 *out = std::make_unique<Buffer>(chains * kSmall);
                 const Result<void> done = visit->start(Wire::kUnix, 2 * chains * kSmall, chains * kSmall);
                 return done ? visit->add_resident(kSmall, chains, 1) : done;
               },
               .cleanup = [=] { visit->end(), out->reset(); }});
}

}  // namespace

void add_latency_cases(Harness& harness) {
  const bool quick = harness.options().quick;
  for (const double gap_us : {0.0, 500.0}) {
    for (const std::size_t block : {kSmall, 256 * kKiB, kMiB, 4 * kMiB}) {
      if (!quick || block == kSmall) add_acquire(harness, block, gap_us);
    }
  }
  for (const std::size_t block : {256 * kKiB, kMiB, 4 * kMiB}) {
    if (!quick || block == 256 * kKiB) add_independence(harness, block);
  }
  for (const double gap_us : {0.0, 500.0}) add_small_get(harness, gap_us);
  for (const double gap_us : {0.0, 500.0}) add_match(harness, Wire::kUnix, gap_us, Goal::value_at_most(100));
  harness.note("round trips",
               "the limit is 64 bytes each way (get: 64 bytes there, 32 KiB back) between two processes on a Unix "
               "stream socket, blocking calls; value and limit are medians of a run");
}

}  // namespace reprise::bench
