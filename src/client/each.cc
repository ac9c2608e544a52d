#include "client/each.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/kernels.h"
#include "base/log.h"
#include "client/attached_cache.h"
#include "client/shared_lease.h"

namespace reprise {
namespace {

// Received and hashed in pieces of this size: small enough to be hashed out of the processor's cache.
constexpr std::size_t kPiece = 128 << 10;

/// A server's own word is no answer about blocks: the store is as good as away.
Reason reason_for(ClientSession& session, const Error& error) {
  const auto reason = meaning_of(session, error);
  if (reason) return *reason;
  log::warn(session.link->peer() + ": " + reason.error().message);
  return Reason::kUnavailable;
}

/// What a block that was not found is: gone, or only not to be had now.
Reason why_not(const wire::Matched& match) {
  switch (const Reason reason = wire::reason_of(match.reason())) {
    case Reason::kBusy:
    case Reason::kTimeout:
    case Reason::kUnavailable:
    case Reason::kExpired: return reason;
    default: return Reason::kMiss;
  }
}

std::vector<EachRead> all(std::size_t count, Reason reason) {
  return std::vector<EachRead>(count, EachRead{.result = reason, .checksum = 0});
}

/// Takes the payload of a reply to `get` about blocks each by itself.
class EachReceiver final : public ReplyPayload {
 public:
  explicit EachReceiver(std::span<const MutableBytes> into) : into_(into), reads_(all(into.size(), Reason::kMiss)) {}

  bool begin(Bytes body, std::uint64_t payload_bytes) override {
    const auto* got = wire::read_body<wire::Got>(body);
    const auto found = got != nullptr ? found_of(got->match(), into_.size()) : std::nullopt;
    if (!found) return false;
    missing_ = why_not(*got->match());
    std::uint64_t bytes = 0;
    for (std::size_t i = 0; i < into_.size(); ++i) {
      if (!(*found)[i]) continue;
      coming_.push_back(i);
      bytes += into_[i].size();
    }
    const std::size_t sums = got->checksums() != nullptr ? got->checksums()->size() : 0;
    if (sums != coming_.size() || payload_bytes != bytes) return false;
    for (std::size_t k = 0; k < sums; ++k) {
      reads_[coming_[k]].checksum = got->checksums()->Get(static_cast<flatbuffers::uoffset_t>(k));
    }
    begun_ = true;
    return true;
  }

  MutableBytes next() override {
    if (done_ == coming_.size()) return {};
    const MutableBytes target = into_[coming_[done_]];
    return target.subspan(have_, std::min(kPiece, target.size() - have_));
  }

  void arrived(std::size_t count) override {
    const MutableBytes target = into_[coming_[done_]];
    running_.add(target.subspan(have_, count));
    have_ += count;
    if (have_ < target.size()) return;
    EachRead& read = reads_[coming_[done_++]];
    read.result = running_.value() == read.checksum ? Reason::kNone : Reason::kCorrupt;
    corrupt_ = corrupt_ || read.result == Reason::kCorrupt;
    running_.restart();
    have_ = 0;
  }

  /// `otherwise`: why the answer did not come, or not whole; kNone when it did.
  [[nodiscard]] std::vector<EachRead> take(Reason otherwise) {
    const Reason missing = otherwise == Reason::kNone ? missing_ : otherwise;
    if (!begun_) return all(into_.size(), missing);
    std::vector<bool> came(into_.size());
    for (std::size_t k = 0; k < done_; ++k) came[coming_[k]] = true;
    for (std::size_t i = 0; i < into_.size(); ++i) {
      if (!came[i]) reads_[i].result = missing;
    }
    return std::move(reads_);
  }
  [[nodiscard]] bool corrupt() const { return corrupt_; }

