#include "client/remote_get.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "base/kernels.h"
#include "base/log.h"
#include "client/arguments.h"
#include "client/attached_cache.h"

namespace reprise {
namespace {

// Received and hashed in pieces of this size: small enough to be hashed out of the processor's cache.
constexpr std::size_t kPiece = 128 << 10;

/// Takes the payload of one reply to `get`.
class BlockReceiver final : public ReplyPayload {
 public:
  /// `first`: where the chains' first blocks are in what the destination counts.
  BlockReceiver(std::span<const Chain> chains, std::size_t first, Destination& into)
      : chains_(chains), first_(first), into_(into), verified_(chains.size(), 0) {}

  bool begin(Bytes body, std::uint64_t payload_bytes) override {
    const auto* got = wire::read_body<wire::Got>(body);
    if (got == nullptr) return false;
    match_ = match_of(got->match(), chains_);
    if (!match_) return false;
    const std::size_t needed = needed_total(chains_, match_->blocks);
    const std::size_t sums = got->checksums() != nullptr ? got->checksums()->size() : 0;
    std::uint64_t bytes = 0;
    for (const Chain& chain : chains_) {
      const NeededBlocks blocks = needed_blocks(chain.rule, match_->blocks);
      bytes += (blocks.last - blocks.first) * chain.ns->block_bytes();
    }
    if (sums != needed || payload_bytes != bytes) return false;
    if (needed > 0) checksums_.assign(got->checksums()->begin(), got->checksums()->end());
    into_.expect(bytes);
    open_chain();
    return true;
  }

  MutableBytes next() override { return target_.subspan(have_, std::min(kPiece, target_.size() - have_)); }

  void arrived(std::size_t count) override {
    running_.add(target_.subspan(have_, count));
    have_ += count;
    if (have_ < target_.size()) return;
    const bool right = running_.value() == checksums_[done_++];
    if (right && verified_[chain_] == position_ - first_needed_) ++verified_[chain_];
    corrupt_ = corrupt_ || !right;
    ++position_;
    running_.restart();
    if (position_ < last_needed_) {
      open_block();
    } else {
      ++chain_;
      open_chain();
    }
  }

  /// What came and is right.
  [[nodiscard]] Match usable(bool complete, Reason otherwise) const {
    if (!match_) return {.reason = otherwise};
    Match match = *match_;
    if (complete && !corrupt_) return match;
    // What other rules would need for a shorter run was not asked for.
    match.blocks = all_prefix(chains_) ? std::ranges::min(verified_) : 0;
    match.reason = corrupt_ ? Reason::kCorrupt : otherwise;
    const std::size_t needed = needed_total(chains_, match.blocks);
    match.from_l1 = std::min(match.from_l1, needed);
    match.from_l2 = std::min(match.from_l2, needed - match.from_l1);
    return match;
  }
  [[nodiscard]] bool corrupt() const { return corrupt_; }

 private:
  void open_chain() {
    for (; chain_ < chains_.size(); ++chain_) {
      const NeededBlocks needed = needed_blocks(chains_[chain_].rule, match_->blocks);
      if (needed.first == needed.last) continue;
      first_needed_ = position_ = needed.first;
      last_needed_ = needed.last;
      open_block();
      return;
    }
    target_ = {};
    have_ = 0;
  }
  void open_block() {
    target_ = into_.block(chain_, first_ + position_);
    have_ = 0;
  }

  const std::span<const Chain> chains_;
  const std::size_t first_;
  Destination& into_;
  std::optional<Match> match_;
  std::vector<std::uint64_t> checksums_;
  std::vector<std::size_t> verified_;  // of each chain: right ones before the first that is not
  RunningChecksum running_;
  MutableBytes target_;  // of the block that is arriving
  std::size_t have_ = 0;
  std::size_t done_ = 0;
  std::size_t chain_ = 0;
  std::size_t position_ = 0;
  std::size_t first_needed_ = 0;
  std::size_t last_needed_ = 0;
  bool corrupt_ = false;
};

/// One request. `first` as above.
Result<Match> get_once(LinkPool& pool, std::span<const Chain> chains, std::size_t first, Destination& into,
                       Deadline deadline) {
  const auto session = pool.borrow(deadline);
  if (!session) return Match{.reason = session.reason()};
  const Patience patience = patience_until(deadline);
  BlockReceiver receiver(chains, first, into);
  const auto answer = [&]() -> Result<const wire::Got*> {
    if (auto ok = open_namespaces(*session, chains, patience); !ok) return std::unexpected(ok.error());
    flatbuffers::FlatBufferBuilder& builder = session->builder;
    builder.Clear();
    const auto wired = builder.CreateVector(chains_to_wire(*session, chains));
    builder.Finish(wire::CreateGet(builder, wired, 0, longest_run(chains)));
    return session->link->ask<wire::Got>(wire::Type::kGet, wire::body_of(builder), patience, {}, &receiver);
  }();
  if (receiver.corrupt()) log::warn("a block from " + session->link->peer() + " failed its checksum and is not used");
  if (answer) return receiver.usable(true, Reason::kNone);
  const auto reason = meaning_of(*session, answer.error());
  if (!reason) return std::unexpected(reason.error());
  return receiver.usable(false, *reason);
}

}  // namespace

bool all_prefix(std::span<const Chain> chains) {
  return std::ranges::all_of(chains, [](const Chain& chain) { return chain.rule == MatchRule::prefix(); });
}

std::size_t blocks_a_frame(std::span<const Chain> chains) {
  std::uint64_t bytes = 0;
  for (const Chain& chain : chains) {
    if (chain.ns->block_bytes() > wire::kMaxPayload) return 0;
    bytes += chain.ns->block_bytes();
  }
  return bytes == 0 ? 0 : wire::kMaxPayload / bytes;
}

Result<Match> get_blocks(LinkPool& pool, std::span<const Chain> chains, Destination& into, Deadline deadline) {
  const std::size_t each = longest_run(chains);
  const std::size_t most = blocks_a_frame(chains);
  // The worst case of a rule that needs fewer: a run of any length needs no more than this.
  if (most == 0 || (each > most && !all_prefix(chains))) return Match{.reason = Reason::kUnsupported};
  Match all;
  for (std::size_t done = 0; done < each;) {
    const std::size_t count = std::min(most, each - done);
    const std::vector<Chain> parts = parts_of(chains, done, count);
    const auto match = get_once(pool, parts, done, into, deadline);
    if (!match) return match;
    all.blocks += match->blocks;
    all.from_l1 += match->from_l1;
    all.from_l2 += match->from_l2;
    all.reason = match->reason;
    if (match->blocks < count) break;
    done += count;
  }
  return all;
}

}  // namespace reprise
