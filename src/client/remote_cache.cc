#include "client/remote_cache.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/aligned_buffer.h"
#include "client/arguments.h"
#include "client/remote_get.h"

namespace reprise {
namespace {

/// The caller's buffers.
class CallersBuffers final : public Destination {
 public:
  CallersBuffers(std::span<const MutableBytes> out, std::size_t each) : out_(out), each_(each) {}
  MutableBytes block(std::size_t chain, std::size_t position) override { return out_[chain * each_ + position]; }

 private:
  const std::span<const MutableBytes> out_;
  const std::size_t each_;
};

/// Memory of a lease's own, as much as the blocks that come need.
class OwnMemory final : public Destination {
 public:
  explicit OwnMemory(std::span<const Chain> chains) : chains_(chains), blocks_(chains.size()) {}

  void expect(std::uint64_t bytes) override { rest_ = memory_.emplace_back(bytes).span(); }
  MutableBytes block(std::size_t chain, std::size_t) override {
    const MutableBytes block = rest_.first(chains_[chain].ns->block_bytes());
    rest_ = rest_.subspan(block.size());
    blocks_[chain].push_back(block);
    return block;
  }

  /// The needed blocks of a run of n, chain after chain. They came in order, so they are the first ones.
  [[nodiscard]] std::vector<Bytes> blocks_of_run(std::size_t n) const {
    std::vector<Bytes> blocks;
    for (std::size_t c = 0; c < chains_.size(); ++c) {
      const NeededBlocks needed = needed_blocks(chains_[c].rule, n);
      for (std::size_t i = 0; i < needed.last - needed.first; ++i) blocks.push_back(blocks_[c][i]);
    }
    return blocks;
  }
  [[nodiscard]] std::vector<AlignedBuffer> take_memory() { return std::move(memory_); }

 private:
  const std::span<const Chain> chains_;
  std::vector<std::vector<Bytes>> blocks_;
  std::vector<AlignedBuffer> memory_;
  MutableBytes rest_;
};

/// A copy of blocks: it cannot run out.
class CopyLease final : public Lease::Body {
 public:
  CopyLease(std::vector<AlignedBuffer> memory, std::vector<Bytes> blocks)
      : memory_(std::move(memory)), blocks_(std::move(blocks)) {}
  [[nodiscard]] std::size_t size() const override { return blocks_.size(); }
  [[nodiscard]] Bytes block(std::size_t i) const override { return blocks_[i]; }
  [[nodiscard]] bool still_valid() const override { return true; }
  [[nodiscard]] Result<LeaseToken> token() override {
    return fail(ErrorCode::kDenied, "a lease over the network is a copy of its own: nobody else can attach to it");
  }
  [[nodiscard]] bool renew(Duration) override { return true; }

 private:
  const std::vector<AlignedBuffer> memory_;
  const std::vector<Bytes> blocks_;
};

/// Blocks that are filled here and sent by commit.
class LocalReservation final : public Reservation::Body {
 public:
  /// Blocks [from + present, from + present + sendable) of the chain get memory.
  LocalReservation(std::shared_ptr<LinkPool> pool, std::shared_ptr<RemotePut> put, const Chain& chain, std::size_t from,
                   std::size_t present, std::size_t sendable)
      : pool_(std::move(pool)),
        put_(std::move(put)),
        ns_(*chain.ns),
        keys_(chain.keys.begin(), chain.keys.end()),
        rule_(chain.rule),
        from_(from),
        present_(present),
        sendable_(sendable),
        memory_(sendable * chain.ns->block_bytes()) {}

