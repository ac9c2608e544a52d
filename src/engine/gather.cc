// Reads: where the blocks of a request are, bringing up what is in L2, and holding the usable run. See engine.h.

#include <algorithm>
#include <utility>

#include "base/kernels.h"
#include "engine/engine.h"

namespace reprise {
namespace {

// How far behind the end of a run acquire looks to tell a hole from a plain miss.
constexpr std::size_t kHoleWindow = 128;

std::size_t shortest(std::span<const Chain> chains) {
  std::size_t n = chains.front().size();
  for (const Chain& chain : chains) n = std::min(n, chain.size());
  return n;
}

std::size_t needed_total(std::span<const Chain> chains, std::size_t n) {
  std::size_t total = 0;
  for (const Chain& chain : chains) {
    const NeededBlocks needed = needed_blocks(chain.rule, n);
    total += needed.last - needed.first;
  }
  return total;
}

}  // namespace

// What is known about a request's blocks, chain by chain, position by position.
struct Engine::Survey {
  struct PerChain {
    Pins pins;  // one place per position; empty where the block is not held
    std::vector<bool> in_l1;
    Presence presence;  // in either
  };
  std::size_t length = 0;
  std::vector<PerChain> chains;
  Reason l2 = Reason::kNone;  // why L2 was not, or not fully, asked

