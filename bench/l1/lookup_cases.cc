#include <memory>
#include <utility>

#include "bench/l1/cases.h"
#include "bench/l1/walk.h"

namespace reprise::bench {
namespace {

constexpr std::size_t kBlocksPerRun = 1'000'000;

std::size_t scaled(const Harness& harness, std::size_t full) {
  return harness.options().quick ? full / 50 : full;
}

std::string count_name(std::size_t n) {
  return n >= 1'000'000 ? "10^6" : n >= 100'000 ? "10^5" : "10^4";
}

// Built when the case starts, dropped when it ends, shared by its closures.
struct Slot {
  std::unique_ptr<Resident> first, second;
  std::uint64_t round = 0;
};

Result<Sample> us_per_block(Resident& resident, std::size_t blocks, std::uint64_t seed, bool latencies) {
  Sample sample;
  const WalkPlan plan = plan_for(resident, blocks);
  const double start = seconds();
  const Result<void> done = walk_cache(resident, plan, seed, latencies ? &sample.latency_us : nullptr);
  if (!done) return std::unexpected(done.error());
  sample.value = (seconds() - start) * 1e6 / static_cast<double>(plan.calls * resident.keys.length());
  return sample;
}

Result<Sample> us_per_block_limit(Resident& resident, std::size_t blocks, std::uint64_t seed) {
  const WalkPlan plan = plan_for(resident, blocks);
  const double start = seconds();
  const Result<void> done = walk_limit(resident, plan, seed);
  if (!done) return std::unexpected(done.error());
  return Sample{(seconds() - start) * 1e6 / static_cast<double>(plan.calls * resident.keys.length())};
}

// Makes what `make` gives the slot's, as a case's `prepare`.
Result<void> keep_in(std::unique_ptr<Resident>& where, std::size_t blocks, std::size_t length) {
  Result<std::unique_ptr<Resident>> made = Resident::create(blocks, length);
  if (!made) return std::unexpected(made.error());
  where = *std::move(made);
  return {};
}

void add_acquire(Harness& harness, std::size_t resident, double ceiling) {
  auto slot = std::make_shared<Slot>();
  const std::size_t blocks = scaled(harness, resident), run = scaled(harness, kBlocksPerRun);
  harness.add({.name = "acquire + release, 2,048-block chain, " + count_name(resident) + " resident",
               .unit = "us/block",
               .ours = [=] { return us_per_block(*slot->first, run, ++slot->round, true); },
               .limit = [=] { return us_per_block_limit(*slot->first, run, ++slot->round); },
               .goal = Goal::value_at_most(ceiling),
               .prepare = [=] { return keep_in(slot->first, blocks, 2'048); },
               .cleanup = [=] { slot->first.reset(); }});
}

void add_chain_length(Harness& harness, std::size_t resident) {
  auto slot = std::make_shared<Slot>();
  const std::size_t blocks = scaled(harness, resident), run = scaled(harness, kBlocksPerRun);
  harness.add({.name = "acquire + release, 8,192-block chains against 64, " + count_name(resident) + " resident",
               .unit = "us/block",
               .ours = [=] { return us_per_block(*slot->first, run, ++slot->round, false); },
               .limit = [=] { return us_per_block(*slot->second, run, ++slot->round, false); },
               .goal = Goal::ratio_at_most(1.25),
               .prepare = [=]() -> Result<void> {
                 Result<void> made = keep_in(slot->first, blocks, 8'192);
                 return made ? keep_in(slot->second, blocks, 64) : made;
               },
               .cleanup = [=] { slot->first.reset(), slot->second.reset(); }});
}

// Keys [0, 501) of every chain are put and number 250 is erased: 500 present, a hole, and the second half missing.
constexpr std::size_t kAsked = 1'000, kPut = 501, kHole = 250;

struct MatchRig {
  Namespace ns;
  KeySet keys;
  std::unique_ptr<Cache> cache;
};

Result<std::unique_ptr<MatchRig>> make_match_rig(std::size_t blocks) {
  Result<Namespace> ns = make_namespace(kTinyBlock);
  if (!ns) return std::unexpected(ns.error());
  const std::size_t chains = std::max<std::size_t>(1, blocks / kPut);
  auto cache = open_populated(memory_only(chains * kPut * kTinyBlock));
  if (!cache) return std::unexpected(cache.error());
  KeySet keys(3, chains, kAsked);
  std::vector<std::byte> payload(kTinyBlock, std::byte{1});
  if (auto filled = fill(**cache, *ns, keys, interleaved(chains, kPut, kPiece, 9), payload); !filled) {
    return std::unexpected(filled.error());
  }
  for (std::size_t c = 0; c < chains; ++c) {
    const Result<std::size_t> erased = (*cache)->erase(Chain(*ns, keys.chain(c).subspan(kHole, 1)));
    if (!erased) return std::unexpected(erased.error());
    if (*erased != 1) return fail(ErrorCode::kInternal, "the block to erase was not there");
  }
  return std::unique_ptr<MatchRig>(new MatchRig{*std::move(ns), std::move(keys), *std::move(cache)});
}

Result<Sample> match_us(MatchRig& rig, std::size_t calls, std::uint64_t seed) {
  Sample sample;
  Random random(seed);
  for (std::size_t i = 0; i < calls; ++i) {
    const Chain chain(rig.ns, rig.keys.chain(random.below(rig.keys.chains())));
    const double start = seconds();
    const Result<Match> match = rig.cache->match(chain);
    sample.latency_us.push_back((seconds() - start) * 1e6);
    if (!match) return std::unexpected(match.error());
    if (match->blocks != kHole || match->reason != Reason::kHole) {
      return fail(ErrorCode::kInternal, "match answered " + std::to_string(match->blocks) + " blocks, reason " +
                                            std::string(to_string(match->reason)) + "; 250 and hole were right");
    }
  }
  sample.value = quantile(sample.latency_us, 0.5);
  return sample;
}

void add_match(Harness& harness, std::size_t resident) {
  auto rig = std::make_shared<std::unique_ptr<MatchRig>>();
  auto round = std::make_shared<std::uint64_t>(0);
  const std::size_t blocks = scaled(harness, resident), calls = scaled(harness, 5'000);
  harness.add({.name = "match of 1,000 keys, 500 present, one hole, " + count_name(resident) + " resident",
               .unit = "us",
               .ours = [=] { return match_us(**rig, calls, ++*round); },
               .goal = Goal::value_at_most(40),
               .prepare = [=]() -> Result<void> {
                 auto made = make_match_rig(blocks);
                 if (!made) return std::unexpected(made.error());
                 *rig = *std::move(made);
                 return {};
               },
               .cleanup = [=] { rig->reset(); }});
}

}  // namespace

void add_lookup_cases(Harness& harness) {
  add_acquire(harness, 10'000, 0.15);
  add_acquire(harness, 1'000'000, 0.35);
  add_chain_length(harness, 100'000);
  add_chain_length(harness, 1'000'000);
  add_match(harness, 10'000);
  add_match(harness, 1'000'000);
}

}  // namespace reprise::bench