  [[nodiscard]] std::size_t size() const override { return keys_.size() - from_; }
  [[nodiscard]] MutableBytes block(std::size_t i) override {
    if (i < present_ || i >= present_ + sendable_) return {};
    return memory_.span().subspan((i - present_) * ns_.block_bytes(), ns_.block_bytes());
  }
  [[nodiscard]] std::size_t commit(std::size_t count) override {
    count = std::min(count, present_ + sendable_);
    if (count <= present_) return count;
    std::vector<Bytes> blocks;
    for (std::size_t i = present_; i < count; ++i) blocks.push_back(block(i));
    const Chain chain(ns_, keys_, rule_);
    const auto stored =
        (*put_)(*pool_, std::span(&chain, 1), from_ + present_, blocks, pool_->limited(Deadline::never()));
    return present_ + (stored ? stored->accepted + stored->present : 0);
  }

 private:
  const std::shared_ptr<LinkPool> pool_;  // shared with the cache, which may be gone by then
  const std::shared_ptr<RemotePut> put_;  // likewise
  const Namespace ns_;
  const std::vector<BlockKey> keys_;
  const MatchRule rule_;
  const std::size_t from_;
  const std::size_t present_;
  const std::size_t sendable_;
  const AlignedBuffer memory_;
};

}  // namespace

Result<Match> RemoteCache::get(std::span<const Chain> chains, std::size_t from, std::span<const MutableBytes> out,
                               Deadline deadline) {
  const auto each = blocks_each(chains, from, out);
  if (!each) return std::unexpected(each.error());
  if (*each == 0) return Match{};
  CallersBuffers into(out, *each);
  return get_blocks(*pool_, parts_of(chains, from, *each), into, pool_->limited(deadline));
}

Result<Acquired> RemoteCache::acquire(std::span<const Chain> chains, Deadline deadline) {
  if (auto ok = check_request(chains); !ok) return std::unexpected(ok.error());
  const std::size_t longest = longest_run(chains);
  if (longest == 0) return Acquired{};
  const std::vector<Chain> parts = parts_of(chains, 0, longest);
  OwnMemory into(parts);
  const auto match = get_blocks(*pool_, parts, into, pool_->limited(deadline));
  if (!match) return std::unexpected(match.error());
  Acquired acquired{.match = *match, .lease = {}};
  if (match->blocks > 0) {
    auto blocks = into.blocks_of_run(match->blocks);
    acquired.lease = Lease(std::make_unique<CopyLease>(into.take_memory(), std::move(blocks)));
  }
  return acquired;
}

Result<Stored> RemoteCache::put(std::span<const Chain> chains, std::size_t from, std::span<const Bytes> blocks,
                                Deadline deadline) {
  const auto each = blocks_each(chains, from, blocks);
  if (!each) return std::unexpected(each.error());
  if (*each == 0) return Stored{};
  return (*put_)(*pool_, chains, from, blocks, pool_->limited(deadline));
}

Result<Reservation> RemoteCache::reserve(const Chain& chain, std::size_t from, Deadline deadline) {
  if (auto ok = check_request(std::span(&chain, 1)); !ok) return std::unexpected(ok.error());
  if (from > chain.size()) {
    return fail(ErrorCode::kInvalid,
                "reserving from " + std::to_string(from) + " on is beyond a chain of " + std::to_string(chain.size()));
  }
  const std::size_t count = chain.size() - from;
  std::size_t present = 0;
  bool away = false;
  if (count > 0) {
    const auto match = ask_match(wire::Type::kMatch, std::span(&chain, 1), deadline);
    if (!match) return std::unexpected(match.error());
    away = match->reason == Reason::kUnavailable || match->reason == Reason::kTimeout;
    if (chain.rule == MatchRule::prefix()) present = match->blocks - std::min(match->blocks, from);
  }
  const std::size_t sendable = away ? 0 : std::min(count - present, blocks_a_frame(std::span(&chain, 1)));
  return Reservation(std::make_unique<LocalReservation>(pool_, put_, chain, from, present, sendable));
}

Result<Lease> RemoteCache::attach(const LeaseToken&) {
  return fail(ErrorCode::kDenied, "a cache over the network shares no leases; attach over the server's Unix socket");
}

}  // namespace reprise
