#include "client/shared_lease.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "client/attached_cache.h"
#include "l1/lease_words.h"

namespace reprise {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLongestTtl = std::chrono::hours(24 * 365);

}  // namespace

// --- leases ----------------------------------------------------------------------------------------------------------

std::optional<LeaseParts> lease_parts_of(const wire::Leased& message, const ClientSession& session,
                                         std::optional<std::span<const std::uint64_t>> lengths) {
  const auto* pieces = message.blocks();
  const std::size_t count = pieces != nullptr ? pieces->size() : 0;
  if (message.lease() == 0 || count == 0 || (lengths && count != lengths->size())) return std::nullopt;
  LeaseParts parts;
  parts.id = message.lease();
  parts.generation = message.generation();
  parts.word = session.mapping->word(message.word());
  if (parts.word == nullptr || parts.generation % 2 == 0 || message.token() == nullptr) return std::nullopt;
  parts.token = wire::from_wire<LeaseToken>(*message.token());
  const auto ttl = static_cast<std::uint64_t>(session.lease_ttl.count());
  parts.spent = milliseconds(ttl - std::min(ttl, message.ttl_ms()));
  parts.blocks.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    const wire::Piece* piece = pieces->Get(static_cast<flatbuffers::uoffset_t>(i));
    const auto bytes = session.mapping->readable(piece->offset(), piece->bytes());
    if (!bytes || bytes->empty() || (lengths && bytes->size() != (*lengths)[i])) return std::nullopt;
    parts.blocks.push_back(*bytes);
  }
  return parts;
}

SharedLease::SharedLease(std::shared_ptr<LinkPool> pool, std::shared_ptr<ClientSession> session, LeaseParts parts,
                         TimePoint asked)
    : pool_(std::move(pool)), session_(std::move(session)), mapping_(session_->mapping), parts_(std::move(parts)) {
  node_.id = parts_.id;
  node_.renewed = asked - parts_.spent;
  pool_->enlist(*session_, node_);
}

SharedLease::~SharedLease() {
  pool_->delist(node_);
  pool_->tell(session_, {wire::Type::kRelease, parts_.id});
}

bool SharedLease::still_valid() const {
  return LeaseWords::valid(*parts_.word, parts_.generation);
}

bool SharedLease::renew(Duration span) {
  if (!still_valid()) return false;
  pool_->delist(node_);
  const auto ttl = std::clamp(std::chrono::duration_cast<milliseconds>(span), milliseconds(1), kLongestTtl);
  pool_->tell(session_, {wire::Type::kRenew, parts_.id, static_cast<std::uint64_t>(ttl.count())});
  return still_valid();
}

// --- reservations ----------------------------------------------------------------------------------------------------

std::optional<std::vector<SharedReservation::Place>> places_of(const wire::Reserved& message,
                                                               const ClientSession& session, std::size_t count,
                                                               std::uint64_t block_bytes) {
  const auto* pieces = message.places();
  const auto* reasons = message.reasons();
  if (pieces == nullptr || reasons == nullptr || pieces->size() != count || reasons->size() != count) {
    return std::nullopt;
  }
  std::vector<SharedReservation::Place> places(count);
  for (std::size_t i = 0; i < count; ++i) {
    const auto at = static_cast<flatbuffers::uoffset_t>(i);
    const wire::Piece* piece = pieces->Get(at);
    if (piece->bytes() == 0) {
      places[i].reason = wire::reason_of(reasons->Get(at));
      // A newer server's reason is still a refusal.
      if (places[i].reason == Reason::kNone && reasons->Get(at) != 0) places[i].reason = Reason::kDeclined;
      continue;
    }
    const auto memory = session.mapping->writable(piece->offset(), piece->bytes());
    if (!memory || memory->size() != block_bytes || message.reservation() == 0) return std::nullopt;
    places[i].memory = *memory;
  }
  return places;
}

SharedReservation::SharedReservation(std::shared_ptr<LinkPool> pool, std::shared_ptr<ClientSession> session,
                                     std::uint64_t id, std::vector<Place> places)
    : pool_(std::move(pool)), session_(std::move(session)), id_(id), places_(std::move(places)) {}

SharedReservation::~SharedReservation() {
  if (id_ != 0) pool_->tell(session_, {wire::Type::kAbandon, id_});
}

std::size_t SharedReservation::commit(std::size_t count) {
  return commit_by(count, Deadline::never()).value_or(0);
}

std::expected<std::size_t, Reason> SharedReservation::commit_by(std::size_t count, Deadline deadline) {
  count = std::min(count, places_.size());
  if (id_ == 0) {
    return static_cast<std::size_t>(std::ranges::count(std::span(places_).first(count), Reason::kNone, &Place::reason));
  }
  deadline = pool_->limited(deadline);
  const auto session = pool_->borrow(session_, deadline);
  if (!session) return std::unexpected(session.reason());
  const std::uint64_t id = std::exchange(id_, 0);  // whatever comes now, it is over
  session->builder.Clear();
  session->builder.Finish(wire::CreateCommit(session->builder, id, count));
  const auto answer = session->link->ask<wire::Committed>(wire::Type::kCommit, wire::body_of(session->builder),
                                                          patience_until(deadline));
  if (!answer) return std::unexpected(meaning_of(*session, answer.error()).value_or(Reason::kUnavailable));
  if ((*answer)->present() > count)
    return std::unexpected(nonsense(*session, "more blocks committed than were filled"));
  return (*answer)->present();
}

}  // namespace reprise
