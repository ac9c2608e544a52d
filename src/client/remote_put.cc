#include "client/remote_put.h"

#include <algorithm>
#include <vector>

#include "base/kernels.h"
#include "client/arguments.h"
#include "client/attached_cache.h"
#include "client/remote_get.h"

namespace reprise {
namespace {

// An answer costs a round trip; blocks sent for nothing cost their bytes. Who offered what was there will again.
constexpr int kAsksAfterAHit = 16;

/// A put under way: blocks [from, from + each) of each chain.
struct Offer {
  std::span<const Chain> chains;
  std::size_t from = 0;
  std::size_t each = 0;
  std::span<const Bytes> blocks;

  [[nodiscard]] std::size_t index(std::size_t chain, std::size_t i) const { return chain * each + i; }
};

void decline(Stored& stored, const Offer& offer, std::size_t first, std::size_t count, Reason reason) {
  for (std::size_t c = 0; c < offer.chains.size(); ++c) {
    for (std::size_t i = first; i < first + count; ++i) stored.declined_blocks[offer.index(c, i)] = true;
  }
  stored.declined += count * offer.chains.size();
  if (stored.reason == Reason::kNone) stored.reason = reason;
}

/// Adds what the server says about `count` blocks of each chain from `first` on; false when it cannot be.
bool add_answer(const wire::Stored& answer, const Offer& offer, std::size_t first, std::size_t count, Stored& stored) {
  const std::size_t offered = count * offer.chains.size();
  if (answer.accepted() > offered || answer.present() > offered || answer.declined() > offered) return false;
  if (answer.accepted() + answer.present() + answer.declined() != offered) return false;
  const auto* bits = answer.declined_blocks();
  const std::size_t bytes = bits != nullptr ? bits->size() : 0;
  if (answer.declined() > 0 && bytes < (offered + 7) / 8) return false;
  std::size_t named = 0;
  for (std::size_t k = 0; k < offered && answer.declined() > 0; ++k) {
    if ((bits->Get(static_cast<flatbuffers::uoffset_t>(k / 8)) >> (k % 8) & 1) == 0) continue;
    ++named;
    stored.declined_blocks[offer.index(k / count, first + k % count)] = true;
  }
  if (named != answer.declined()) return false;
  stored.accepted += answer.accepted();
  stored.present += answer.present();
  stored.declined += answer.declined();
  if (answer.declined() > 0 && stored.reason == Reason::kNone) stored.reason = wire::reason_of(answer.reason());
  return true;
}

/// One request; kNone when it was answered.
Result<Reason> put_once(LinkPool& pool, const Offer& offer, std::size_t first, std::size_t count, Deadline deadline,
                        Stored& stored) {
  const auto session = pool.borrow(deadline);
  if (!session) return session.reason();
  const Patience patience = patience_until(deadline);
  std::vector<Chain> chains;
  std::vector<Bytes> payload;
  std::vector<std::uint64_t> sums;
  for (std::size_t c = 0; c < offer.chains.size(); ++c) {
    const Chain& chain = offer.chains[c];
    chains.emplace_back(*chain.ns, chain.keys.first(offer.from + first + count), chain.rule);
    for (std::size_t i = first; i < first + count; ++i) {
      payload.push_back(offer.blocks[offer.index(c, i)]);
      sums.push_back(checksum(payload.back()));
    }
  }
  const auto answer = [&]() -> Result<const wire::Stored*> {
    if (auto ok = open_namespaces(*session, chains, patience); !ok) return std::unexpected(ok.error());
    flatbuffers::FlatBufferBuilder& builder = session->builder;
    builder.Clear();
    const auto wired = builder.CreateVector(chains_to_wire(*session, chains));
    const auto sums_wired = builder.CreateVector(sums);
    builder.Finish(wire::CreatePut(builder, wired, offer.from + first, count, sums_wired));
    return session->link->ask<wire::Stored>(wire::Type::kPut, wire::body_of(builder), patience, payload);
  }();
  if (!answer) return meaning_of(*session, answer.error());
  if (!add_answer(**answer, offer, first, count, stored)) return nonsense(*session, "counts that do not add up");
  return Reason::kNone;
}

/// How many blocks of each chain, from the first offered on, the server has already.
Result<std::size_t> ask_present(LinkPool& pool, const Offer& offer, Deadline deadline) {
  const auto session = pool.borrow(deadline);
  if (!session) return 0;
  std::vector<Chain> chains;
  for (const Chain& chain : offer.chains) {
    chains.emplace_back(*chain.ns, chain.keys.first(offer.from + offer.each), chain.rule);
  }
  const auto answer = ask_about<wire::Matched>(*session, wire::Type::kMatch, chains, patience_until(deadline));
  if (!answer) {
    const auto reason = meaning_of(*session, answer.error());
    if (!reason) return std::unexpected(reason.error());
    return 0;
  }
  const auto match = match_of(*answer, chains);
  if (!match) {
    static_cast<void>(nonsense(*session, "a run longer than what was asked about"));
    return 0;
  }
  return match->blocks - std::min(match->blocks, offer.from);
}

}  // namespace

Result<Stored> RemotePut::operator()(LinkPool& pool, std::span<const Chain> chains, std::size_t from,
                                     std::span<const Bytes> blocks, Deadline deadline) {
  const Offer offer{chains, from, blocks.size() / chains.size(), blocks};
  Stored stored;
  stored.declined_blocks.resize(blocks.size());
  const std::size_t most = blocks_a_frame(chains);
  std::size_t done = 0;
  if (most > 0 && all_prefix(chains) && ask_first_.load(std::memory_order_relaxed) > 0) {
    ask_first_.fetch_sub(1, std::memory_order_relaxed);
    const auto present = ask_present(pool, offer, deadline);
    if (!present) return std::unexpected(present.error());
    done = *present;
    stored.present = done * chains.size();
  }
  Reason reason = most == 0 ? Reason::kUnsupported : Reason::kNone;
  while (done < offer.each && reason == Reason::kNone) {
    const std::size_t count = std::min(most, offer.each - done);
    const auto went = put_once(pool, offer, done, count, deadline, stored);
    if (!went) return std::unexpected(went.error());
    reason = *went;
    if (reason == Reason::kNone) done += count;
  }
  if (reason != Reason::kNone) decline(stored, offer, done, offer.each - done, reason);
  if (stored.present * 4 > blocks.size()) ask_first_.store(kAsksAfterAHit, std::memory_order_relaxed);
  if (stored.declined == 0) stored.declined_blocks.clear();
  return stored;
}

}  // namespace reprise
