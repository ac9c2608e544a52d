// Writes: what L1 takes, what goes past it to L2, and what leaves L1. See engine.h.

#include <algorithm>
#include <string>
#include <utility>

#include "base/kernels.h"
#include "engine/engine.h"

namespace reprise {

Reason reason_of(Fate fate) {
  switch (fate) {
    case Fate::kAdmitted:
    case Fate::kPresent: return Reason::kNone;
    case Fate::kDeclined: return Reason::kDeclined;
    case Fate::kFull: return Reason::kFull;
    case Fate::kHole: return Reason::kHole;
  }
  return Reason::kDeclined;
}

void Engine::Outlet::pass_on(Outflow out) const {
  if (!ingest) return;
  if (!out.hot.empty()) ingest->offer_resident(std::move(out.hot));
  if (!out.evicted.empty()) ingest->offer_transit(std::move(out.evicted));
}

void Engine::Outlet::pass_on_admitted(const Admission& admission) const {
  if (!ingest) return;
  const auto admitted = admission.filling.blocks();
  if (mode == Ingest::kAll) {
    ingest->offer_resident(cache->begin_outbound(admitted));
  } else if (mode == Ingest::kHot) {
    std::vector<PinnedBlock> hot;
    for (std::size_t i = 0; i < admitted.size(); ++i) {
      if (admission.hot[i]) hot.push_back(admitted[i]);
    }
    if (!hot.empty()) ingest->offer_resident(cache->begin_outbound(hot));
  }
}

// Blocks that L1 declined, on their way to L2. Answers what became of each; those that were in L2 already are kNone
// and counted in `present`.
std::vector<Reason> Engine::offer_past_l1(std::span<const BlockId> ids, std::span<const Bytes> bytes,
                                          std::size_t& present) {
  std::vector<Reason> outcomes(ids.size(), Reason::kBusy);
  Pins known(cache_);
  for (std::size_t i = 0; i < ids.size(); ++i) known.adopt({});
  outlet_.ingest->pin_pending(ids, known);
  std::vector<bool> stored;
  if (store_->info().local_index) loader_->contains(ids, stored, Deadline::now(), false);
  Pins pins(cache_);
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (known[i].slot != kNoSlot || (!stored.empty() && stored[i])) {
      outcomes[i] = Reason::kNone;
      ++present;
      continue;
    }
    const auto memory = cache_->allocate_transit(ids[i], static_cast<std::uint32_t>(bytes[i].size()));
    if (!memory) continue;
    cache_->set_checksum(*memory, copy_block_checksum({memory->data, memory->bytes}, bytes[i]));
    pins.adopt(*memory);
    places.push_back(i);
  }
  std::vector<bool> refused;
  outlet_.ingest->offer_transit(std::move(pins), &refused);
  for (std::size_t k = 0; k < places.size(); ++k) {
    if (!refused[k]) outcomes[places[k]] = Reason::kNone;
  }
  return outcomes;
}

void Engine::offer_chain(const Chain& chain, std::size_t from, std::span<const Bytes> blocks, Stored& stored) {
  const bool rooted = chain.rule.kind == MatchRule::Kind::kPrefix;
  Admission admission = cache_->admit(*chain.ns, chain.keys, from, from + blocks.size(), rooted);
  std::size_t next = 0;
  std::vector<std::size_t> left;  // neither admitted nor present
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if (admission.fates[i] == Fate::kPresent) ++stored.present;
    if (admission.fates[i] != Fate::kAdmitted) {
      if (admission.fates[i] != Fate::kPresent) left.push_back(i);
      continue;
    }
    const PinnedBlock& block = admission.filling[next++];
    const MutableBytes memory{block.data, block.bytes};
    std::uint64_t sum = 0;
    if (store_) {
      sum = copy_block_checksum(memory, blocks[i]);
    } else {
      copy_block(memory, blocks[i]);
    }
    cache_->publish(block, sum, false);
  }
  stored.accepted += next;
  outlet_.pass_on(std::move(admission.out));
  outlet_.pass_on_admitted(admission);
  const std::size_t base = stored.declined_blocks.size();
  stored.declined_blocks.resize(base + blocks.size(), false);
  if (left.empty()) return;
  std::vector<Reason> outcomes;
  std::size_t already = 0;
  if (outlet_.takes_declined()) {
    std::vector<BlockId> ids;
    std::vector<Bytes> bytes;
    for (const std::size_t i : left) {
      ids.push_back({chain.ns->id(), chain.keys[from + i]});
      bytes.push_back(blocks[i]);
    }
    outcomes = offer_past_l1(ids, bytes, already);
  } else {
    for (const std::size_t i : left) outcomes.push_back(reason_of(admission.fates[i]));
  }
  stored.present += already;
  stored.accepted += static_cast<std::size_t>(std::ranges::count(outcomes, Reason::kNone)) - already;
  for (std::size_t k = 0; k < left.size(); ++k) {
    if (outcomes[k] == Reason::kNone) continue;
    ++stored.declined;
    stored.declined_blocks[base + left[k]] = true;
    if (stored.reason == Reason::kNone) stored.reason = outcomes[k];
  }
}

