// Reads: where the blocks of a request are, bringing up what is in L2, and holding the usable run. See engine.h.

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "base/kernels.h"
#include "engine/engine.h"

namespace reprise {
namespace {

// How far behind the end of a run acquire looks to tell a hole from a plain miss.
constexpr std::size_t kHoleWindow = 128;

// No chain has a block there.
constexpr std::uint32_t kNowhere = 0xFFFFFFFF;
// After how many failed attempts to bring a run up it is made of what is there.
constexpr int kRounds = 3;

// The longest run the chains and their rules could have.
std::size_t longest_run(std::span<const Chain> chains) {
  std::size_t n = chains.front().size();
  for (const Chain& chain : chains) {
    n = std::min(n, chain.size());
    if (chain.rule.kind == MatchRule::Kind::kExact) n = std::min(n, std::size_t{chain.rule.arg} + 1);
  }
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
  };
  std::size_t length = 0;
  std::vector<PerChain> chains;
  std::vector<Presence> presences;  // in either tier, or on the way to L2
  Reason l2 = Reason::kNone;        // why L2 was not, or not fully, asked

  [[nodiscard]] std::size_t run() const { return common_run(presences); }
  [[nodiscard]] bool holds(std::size_t n) const {
    return all_needed(n, [](const PerChain& c, std::size_t i) { return c.pins[i].slot != kNoSlot; });
  }
  [[nodiscard]] bool has_in_l1(std::size_t n) const {
    return all_needed(n, [](const PerChain& c, std::size_t i) { return c.in_l1[i]; });
  }
  template <typename Test>
  [[nodiscard]] bool all_needed(std::size_t n, Test test) const {
    for (std::size_t c = 0; c < chains.size(); ++c) {
      const NeededBlocks needed = needed_blocks(presences[c].rule, n);
      for (std::size_t i = needed.first; i < needed.last; ++i) {
        if (!test(chains[c], i)) return false;
      }
    }
    return true;
  }
  /// From now on only what is held counts as present.
  void settle_for_held() {
    for (std::size_t c = 0; c < chains.size(); ++c) {
      for (std::size_t i = 0; i < length; ++i) presences[c].present[i] = chains[c].pins[i].slot != kNoSlot;
    }
  }
  /// Why the run of n blocks is no longer, when nothing failed.
  [[nodiscard]] Reason end_reason(std::size_t n) const {
    if (n >= length) return Reason::kNone;
    if (l2 != Reason::kNone) return l2;
    return hole_behind(presences, n) ? Reason::kHole : Reason::kMiss;
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

Engine::Survey Engine::survey(std::span<const Chain> chains, Deadline deadline, bool will_read) {
  Survey survey;
  survey.length = longest_run(chains);
  survey.chains.reserve(chains.size());
  survey.presences.reserve(chains.size());
  bool all_here = true;
  for (const Chain& chain : chains) {
    Survey::PerChain& here = survey.chains.emplace_back();
    here.pins = Pins(cache_);
    here.pins.reserve(survey.length);
    const std::size_t found = cache_->pin_each(chain.ns->id(), chain.keys.first(survey.length), here.pins);
    here.in_l1.resize(survey.length);
    for (std::size_t i = 0; i < survey.length; ++i) here.in_l1[i] = here.pins[i].slot != kNoSlot;
    survey.presences.push_back({chain.rule, here.in_l1});
    all_here = all_here && found == survey.length;
  }
  if (loader_ && !all_here) look_in_l2(chains, survey, deadline, will_read);
  return survey;
}

void Engine::look_in_l2(std::span<const Chain> chains, Survey& survey, Deadline deadline, bool will_read) {
  introduce(chains);
  // What still waits to be written is as good as written. It is looked up first: a block that leaves the queue from
  // here on is in the store by then.
  std::vector<BlockId> ids;
  std::vector<Wanted::Place> places;
  for (std::size_t c = 0; c < chains.size(); ++c) {
    Survey::PerChain& here = survey.chains[c];
    std::vector<BlockId> missing;
    std::vector<std::size_t> positions;
    for (std::size_t i = 0; i < survey.length; ++i) {
      if (here.in_l1[i]) continue;
      missing.push_back({chains[c].ns->id(), chains[c].keys[i]});
      positions.push_back(i);
    }
    Pins pending(cache_);
    for (std::size_t k = 0; k < missing.size(); ++k) pending.adopt({});
    outlet_.ingest->pin_pending(missing, pending);
    for (std::size_t k = 0; k < missing.size(); ++k) {
      if (pending[k].slot != kNoSlot) {
        here.pins.fill(positions[k], pending.take(k));
        survey.presences[c].present[positions[k]] = true;
      } else {
        ids.push_back(missing[k]);
        places.push_back({c, positions[k]});
      }
    }
  }
  std::vector<bool> present;
  survey.l2 = loader_->contains(ids, present, deadline, will_read);
  for (std::size_t k = 0; k < ids.size(); ++k) {
    if (present[k]) survey.presences[places[k].chain].present[places[k].position] = true;
  }
}

// Memory for the blocks of the run that are not held: places in L1, and with `past_l1` memory outside of it for those
// that L1 declines. Blocks without memory are no longer present in the survey.
Engine::Wanted Engine::make_room(std::span<const Chain> chains, Survey& survey, std::size_t run, bool past_l1) {
  Wanted wanted;
  wanted.memory = Pins(cache_);
  for (std::size_t c = 0; c < chains.size(); ++c) {
    const Chain& chain = chains[c];
    Survey::PerChain& here = survey.chains[c];
    const NeededBlocks needed = needed_blocks(chain.rule, run);
    std::size_t first = needed.first;
    while (first < needed.last && here.in_l1[first]) ++first;
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
      if (!past_l1 && fate == Fate::kPresent) continue;  // somebody else is bringing it
      std::optional<PinnedBlock> memory;
      if (filling.slot != kNoSlot) {
        memory = filling;
      } else if (past_l1) {
        memory = cache_->allocate_transit({chain.ns->id(), chain.keys[i]},
                                          static_cast<std::uint32_t>(chain.ns->block_bytes()));
      }
      if (!memory) {
        if (wanted.short_of == Reason::kNone) wanted.short_of = past_l1 ? Reason::kFull : reason_of(fate);
        survey.presences[c].present[i] = false;
        if (rooted) break;  // what follows would not be usable
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
  // Nothing is evicted for a read that cannot happen.
  if (!survey.holds(run) && deadline.passed(clock_.now())) return Reason::kTimeout;
  Wanted wanted = make_room(chains, survey, run, true);
  outlet_.pass_on(std::move(wanted.out));
  std::vector<Reason> outcomes;
  Pins loaded(cache_);
  loader_->read(std::move(wanted.memory), std::move(wanted.publish), deadline, outcomes, loaded);
  Reason first_failure = wanted.short_of;
  for (std::size_t k = 0; k < outcomes.size(); ++k) {
    const auto [c, i] = wanted.places[k];
    if (outcomes[k] == Reason::kNone) {
      survey.chains[c].pins.fill(i, loaded.take(k));
    } else {
      survey.presences[c].present[i] = false;
      if (first_failure == Reason::kNone) first_failure = outcomes[k];
    }
  }
  return first_failure;
}

// Brings up what the longest run needs. A block that fails makes the run shorter, and a shorter run of another rule may
// need other blocks: so again, until everything it needs is held. Answers the first failure.
Reason Engine::hold_run(std::span<const Chain> chains, Survey& survey, Deadline deadline) {
  Reason first_failure = Reason::kNone;
  for (int round = 1;; ++round) {
    const std::size_t run = survey.run();
    // What is held but not in L1, on its way to L2, is taken back in first.
    if (round == 1 ? survey.has_in_l1(run) : survey.holds(run)) return first_failure;
    const Reason failure = bring_up(chains, survey, run, deadline);
    if (first_failure == Reason::kNone) first_failure = failure;
    const bool only_copies = failure == Reason::kMiss || failure == Reason::kCorrupt || failure == Reason::kForeign;
    if (round >= kRounds || (failure != Reason::kNone && !only_copies)) survey.settle_for_held();
  }
}

// The common case without a survey. With a store only for a chain that is all here.
bool Engine::gather_from_l1(const Chain& chain, Gathered& gathered) {
  gathered.pins = Pins(cache_);
  gathered.pins.reserve(chain.size());
  const std::size_t run = cache_->pin_run(chain.ns->id(), chain.keys, gathered.pins);
  if (run < chain.size() && loader_) {
    gathered.pins.release();
    return false;
  }
  gathered.match.blocks = gathered.match.from_l1 = run;
  if (run < chain.size()) {
    const auto behind = chain.keys.subspan(run + 1, std::min(kHoleWindow, chain.size() - run - 1));
    bool hole = false;
    for (std::size_t i = 0; i < behind.size() && !hole; ++i) {
      hole = cache_->match_run(chain.ns->id(), behind.subspan(i, 1)).blocks > 0;
    }
    gathered.match.reason = hole ? Reason::kHole : Reason::kMiss;
  }
  outlet_.pass_on(cache_->touch(gathered.pins.blocks()));
  count(gathered.match, chain.size(), run * chain.ns->block_bytes(), 0);
  return true;
}

Engine::Gathered Engine::gather(std::span<const Chain> chains, Deadline deadline) {
  leases_->expire_due();
  Gathered gathered;
  if (chains.size() == 1 && chains[0].rule == MatchRule::prefix() && gather_from_l1(chains[0], gathered)) {
    return gathered;
  }
  if (loader_) deadline = loader_->capped(deadline);
  Survey found = survey(chains, deadline, true);
  const Reason failure = loader_ ? hold_run(chains, found, deadline) : Reason::kNone;
  const std::size_t run = found.run();
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
    outlet_.pass_on(cache_->touch(hits));
  }
  gathered.match.reason = run < found.length && failure != Reason::kNone ? failure : found.end_reason(run);
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
  if (chains.size() == 1 && chains[0].rule == MatchRule::prefix()) {
    const MemoryCache::Run run = cache_->match_run(chains[0].ns->id(), chains[0].keys);
    if (run.blocks == chains[0].size() || !loader_) {
      match.blocks = match.from_l1 = run.blocks;
      if (run.blocks < chains[0].size()) match.reason = run.more_behind ? Reason::kHole : Reason::kMiss;
      return match;
    }
  }
  const Survey found = survey(chains, loader_ ? loader_->capped(deadline) : deadline, false);
  match.blocks = found.run();
  count_tiers(chains, found, match);
  match.reason = found.end_reason(match.blocks);
  return match;
}

Result<EachFound> Engine::find_each(const Chain& chain, Deadline deadline) {
  if (chain.ns == nullptr) return fail(ErrorCode::kInvalid, "a chain has no namespace");
  const Chain all(*chain.ns, chain.keys);
  if (auto ok = check_chains(std::span(&all, 1)); !ok) return std::unexpected(ok.error());
  const Survey survey = this->survey(std::span(&all, 1), loader_ ? loader_->capped(deadline) : deadline, false);
  EachFound each{.found = survey.presences[0].present, .match = {}};
  for (std::size_t i = 0; i < each.found.size(); ++i) {
    if (each.found[i]) ++(survey.chains[0].in_l1[i] ? each.match.from_l1 : each.match.from_l2);
  }
  each.match.blocks = each.match.from_l1 + each.match.from_l2;
  if (each.match.blocks < chain.size()) each.match.reason = survey.l2 != Reason::kNone ? survey.l2 : Reason::kMiss;
  return each;
}

void Engine::count_tiers(std::span<const Chain> chains, const Survey& found, Match& match) {
  for (std::size_t c = 0; c < chains.size(); ++c) {
    const NeededBlocks needed = needed_blocks(chains[c].rule, match.blocks);
    for (std::size_t i = needed.first; i < needed.last; ++i) {
      ++(found.chains[c].in_l1[i] ? match.from_l1 : match.from_l2);
    }
  }
}

Result<Acquired> Engine::acquire(std::span<const Chain> chains, Deadline deadline) {
  if (auto ok = check_chains(chains); !ok) return std::unexpected(ok.error());
  Gathered gathered = gather(chains, deadline);
  Acquired acquired;
  acquired.match = gathered.match;
  acquired.lease = leases_->open(std::move(gathered.pins));
  if (lease_words_ && acquired.lease.empty() && gathered.match.blocks > 0) {  // every word is taken
    acquired.match = {.blocks = 0, .from_l1 = 0, .from_l2 = 0, .reason = Reason::kBusy};
    counters_.reasons[static_cast<std::size_t>(Reason::kBusy)].fetch_add(1, std::memory_order_relaxed);
  }
  return acquired;
}

bool Engine::answers_at_once(std::span<const Chain> chains) {
  if (!loader_ || chains.empty()) return true;
  const std::size_t length = longest_run(chains);
  // Also the blocks that a rule does not need: gather asks L2 about them before it knows.
  return std::ranges::all_of(
      chains, [&](const Chain& chain) { return cache_->has_all(chain.ns->id(), chain.keys.first(length)); });
}

Result<Match> Engine::get(std::span<const Chain> chains, std::size_t from, std::span<const MutableBytes> out,
                          Deadline deadline) {
  if (auto ok = check_chains(chains); !ok) return std::unexpected(ok.error());
  if (out.size() % chains.size() != 0) {
    return fail(ErrorCode::kInvalid, std::to_string(out.size()) + " buffers cannot be shared out over " +
                                         std::to_string(chains.size()) + " chains");
  }
  const std::size_t each = out.size() / chains.size();
  Chain only;  // one chain needs no heap
  std::vector<Chain> several(chains.size() > 1 ? chains.size() : 0);
  const std::span<Chain> parts = several.empty() ? std::span(&only, 1) : std::span(several);
  for (std::size_t c = 0; c < chains.size(); ++c) {
    const Chain& chain = chains[c];
    if (from > chain.size() || each > chain.size() - from) {
      return fail(ErrorCode::kInvalid, std::to_string(each) + " blocks from " + std::to_string(from) +
                                           " on are beyond a chain of " + std::to_string(chain.size()));
    }
    for (std::size_t i = 0; i < each; ++i) {
      const std::size_t size = out[c * each + i].size();
      if (size != chain.ns->block_bytes()) {
        return fail(ErrorCode::kInvalid, "a buffer of " + std::to_string(size) + " bytes for blocks of " +
                                             std::to_string(chain.ns->block_bytes()));
      }
    }
    MatchRule rule = chain.rule;
    if (rule.kind == MatchRule::Kind::kExact) {
      // A position before `from` is not among these blocks: nothing can match.
      rule.arg = rule.arg >= from ? rule.arg - static_cast<std::uint32_t>(from) : kNowhere;
    }
    parts[c] = Chain(*chain.ns, chain.keys.subspan(from, each), rule);
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
  leases_->expire_due();
  Survey found = survey(chains, loader_->capped(deadline), true);
  Wanted wanted = make_room(chains, found, found.run(), false);
  outlet_.pass_on(std::move(wanted.out));
  Reason failure = wanted.short_of;
  if (!loader_->read_ahead(std::move(wanted.memory), std::move(wanted.publish))) {
    for (const auto [c, i] : wanted.places) found.presences[c].present[i] = false;
    failure = Reason::kBusy;
  }
  Match match;
  match.blocks = found.run();
  count_tiers(chains, found, match);
  match.reason = match.blocks < found.length && failure != Reason::kNone ? failure : found.end_reason(match.blocks);
  return match;
}

}  // namespace reprise
