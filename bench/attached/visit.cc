#include "bench/attached/visit.h"

#include <string>
#include <utility>

#include "bench/attached/raw_peer.h"

namespace reprise::bench {
namespace {

// Keys [0, 501) of every chain are put and number 250 is erased: 500 present, a hole, and the second half missing.
constexpr std::size_t kAsked = 1'000, kPut = 501, kHole = 250, kChains = 20, kPiece = 64, kTiny = 256;

Result<void> prepare_match(Visit& visit, Wire wire) {
  if (Result<void> done = visit.start(wire, 2 * kChains * kPut * kTiny, 1 << 20); !done) return done;
  Result<Namespace> ns = make_namespace(kTiny);
  if (!ns) return std::unexpected(ns.error());
  visit.sizes.push_back({*std::move(ns), KeySet(3, kChains, kAsked)});
  const Resident& added = visit.sizes.back();
  const std::vector<std::byte> payload(kTiny, std::byte{1});
  const std::vector<Piece> pieces = interleaved(kChains, kPut, kPiece, 9);
  if (Result<void> done = fill(*visit.cache, added.ns, added.keys, pieces, payload); !done) return done;
  for (std::size_t c = 0; c < kChains; ++c) {
    const Result<std::size_t> erased = visit.cache->erase(Chain(added.ns, added.keys.chain(c).subspan(kHole, 1)));
    if (!erased) return std::unexpected(erased.error());
    if (*erased != 1) return fail(ErrorCode::kInternal, "the block to erase was not there");
  }
  return {};
}

Result<void> match_one(Visit& visit) {
  const Resident& resident = visit.sizes[0];
  const Result<Match> match =
      visit.cache->match(Chain(resident.ns, resident.keys.chain(visit.at++ % resident.keys.chains())));
  if (!match) return std::unexpected(match.error());
  if (match->blocks == kHole && match->reason == Reason::kHole) return {};
  return fail(ErrorCode::kInternal, "match answered " + std::to_string(match->blocks) + " blocks, reason " +
                                        std::string(to_string(match->reason)) + "; 250 and hole were right");
}

}  // namespace

Result<void> Visit::start(Wire wire, std::uint64_t capacity, std::size_t raw_buffer) {
  auto started = Daemon::start({.capacity = capacity, .policy = "adaptive", .tcp = wire == Wire::kTcp});
  if (!started) return std::unexpected(started.error());
  daemon = *std::move(started);
  auto attached = daemon->attach(wire == Wire::kTcp);
  if (!attached) return std::unexpected(attached.error());
  cache = *std::move(attached);
  auto pair = RawPair::start(wire, raw_buffer);
  if (!pair) return std::unexpected(pair.error());
  raw = *std::move(pair);
  return {};
}

Result<void> Visit::add_resident(std::size_t block, std::size_t chains, std::size_t length) {
  Result<Namespace> ns = make_namespace(block);
  if (!ns) return std::unexpected(ns.error());
  sizes.push_back({*std::move(ns), KeySet(block, chains, length)});
  const Resident& added = sizes.back();
  const Buffer payload(block);
  return fill(*cache, added.ns, added.keys, interleaved(chains, length, length, 7), {payload.data(), block});
}

void Visit::end() {
  raw.reset();
  sizes.clear();
  cache.reset();
  daemon.reset();
}

Result<Sample> Visit::raw_trips(const Pace& pace, std::size_t reply) {
  return time_calls(pace, [&] { return raw->round_trip(0, reply); });
}

Pace pace_of(const Harness& harness, double gap_us) {
  const std::size_t full = gap_us == 0 ? 5'000 : 400;
  return {harness.options().quick ? 20 : full, gap_us};
}

void add_match(Harness& harness, Wire wire, double gap_us, Goal goal) {
  const auto visit = std::make_shared<Visit>();
  const Pace pace = pace_of(harness, gap_us);
  harness.add({.name = "match of 1,000 keys, 500 present, one hole, " + pace.text(),
               .unit = "us",
               .ours = [=] { return time_calls(pace, [&] { return match_one(*visit); }); },
               .limit = [=] { return visit->raw_trips(pace, sizeof(RawRequest)); },
               .goal = goal,
               .prepare = [=] { return prepare_match(*visit, wire); },
               .cleanup = [=] { visit->end(); }});
}

}  // namespace reprise::bench