Result<Stored> Engine::put(std::span<const Chain> chains, std::size_t from, std::span<const Bytes> blocks, Deadline) {
  if (auto ok = check_chains(chains); !ok) return std::unexpected(ok.error());
  if (blocks.size() % chains.size() != 0) {
    return fail(ErrorCode::kInvalid, std::to_string(blocks.size()) + " blocks cannot be shared out over " +
                                         std::to_string(chains.size()) + " chains");
  }
  const std::size_t each = blocks.size() / chains.size();
  for (std::size_t c = 0; c < chains.size(); ++c) {
    if (from > chains[c].size() || each > chains[c].size() - from) {
      return fail(ErrorCode::kInvalid, std::to_string(each) + " blocks from " + std::to_string(from) +
                                           " on are beyond a chain of " + std::to_string(chains[c].size()));
    }
    for (std::size_t i = 0; i < each; ++i) {
      const std::size_t size = blocks[c * each + i].size();
      if (size != chains[c].ns->block_bytes()) {
        return fail(ErrorCode::kInvalid, "a block of " + std::to_string(size) + " bytes in a namespace of " +
                                             std::to_string(chains[c].ns->block_bytes()));
      }
    }
  }
  leases_->expire_due();
  introduce(chains);
  Stored stored;
  for (std::size_t c = 0; c < chains.size(); ++c) offer_chain(chains[c], from, blocks.subspan(c * each, each), stored);
  if (stored.declined == 0) stored.declined_blocks.clear();
  counters_.declined.fetch_add(stored.declined, std::memory_order_relaxed);
  return stored;
}

// A reservation's memory: admitted blocks, and blocks that only L2 will keep. May outlive the engine.
class Engine::Filling final : public Reservation::Body {
 public:
  Filling(const Outlet& outlet, const Chain& chain, std::size_t from, std::size_t to)
      : outlet_(outlet), transit_(outlet.cache) {
    const bool rooted = chain.rule.kind == MatchRule::Kind::kPrefix;
    admission_ = outlet_.cache->admit(*chain.ns, chain.keys, from, to, rooted);
    outlet_.pass_on(std::exchange(admission_.out, {}));
    places_.reserve(to - from);
    std::size_t next = 0;
    for (std::size_t i = 0; i < admission_.fates.size(); ++i) {
      Place& place = places_.emplace_back();
      place.fate = admission_.fates[i];
      if (place.fate == Fate::kAdmitted) {
        place.memory = admission_.filling[next++];
      } else if (place.fate != Fate::kPresent && outlet_.takes_declined()) {
        const BlockId id{chain.ns->id(), chain.keys[from + i]};
        const auto memory = outlet_.cache->allocate_transit(id, static_cast<std::uint32_t>(chain.ns->block_bytes()));
        if (!memory) continue;
        place.memory = *memory;
        transit_.adopt(*memory);
      }
    }
  }

