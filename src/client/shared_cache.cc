#include "client/shared_cache.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "base/kernels.h"
#include "client/arguments.h"
#include "client/shared_lease.h"

namespace reprise {
namespace {

using std::chrono::steady_clock;

/// The bytes of each block that a run of n holds, chain after chain.
std::vector<std::uint64_t> lengths_of(std::span<const Chain> chains, std::size_t n) {
  std::vector<std::uint64_t> lengths;
  lengths.reserve(needed_total(chains, n));
  for (const Chain& chain : chains) {
    const NeededBlocks needed = needed_blocks(chain.rule, n);
    lengths.insert(lengths.end(), needed.last - needed.first, chain.ns->block_bytes());
  }
  return lengths;
}

void decline(Stored& stored, std::size_t block, Reason reason) {
  ++stored.declined;
  stored.declined_blocks[block] = true;
  if (stored.reason == Reason::kNone) stored.reason = reason;
}

}  // namespace

// --- reading ---------------------------------------------------------------------------------------------------------

Result<Acquired> SharedCache::acquire(std::span<const Chain> chains, Deadline deadline) {
  if (auto ok = check_request(chains); !ok) return std::unexpected(ok.error());
  if (longest_run(chains) == 0) return Acquired{};
  const auto without = [](Reason reason) { return Acquired{.match = {.reason = reason}, .lease = {}}; };
  deadline = pool_->limited(deadline);
  const auto session = pool_->borrow(deadline);
  if (!session) return without(session.reason());
  const TimePoint asked = steady_clock::now();
  const auto answer = ask_about<wire::Leased>(*session, wire::Type::kAcquire, chains, patience_until(deadline));
  if (!answer) {
    const auto reason = meaning_of(*session, answer.error());
    if (!reason) return std::unexpected(reason.error());
    return without(*reason);
  }
  const auto match = match_of((*answer)->match(), chains);
  if (!match) return without(nonsense(*session, "a run longer than what was asked about"));
  if (match->blocks == 0) return Acquired{.match = *match, .lease = {}};
  auto parts = lease_parts_of(**answer, *session, lengths_of(chains, match->blocks));
  if (!parts) return without(nonsense(*session, "a lease that cannot be"));
  return Acquired{.match = *match,
                  .lease = Lease(std::make_unique<SharedLease>(pool_, session.share(), std::move(*parts), asked))};
}

Result<Lease> SharedCache::attach(const LeaseToken& token) {
  const Deadline deadline = pool_->limited(Deadline::never());
  const auto session = pool_->borrow(deadline);
  if (!session) return fail(ErrorCode::kIo, "the server is away: nothing can be attached to");
  const wire::Id id = wire::to_wire(token);
  session->builder.Clear();
  session->builder.Finish(wire::CreateAttach(session->builder, &id));
  const TimePoint asked = steady_clock::now();
  const auto answer =
      session->link->ask<wire::Leased>(wire::Type::kAttach, wire::body_of(session->builder), patience_until(deadline));
  if (!answer) return std::unexpected(answer.error());
  if ((*answer)->lease() == 0) return fail(ErrorCode::kIo, "the server is too busy to attach to a lease now");
  auto parts = lease_parts_of(**answer, *session, std::nullopt);
  if (!parts) return std::unexpected(session->link->condemn("a lease that cannot be"));
  return Lease(std::make_unique<SharedLease>(pool_, session.share(), std::move(*parts), asked));
}

Result<Match> SharedCache::get(std::span<const Chain> chains, std::size_t from, std::span<const MutableBytes> out,
                               Deadline deadline) {
  const auto each = blocks_each(chains, from, out);
  if (!each) return std::unexpected(each.error());
  if (*each == 0) return Match{};
  const std::vector<Chain> parts = parts_of(chains, from, *each);
  const auto acquired = acquire(parts, deadline);
  if (!acquired) return std::unexpected(acquired.error());
  const auto& [match, lease] = *acquired;
  std::size_t next = 0;
  for (std::size_t c = 0; c < parts.size(); ++c) {
    const NeededBlocks needed = needed_blocks(parts[c].rule, match.blocks);
    for (std::size_t i = needed.first; i < needed.last; ++i) copy_block(out[c * *each + i], lease.block(next++));
  }
  // A process that was stopped in between may have copied what replaced the blocks.
  if (!lease.still_valid()) return Match{.reason = Reason::kExpired};
  return match;
}

// --- writing ---------------------------------------------------------------------------------------------------------

Result<std::unique_ptr<SharedReservation>> SharedCache::ask_for_memory(const Chain& chain, std::size_t from,
                                                                       Deadline deadline) {
  const std::size_t count = chain.size() - from;
  const auto without = [&](Reason reason) {
    return std::make_unique<SharedReservation>(pool_, nullptr, 0,
                                               std::vector(count, SharedReservation::Place{{}, reason}));
  };
  if (count == 0) return without(Reason::kNone);
  const auto session = pool_->borrow(deadline);
  if (!session) return without(session.reason());
  const Patience patience = patience_until(deadline);
  auto ok = open_namespaces(*session, std::span(&chain, 1), patience);
  auto answer = [&]() -> Result<const wire::Reserved*> {
    if (!ok) return std::unexpected(ok.error());
    session->builder.Clear();
    const auto wired = chains_to_wire(*session, std::span(&chain, 1));
    session->builder.Finish(wire::CreateReserve(session->builder, wired[0], from));
    return session->link->ask<wire::Reserved>(wire::Type::kReserve, wire::body_of(session->builder), patience);
  }();
  if (!answer) {
    const auto reason = meaning_of(*session, answer.error());
    if (!reason) return std::unexpected(reason.error());
    return without(*reason);
  }
  auto places = places_of(**answer, *session, count, chain.ns->block_bytes());
  if (!places) return without(nonsense(*session, "a reservation that cannot be"));
  return std::make_unique<SharedReservation>(pool_, session.share(), (*answer)->reservation(), std::move(*places));
}

Result<Reservation> SharedCache::reserve(const Chain& chain, std::size_t from, Deadline deadline) {
  if (auto ok = check_request(std::span(&chain, 1)); !ok) return std::unexpected(ok.error());
  if (from > chain.size()) {
    return fail(ErrorCode::kInvalid,
                "reserving from " + std::to_string(from) + " on is beyond a chain of " + std::to_string(chain.size()));
  }
  auto body = ask_for_memory(chain, from, pool_->limited(deadline));
  if (!body) return std::unexpected(body.error());
  return Reservation(std::move(*body));
}

Result<void> SharedCache::put_chain(const Chain& chain, std::size_t from, std::span<const Bytes> blocks,
                                    Deadline deadline, Stored& stored) {
  auto body = ask_for_memory(chain, from, deadline);
  if (!body) return std::unexpected(body.error());
  const std::size_t base = stored.declined_blocks.size();
  stored.declined_blocks.resize(base + blocks.size());
  std::size_t here = 0;  // present already
  std::vector<std::size_t> filled;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const SharedReservation::Place& place = (*body)->place(i);
    if (!place.memory.empty()) {
      copy_block(place.memory, blocks[i]);
      filled.push_back(i);
    } else if (place.reason == Reason::kNone) {
      ++here;
    } else {
      decline(stored, base + i, place.reason);
    }
  }
  stored.present += here;
  if (filled.empty()) return {};
  const auto present = (*body)->commit_by(blocks.size(), deadline);
  // What only L2 was to keep may have found its queue full. The answer is a number; the last ones stand for them.
  const std::size_t kept = present ? std::min(filled.size(), *present - std::min(*present, here)) : 0;
  stored.accepted += kept;
  for (const std::size_t i : std::span(filled).subspan(kept)) {
    decline(stored, base + i, present ? Reason::kBusy : present.error());
  }
  return {};
}

Result<Stored> SharedCache::put(std::span<const Chain> chains, std::size_t from, std::span<const Bytes> blocks,
                                Deadline deadline) {
  const auto each = blocks_each(chains, from, blocks);
  if (!each) return std::unexpected(each.error());
  Stored stored;
  if (*each == 0) return stored;
  deadline = pool_->limited(deadline);
  stored.declined_blocks.reserve(blocks.size());
  for (std::size_t c = 0; c < chains.size(); ++c) {
    const Chain offered(*chains[c].ns, chains[c].keys.first(from + *each), chains[c].rule);
    if (auto ok = put_chain(offered, from, blocks.subspan(c * *each, *each), deadline, stored); !ok) {
      return std::unexpected(ok.error());
    }
  }
  if (stored.declined == 0) stored.declined_blocks.clear();
  return stored;
}

}  // namespace reprise