  [[nodiscard]] std::vector<Presence> presences() const {
    std::vector<Presence> all;
    all.reserve(chains.size());
    for (const PerChain& chain : chains) all.push_back(chain.presence);
    return all;
  }
};

// Blocks to bring up, with the memory they will land in, and where they belong.
struct Engine::Wanted {
  struct Place {
    std::size_t chain, position;
  };
  Pins memory;
  std::vector<bool> publish;
  std::vector<Place> places;
  Outflow out;
  Reason short_of = Reason::kNone;  // why not all of them got memory
};

Engine::Survey Engine::survey(std::span<const Chain> chains, Deadline deadline, bool pin) {
  Survey survey;
  survey.length = shortest(chains);
  bool all_here = true;
  for (const Chain& chain : chains) {
    Survey::PerChain& here = survey.chains.emplace_back();
    here.presence.rule = chain.rule;
    here.pins = Pins(cache_);
    here.pins.reserve(survey.length);
    const std::size_t found = cache_->pin_each(chain.ns->id(), chain.keys.first(survey.length), here.pins);
    here.in_l1.resize(survey.length);
    for (std::size_t i = 0; i < survey.length; ++i) here.in_l1[i] = here.pins[i].slot != kNoSlot;
    here.presence.present = here.in_l1;
    all_here = all_here && found == survey.length;
    if (!pin) here.pins.release();
  }
  if (loader_ && !all_here) look_in_l2(chains, survey, deadline);
  return survey;
}

void Engine::look_in_l2(std::span<const Chain> chains, Survey& survey, Deadline deadline) {
  std::vector<BlockId> ids;
  std::vector<Wanted::Place> places;
  for (std::size_t c = 0; c < chains.size(); ++c) {
    for (std::size_t i = 0; i < survey.length; ++i) {
      if (survey.chains[c].in_l1[i]) continue;
      ids.push_back({chains[c].ns->id(), chains[c].keys[i]});
      places.push_back({c, i});
    }
  }
  std::vector<bool> present;
  survey.l2 = loader_->contains(ids, present, loader_->capped(deadline));
  for (std::size_t k = 0; k < ids.size(); ++k) {
    // What still waits to be written is as good as written.
    const PinnedBlock pending = present[k] ? PinnedBlock{} : ingest_->pin_pending(ids[k]);
    if (!present[k] && pending.slot == kNoSlot) continue;
    Survey::PerChain& chain = survey.chains[places[k].chain];
    chain.presence.present[places[k].position] = true;
    if (pending.slot == kNoSlot) continue;
    if (chain.pins.empty()) {
      cache_->unpin(pending.slot);
    } else {
      chain.pins.fill(places[k].position, pending);
    }
  }
}

Engine::Wanted Engine::make_room(std::span<const Chain> chains, Survey& survey, std::size_t run) {
  Wanted wanted;
  wanted.memory = Pins(cache_);
  for (std::size_t c = 0; c < chains.size(); ++c) {
    const Chain& chain = chains[c];
    Survey::PerChain& here = survey.chains[c];
    const NeededBlocks needed = needed_blocks(chain.rule, run);
    std::size_t first = needed.first;
    while (first < needed.last && here.pins[first].slot != kNoSlot) ++first;
    if (first == needed.last) continue;
    const bool rooted = chain.rule.kind == MatchRule::Kind::kPrefix;
    Admission admission = cache_->admit(*chain.ns, chain.keys, first, needed.last, rooted);
    wanted.out.append(std::move(admission.out));
    std::size_t admitted = 0;
    for (std::size_t i = first; i < needed.last; ++i) {
      const Fate fate = admission.fates[i - first];
      const PinnedBlock filling = fate == Fate::kAdmitted ? admission.filling.take(admitted++) : PinnedBlock{};
      if (here.pins[i].slot != kNoSlot) {  // held already, e.g. on its way to L2
        if (filling.slot != kNoSlot) {
          copy_block({filling.data, filling.bytes}, here.pins.bytes(i));
          cache_->publish(filling, 0, false);
          cache_->unpin(filling.slot);
        }
        continue;
      }
      const BlockId id{chain.ns->id(), chain.keys[i]};
      const auto memory = filling.slot != kNoSlot
                              ? std::optional(filling)
                              : cache_->allocate_transit(id, static_cast<std::uint32_t>(chain.ns->block_bytes()));
      if (!memory) {
        wanted.short_of = Reason::kFull;
        here.presence.present[i] = false;
        continue;
      }
      wanted.memory.adopt(*memory);
      wanted.publish.push_back(filling.slot != kNoSlot);
      wanted.places.push_back({c, i});
    }
  }
  return wanted;
}

Reason Engine::bring_up(std::span<const Chain> chains, Survey& survey, std::size_t run, Deadline deadline) {
  Wanted wanted = make_room(chains, survey, run);
  pass_on(std::move(wanted.out));
  if (wanted.places.empty()) return wanted.short_of;
  std::vector<Reason> outcomes;
  Pins loaded(cache_);
  loader_->read(std::move(wanted.memory), std::move(wanted.publish), loader_->capped(deadline), outcomes, loaded);
  Reason first_failure = wanted.short_of;
  for (std::size_t k = 0; k < outcomes.size(); ++k) {
    const auto [c, i] = wanted.places[k];
    if (outcomes[k] == Reason::kNone) {
      survey.chains[c].pins.fill(i, loaded.take(k));
    } else {
      survey.chains[c].presence.present[i] = false;
      if (first_failure == Reason::kNone) first_failure = outcomes[k];
    }
  }
  return first_failure;
}

Engine::Gathered Engine::gather_from_l1(const Chain& chain) {
  Gathered gathered;
  gathered.pins = Pins(cache_);
  gathered.pins.reserve(chain.size());
  const std::size_t run = cache_->pin_run(chain.ns->id(), chain.keys, gathered.pins);
  gathered.match.blocks = gathered.match.from_l1 = run;
  if (run < chain.size()) {
    const auto behind = chain.keys.subspan(run + 1, std::min(kHoleWindow, chain.size() - run - 1));
    bool hole = false;
    for (std::size_t i = 0; i < behind.size() && !hole; ++i) {
      hole = cache_->match_run(chain.ns->id(), behind.subspan(i, 1)).blocks > 0;
    }
    gathered.match.reason = hole ? Reason::kHole : Reason::kMiss;
  }
  pass_on(cache_->touch(gathered.pins.blocks()));
  count(gathered.match, chain.size(), run * chain.ns->block_bytes(), 0);
  return gathered;
}

Engine::Gathered Engine::gather(std::span<const Chain> chains, Deadline deadline) {
  leases_->expire_due();
  if (chains.size() == 1 && chains[0].rule == MatchRule::prefix() && !loader_) return gather_from_l1(chains[0]);

  Survey found = survey(chains, deadline, true);
  std::size_t run = common_run(found.presences());
  Reason failure = Reason::kNone;
  if (loader_) {
    failure = bring_up(chains, found, run, deadline);
    if (failure != Reason::kNone) run = common_run(found.presences());
  }
  Gathered gathered;
  gathered.match.blocks = run;
  gathered.pins = Pins(cache_);
  gathered.pins.reserve(needed_total(chains, run));
  std::uint64_t l1_bytes = 0;
  std::uint64_t l2_bytes = 0;
  for (std::size_t c = 0; c < chains.size(); ++c) {
    Survey::PerChain& here = found.chains[c];
    const NeededBlocks needed = needed_blocks(chains[c].rule, run);
    const std::size_t first = gathered.pins.size();
    std::vector<PinnedBlock> hits;
    for (std::size_t i = needed.first; i < needed.last; ++i) {
      if (here.in_l1[i]) hits.push_back(here.pins[i]);
      gathered.pins.adopt(here.pins.take(i));
    }
    const std::size_t held = gathered.pins.size() - first;
    gathered.match.from_l1 += hits.size();
    gathered.match.from_l2 += held - hits.size();
    l1_bytes += hits.size() * chains[c].ns->block_bytes();
    l2_bytes += (held - hits.size()) * chains[c].ns->block_bytes();
    pass_on(cache_->touch(hits));
  }
  if (run < found.length) {
    const Reason known = failure != Reason::kNone ? failure : found.l2;
    const bool hole = hole_behind(found.presences(), 0);
    gathered.match.reason = known != Reason::kNone ? known : (hole ? Reason::kHole : Reason::kMiss);
  }
  count(gathered.match, needed_total(chains, found.length), l1_bytes, l2_bytes);
  return gathered;
}

void Engine::count(const Match& match, std::size_t needed, std::uint64_t l1_bytes, std::uint64_t l2_bytes) {
  constexpr auto kRelaxed = std::memory_order_relaxed;
  counters_.requested.fetch_add(needed, kRelaxed);
  counters_.l1_hits.fetch_add(match.from_l1, kRelaxed);
  counters_.l1_read_bytes.fetch_add(l1_bytes, kRelaxed);
  if (match.from_l2 > 0) {
    counters_.l2_hits.fetch_add(match.from_l2, kRelaxed);
    counters_.l2_read_bytes.fetch_add(l2_bytes, kRelaxed);
  }
  if (match.reason != Reason::kNone) {
    counters_.reasons[static_cast<std::size_t>(match.reason)].fetch_add(1, kRelaxed);
  }
}

Result<Match> Engine::match(std::span<const Chain> chains, Deadline deadline) {
  if (auto ok = check_chains(chains); !ok) return std::unexpected(ok.error());
  Match match;
  if (chains.size() == 1 && chains[0].rule == MatchRule::prefix() && !loader_) {
    const MemoryCache::Run run = cache_->match_run(chains[0].ns->id(), chains[0].keys);
    match.blocks = match.from_l1 = run.blocks;
    if (run.blocks < chains[0].size()) match.reason = run.more_behind ? Reason::kHole : Reason::kMiss;
    return match;
  }
  const Survey found = survey(chains, deadline, false);
  const std::vector<Presence> presences = found.presences();
  match.blocks = common_run(presences);
  for (std::size_t c = 0; c < chains.size(); ++c) {
    const NeededBlocks needed = needed_blocks(chains[c].rule, match.blocks);
    for (std::size_t i = needed.first; i < needed.last; ++i)
      ++(found.chains[c].in_l1[i] ? match.from_l1 : match.from_l2);
  }
  if (match.blocks < found.length) {
    match.reason = found.l2 != Reason::kNone ? found.l2 : (hole_behind(presences, 0) ? Reason::kHole : Reason::kMiss);
  }
  return match;
}

Result<Acquired> Engine::acquire(std::span<const Chain> chains, Deadline deadline) {
  if (auto ok = check_chains(chains); !ok) return std::unexpected(ok.error());
  Gathered gathered = gather(chains, deadline);
  Acquired acquired;
  acquired.match = gathered.match;
  acquired.lease = leases_->open(std::move(gathered.pins));
  return acquired;
}

Result<Match> Engine::get(std::span<const Chain> chains, std::size_t from, std::span<const MutableBytes> out,
                          Deadline deadline) {
  if (auto ok = check_chains(chains); !ok) return std::unexpected(ok.error());
  if (out.size() % chains.size() != 0) {
    return fail(ErrorCode::kInvalid, std::to_string(out.size()) + " buffers cannot be shared out over " +
                                         std::to_string(chains.size()) + " chains");
  }
  const std::size_t each = out.size() / chains.size();
  std::vector<Chain> parts;
  parts.reserve(chains.size());
  for (std::size_t c = 0; c < chains.size(); ++c) {
    const Chain& chain = chains[c];
    if (from + each > chain.size()) {
      return fail(ErrorCode::kInvalid, "blocks " + std::to_string(from) + " to " + std::to_string(from + each) +
                                           " are beyond a chain of " + std::to_string(chain.size()));
    }
    for (std::size_t i = 0; i < each; ++i) {
      const std::size_t size = out[c * each + i].size();
      if (size != chain.ns->block_bytes()) {
        return fail(ErrorCode::kInvalid, "a buffer of " + std::to_string(size) + " bytes for blocks of " +
                                             std::to_string(chain.ns->block_bytes()));
      }
    }
    MatchRule rule = chain.rule;
    if (rule.kind == MatchRule::Kind::kExact)
      rule.arg = rule.arg >= from ? rule.arg - static_cast<std::uint32_t>(from) : 0;
    parts.emplace_back(*chain.ns, chain.keys.subspan(from, each), rule);
  }
  if (each == 0) return Match{};
  const Gathered gathered = gather(parts, deadline);
  std::size_t next = 0;
  for (std::size_t c = 0; c < parts.size(); ++c) {
    const NeededBlocks needed = needed_blocks(parts[c].rule, gathered.match.blocks);
    for (std::size_t i = needed.first; i < needed.last; ++i) copy_block(out[c * each + i], gathered.pins.bytes(next++));
  }
  return gathered.match;
}

Result<Match> Engine::prefetch(std::span<const Chain> chains, Deadline deadline) {
  if (!loader_) return match(chains, deadline);
  if (auto ok = check_chains(chains); !ok) return std::unexpected(ok.error());
  Survey found = survey(chains, deadline, true);
  Match match;
  match.blocks = common_run(found.presences());
  Wanted wanted = make_room(chains, found, match.blocks);
  pass_on(std::move(wanted.out));
  match.from_l2 = wanted.places.size();
  match.from_l1 = needed_total(chains, match.blocks) - match.from_l2;
  if (!wanted.places.empty() && !loader_->read_ahead(std::move(wanted.memory), std::move(wanted.publish))) {
    match.reason = Reason::kBusy;
  } else if (match.blocks < found.length) {
    match.reason = found.l2 != Reason::kNone ? found.l2 : Reason::kMiss;
  }
  return match;
}

}  // namespace reprise
