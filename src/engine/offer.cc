// Writes: what L1 takes, what goes past it to L2, and what leaves L1. See engine.h.

#include <algorithm>
#include <string>
#include <utility>

#include "base/kernels.h"
#include "engine/engine.h"

namespace reprise {
namespace {

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

}  // namespace

bool Engine::takes_declined() const {
  return ingest_ && options_.l2_ingest != Ingest::kHot;
}

void Engine::pass_on(Outflow out) {
  if (!ingest_) return;
  if (!out.hot.empty()) ingest_->offer_resident(std::move(out.hot));
  if (!out.evicted.empty()) ingest_->offer_transit(std::move(out.evicted));
}

void Engine::pass_on_admitted(const Admission& admission) {
  if (!ingest_) return;
  const auto admitted = admission.filling.blocks();
  if (options_.l2_ingest == Ingest::kAll) {
    ingest_->offer_resident(cache_->begin_outbound(admitted));
  } else if (options_.l2_ingest == Ingest::kHot) {
    std::vector<PinnedBlock> hot;
    for (std::size_t i = 0; i < admitted.size(); ++i) {
      if (admission.hot[i]) hot.push_back(admitted[i]);
    }
    if (!hot.empty()) ingest_->offer_resident(cache_->begin_outbound(hot));
  }
}

Reason Engine::offer_past_l1(const BlockId& id, Bytes bytes) {
  if (store_->info().local_index) {
    bool present = false;
    if (store_->contains(std::span(&id, 1), std::span(&present, 1), Deadline::now()) && present) return Reason::kNone;
  }
  const auto memory = cache_->allocate_transit(id, static_cast<std::uint32_t>(bytes.size()));
  if (!memory) return Reason::kBusy;
  cache_->set_checksum(*memory, copy_block_checksum({memory->data, memory->bytes}, bytes));
  Pins pins(cache_);
  pins.adopt(*memory);
  return ingest_->offer_transit(std::move(pins)) == 1 ? Reason::kNone : Reason::kBusy;
}

void Engine::offer_chain(const Chain& chain, std::size_t from, std::span<const Bytes> blocks, Stored& stored) {
  const std::size_t to = from + blocks.size();
  const bool rooted = chain.rule.kind == MatchRule::Kind::kPrefix;
  Admission admission = cache_->admit(*chain.ns, chain.keys, from, to, rooted);
  std::size_t next = 0;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if (admission.fates[i] != Fate::kAdmitted) continue;
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
  pass_on(std::move(admission.out));
  pass_on_admitted(admission);
  const std::size_t base = stored.declined_blocks.size();
  stored.declined_blocks.resize(base + blocks.size(), false);
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const Fate fate = admission.fates[i];
    if (fate == Fate::kAdmitted) continue;
    if (fate == Fate::kPresent) {
      ++stored.present;
      continue;
    }
    Reason reason = reason_of(fate);
    if (takes_declined()) reason = offer_past_l1({chain.ns->id(), chain.keys[from + i]}, blocks[i]);
    if (reason == Reason::kNone) {
      ++stored.accepted;
      continue;
    }
    ++stored.declined;
    stored.declined_blocks[base + i] = true;
    if (stored.reason == Reason::kNone) stored.reason = reason;
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
    if (from + each > chains[c].size()) {
      return fail(ErrorCode::kInvalid, "blocks " + std::to_string(from) + " to " + std::to_string(from + each) +
                                           " are beyond a chain of " + std::to_string(chains[c].size()));
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
  Stored stored;
  for (std::size_t c = 0; c < chains.size(); ++c) offer_chain(chains[c], from, blocks.subspan(c * each, each), stored);
  if (stored.declined == 0) stored.declined_blocks.clear();
  counters_.declined.fetch_add(stored.declined, std::memory_order_relaxed);
  return stored;
}

// A reservation's memory: admitted blocks, and blocks that only L2 will keep.
class Engine::Filling final : public Reservation::Body {
 public:
  Filling(Engine& engine, const Chain& chain, std::size_t from) : engine_(engine) {
    const bool rooted = chain.rule.kind == MatchRule::Kind::kPrefix;
    admission_ = engine_.cache_->admit(*chain.ns, chain.keys, from, chain.size(), rooted);
    engine_.pass_on(std::move(admission_.out));
    admission_.out = {};
    places_.reserve(chain.size() - from);
    std::size_t next = 0;
    transit_ = Pins(engine_.cache_);
    for (std::size_t i = 0; i < admission_.fates.size(); ++i) {
      Place& place = places_.emplace_back();
      place.fate = admission_.fates[i];
      if (place.fate == Fate::kAdmitted) {
        place.memory = admission_.filling[next++];
      } else if (place.fate != Fate::kPresent && engine_.takes_declined()) {
        const BlockId id{chain.ns->id(), chain.keys[from + i]};
        const auto memory = engine_.cache_->allocate_transit(id, static_cast<std::uint32_t>(chain.ns->block_bytes()));
        if (!memory) continue;
        place.memory = *memory;
        transit_.adopt(*memory);
      }
    }
  }

  [[nodiscard]] std::size_t size() const override { return places_.size(); }
  [[nodiscard]] MutableBytes block(std::size_t i) override {
    const PinnedBlock& memory = places_[i].memory;
    return {memory.data, memory.bytes};
  }
  [[nodiscard]] std::size_t commit(std::size_t count) override {
    std::size_t present = 0;
    std::size_t admitted = 0;
    std::size_t past = 0;
    for (std::size_t i = 0; i < std::min(count, places_.size()); ++i) {
      const Place& place = places_[i];
      if (place.fate == Fate::kAdmitted) {
        engine_.cache_->publish(place.memory, 0, false);
        ++admitted;
      } else if (place.memory.slot != kNoSlot) {
        ++past;
      } else if (place.fate == Fate::kPresent) {
        ++present;
      }
    }
    admission_.filling.truncate(admitted);
    engine_.pass_on_admitted(admission_);
    transit_.truncate(past);
    if (past > 0) past = engine_.ingest_->offer_transit(std::move(transit_));
    return present + admitted + past;
  }

 private:
  struct Place {
    Fate fate = Fate::kDeclined;
    PinnedBlock memory;
  };
  Engine& engine_;
  Admission admission_;
  Pins transit_;
  std::vector<Place> places_;
};

Result<Reservation> Engine::reserve(const Chain& chain, std::size_t from, Deadline) {
  if (auto ok = check_chains(std::span(&chain, 1)); !ok) return std::unexpected(ok.error());
  if (from > chain.size()) {
    return fail(ErrorCode::kInvalid,
                "block " + std::to_string(from) + " is beyond a chain of " + std::to_string(chain.size()));
  }
  leases_->expire_due();
  return Reservation(std::make_unique<Filling>(*this, chain, from));
}

}  // namespace reprise