 private:
  const std::span<const MutableBytes> into_;
  std::vector<EachRead> reads_;
  std::vector<std::size_t> coming_;  // which blocks the payload is, in its order
  RunningChecksum running_;
  Reason missing_ = Reason::kMiss;
  std::size_t done_ = 0;  // of coming_
  std::size_t have_ = 0;  // bytes of the next
  bool begun_ = false;
  bool corrupt_ = false;
};

}  // namespace

std::optional<std::vector<bool>> found_of(const wire::Matched* message, std::size_t count) {
  if (message == nullptr || message->blocks() > count) return std::nullopt;
  std::vector<bool> found(count);
  const auto* bits = message->found();
  if (bits == nullptr) {  // a run: from a server that does not know better, or that found nothing
    std::fill_n(found.begin(), message->blocks(), true);
    return found;
  }
  if (bits->size() < (count + 7) / 8) return std::nullopt;
  std::uint64_t named = 0;
  for (std::size_t i = 0; i < count; ++i) {
    found[i] = (bits->Get(static_cast<flatbuffers::uoffset_t>(i / 8)) >> (i % 8) & 1) != 0;
    named += found[i] ? 1 : 0;
  }
  if (named != message->blocks()) return std::nullopt;
  return found;
}

std::expected<std::vector<bool>, Reason> find_each(LinkPool& pool, const Chain& chain, Deadline deadline) {
  deadline = pool.limited(deadline);
  const auto session = pool.borrow(deadline);
  if (!session) return std::unexpected(session.reason());
  const auto answer = ask_about<wire::Matched>(*session, wire::Type::kMatch, std::span(&chain, 1),
                                               patience_until(deadline), /*each=*/true);
  if (!answer) return std::unexpected(reason_for(*session, answer.error()));
  auto found = found_of(*answer, chain.size());
  if (!found) return std::unexpected(nonsense(*session, "blocks that were not asked about"));
  const Reason missing = why_not(**answer);
  if ((*answer)->blocks() == 0 && missing != Reason::kMiss) return std::unexpected(missing);
  return std::move(*found);
}

std::vector<EachRead> copy_each(const std::shared_ptr<LinkPool>& pool, const Chain& chain,
                                std::span<const MutableBytes> into, Deadline deadline) {
  deadline = pool->limited(deadline);
  const auto session = pool->borrow(deadline);
  if (!session) return all(chain.size(), session.reason());
  const TimePoint asked = std::chrono::steady_clock::now();
  const auto answer = ask_about<wire::Leased>(*session, wire::Type::kAcquire, std::span(&chain, 1),
                                              patience_until(deadline), /*each=*/true);
  if (!answer) return all(chain.size(), reason_for(*session, answer.error()));
  const auto found = found_of((*answer)->match(), chain.size());
  if (!found) return all(chain.size(), nonsense(*session, "blocks that were not asked about"));
  std::vector<EachRead> reads = all(chain.size(), why_not(*(*answer)->match()));
  if ((*answer)->match()->blocks() == 0) return reads;
  const std::vector<std::uint64_t> lengths((*answer)->match()->blocks(), chain.ns->block_bytes());
  auto parts = lease_parts_of(**answer, *session, lengths);
  if (!parts) return all(chain.size(), nonsense(*session, "a lease that cannot be"));
  const SharedLease lease(pool, session.share(), std::move(*parts), asked);
  std::size_t next = 0;
  for (std::size_t i = 0; i < chain.size(); ++i) {
    if ((*found)[i]) reads[i] = {Reason::kNone, copy_block_checksum(into[i], lease.block(next++))};
  }
  // A process that was stopped in between may have copied what replaced the blocks.
  if (!lease.still_valid()) return all(chain.size(), Reason::kExpired);
  return reads;
}

std::vector<EachRead> receive_each(LinkPool& pool, const Chain& chain, std::span<const MutableBytes> into,
                                   Deadline deadline) {
  deadline = pool.limited(deadline);
  const auto session = pool.borrow(deadline);
  if (!session) return all(chain.size(), session.reason());
  const Patience patience = patience_until(deadline);
  EachReceiver receiver(into);
  const auto answer = [&]() -> Result<const wire::Got*> {
    if (auto ok = open_namespaces(*session, std::span(&chain, 1), patience); !ok) return std::unexpected(ok.error());
    flatbuffers::FlatBufferBuilder& builder = session->builder;
    builder.Clear();
    const auto wired = builder.CreateVector(chains_to_wire(*session, std::span(&chain, 1)));
    builder.Finish(wire::CreateGet(builder, wired, 0, chain.size(), /*each=*/true));
    return session->link->ask<wire::Got>(wire::Type::kGet, wire::body_of(builder), patience, {}, &receiver);
  }();
  if (receiver.corrupt()) log::warn("a block from " + session->link->peer() + " failed its checksum and is not used");
  return receiver.take(answer ? Reason::kNone : reason_for(*session, answer.error()));
}

std::expected<std::size_t, Reason> erase_each(LinkPool& pool, const Chain& chain, Deadline deadline) {
  deadline = pool.limited(deadline);
  const auto session = pool.borrow(deadline);
  if (!session) return std::unexpected(session.reason());
  const auto answer =
      ask_about<wire::Erased>(*session, wire::Type::kErase, std::span(&chain, 1), patience_until(deadline));
  if (!answer) return std::unexpected(reason_for(*session, answer.error()));
  return (*answer)->blocks();
}

}  // namespace reprise