  /// Blocks that no tier will keep.
  [[nodiscard]] std::size_t declined() const {
    return static_cast<std::size_t>(std::ranges::count_if(
        places_, [](const Place& p) { return p.fate != Fate::kPresent && p.memory.slot == kNoSlot; }));
  }
  [[nodiscard]] std::size_t size() const override { return places_.size(); }
  [[nodiscard]] MutableBytes block(std::size_t i) override {
    const PinnedBlock& memory = places_[i].memory;
    return {memory.data, memory.bytes};
  }
  [[nodiscard]] std::size_t commit(std::size_t count) override {
    return commit_if([count](std::size_t i) { return i < count; }, std::min(count, places_.size()));
  }
  [[nodiscard]] std::size_t commit_each(const std::vector<bool>& complete) {
    return commit_if([&](std::size_t i) { return i < complete.size() && complete[i]; }, places_.size());
  }
  [[nodiscard]] PlaceInside place(std::size_t i) const {
    const Place& place = places_[i];
    if (place.memory.slot != kNoSlot) return {PlaceKind::kWritable, place.memory, Reason::kNone};
    if (place.fate == Fate::kPresent) return {PlaceKind::kPresent, {}, Reason::kNone};
    return {PlaceKind::kDeclined, {}, outlet_.takes_declined() ? Reason::kBusy : reason_of(place.fate)};
  }
  void set_checksum(std::size_t i, std::uint64_t sum) {
    if (i < places_.size()) places_[i].checksum = sum;
  }

 private:
  struct Place {
    Fate fate = Fate::kDeclined;
    PinnedBlock memory;
    std::uint64_t checksum = 0;  // 0 = not computed
  };

  // Publishes what `wanted` says, gives the rest back, and counts the present places among the first `counted`.
  template <typename Wanted>
  std::size_t commit_if(Wanted wanted, std::size_t counted) {
    std::size_t present = 0;
    std::size_t admitted = 0;
    std::size_t past = 0;
    for (std::size_t i = 0; i < places_.size(); ++i) {
      const Place& place = places_[i];
      if (place.memory.slot == kNoSlot) {
        present += place.fate == Fate::kPresent && i < counted ? 1 : 0;
        continue;
      }
      const bool in_l1 = place.fate == Fate::kAdmitted;
      if (!wanted(i)) {
        static_cast<void>(in_l1 ? admission_.filling.take(admitted++) : transit_.take(past++));
        outlet_.cache->unpin(place.memory.slot);
      } else if (in_l1) {
        outlet_.cache->publish(place.memory, place.checksum, false);
        ++admitted;
        ++present;
      } else {
        if (place.checksum != 0) outlet_.cache->set_checksum(place.memory, place.checksum);
        ++past;
      }
    }
    outlet_.pass_on_admitted(admission_);
    return present + (past > 0 ? outlet_.ingest->offer_transit(std::move(transit_)) : 0);
  }

  const Outlet outlet_;
  Admission admission_;
  Pins transit_;
  std::vector<Place> places_;
};

Result<Reservation> Engine::reserve(const Chain& chain, std::size_t from, Deadline deadline) {
  return reserve_range(chain, from, chain.size(), deadline);
}

Result<Reservation> Engine::reserve_range(const Chain& chain, std::size_t from, std::size_t to, Deadline) {
  if (auto ok = check_chains(std::span(&chain, 1)); !ok) return std::unexpected(ok.error());
  if (from > chain.size() || to > chain.size()) {
    return fail(ErrorCode::kInvalid, "block " + std::to_string(std::max(from, to)) + " is beyond a chain of " +
                                         std::to_string(chain.size()));
  }
  if (from > to) {
    return fail(ErrorCode::kInvalid, "blocks from " + std::to_string(from) + " to " + std::to_string(to));
  }
  leases_->expire_due();
  introduce(std::span(&chain, 1));
  auto filling = std::make_unique<Filling>(outlet_, chain, from, to);
  counters_.declined.fetch_add(filling->declined(), std::memory_order_relaxed);
  return Reservation(std::move(filling));
}

ReservationInside Engine::inside(const Reservation& reservation) const {
  ReservationInside inside;
  if (!reservation.body_) return inside;
  const auto& filling = static_cast<const Filling&>(*reservation.body_);
  inside.places.reserve(filling.size());
  for (std::size_t i = 0; i < filling.size(); ++i) inside.places.push_back(filling.place(i));
  return inside;
}

void Engine::set_checksum(Reservation& reservation, std::size_t i, std::uint64_t sum) {
  if (reservation.body_) static_cast<Filling&>(*reservation.body_).set_checksum(i, sum);
}

std::size_t Engine::commit_each(Reservation& reservation, const std::vector<bool>& complete) {
  if (!reservation.body_) return 0;
  const std::size_t present = static_cast<Filling&>(*reservation.body_).commit_each(complete);
  reservation.body_.reset();
  return present;
}

}  // namespace reprise
