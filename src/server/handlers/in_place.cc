// acquire, release, renew, attach, reserve, commit, abandon: blocks read and filled where they lie.

#include <algorithm>
#include <string>
#include <utility>

#include "server/handlers.h"

namespace reprise {
namespace {

// A client may not hold a lease for longer than this without asking again.
constexpr std::chrono::hours kLongestLease{24};

Duration span_of(std::uint64_t milliseconds) {
  constexpr std::chrono::milliseconds kLongest = kLongestLease;
  return std::chrono::milliseconds(std::min<std::uint64_t>(milliseconds, kLongest.count()));
}

// Hands the lease to the session and its description to the client.
Answer answer_lease(Session& session, const Request& request, Match match, Lease lease, std::vector<bool> found = {}) {
  flatbuffers::FlatBufferBuilder builder(1024);
  std::vector<wire::Piece> pieces;
  LeaseInside inside;
  LeaseToken token;
  std::uint64_t id = 0;
  if (!lease.empty()) {
    inside = session.engine().inside(lease);
    const std::byte* arena = session.engine().arena().data();
    pieces.reserve(inside.blocks.size());
    for (const PinnedBlock& block : inside.blocks) {
      pieces.emplace_back(static_cast<std::uint64_t>(block.data - arena), block.bytes);
    }
    auto made = lease.token();
    const auto kept = made ? session.keep(std::move(lease)) : std::nullopt;
    if (kept) {
      id = *kept;
      token = *made;
    } else {
      match = {.reason = Reason::kBusy};
      found.clear();
      pieces.clear();
    }
  }
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(inside.expires - TimePoint::clock::now());
  const auto matched = to_wire(builder, match, found);
  const auto blocks = builder.CreateVectorOfStructs(pieces);
  const wire::Id wire_token = wire::to_wire(token);
  return reply(
      wire::Type::kLeased, request, builder,
      wire::CreateLeased(builder, matched, id, id != 0 ? inside.word : 0, id != 0 ? inside.generation : 0, &wire_token,
                         id != 0 ? static_cast<std::uint64_t>(std::max<long>(left.count(), 0)) : 0, blocks));
}

}  // namespace

Answer handle_acquire(Session& session, const Request& request) {
  const auto* message = wire::read_body<wire::Chains>(request.body);
  if (message == nullptr) return malformed(request);
  const auto resolved = resolve(session, message->chains(), request.body.size());
  if (!resolved) return failed(request.header.request, resolved.error());
  if (request.refusal != Reason::kNone) return answer_lease(session, request, {.reason = request.refusal}, {});
  if (!request.may_wait && !session.engine().answers_at_once(resolved->chains)) {
    return {.kind = Answer::Kind::kWouldWait, .frame = {}};
  }
  auto acquired = acquire_for(session, resolved->chains, message->each(), deadline_of(request));
  if (!acquired) return failed(request.header.request, acquired.error());
  auto& [each, lease] = *acquired;
  if (would_wait(request, each.match)) return {.kind = Answer::Kind::kWouldWait, .frame = {}};
  return answer_lease(session, request, each.match, std::move(lease), std::move(each.found));
}

Answer handle_release(Session& session, const Request& request) {
  const auto* message = wire::read_body<wire::LeaseIds>(request.body);
  if (message == nullptr) return malformed(request);
  if (message->leases() != nullptr) {
    for (const std::uint64_t lease : *message->leases()) session.release(lease);
  }
  return {};
}

Answer handle_renew(Session& session, const Request& request) {
  const auto* message = wire::read_body<wire::Renew>(request.body);
  if (message == nullptr) return malformed(request);
  session.renew(message->lease(), span_of(message->ttl_ms()));
  return {};
}

Answer handle_attach(Session& session, const Request& request) {
  const auto* message = wire::read_body<wire::Attach>(request.body);
  if (message == nullptr || message->token() == nullptr) return malformed(request);
  if (request.refusal != Reason::kNone) return answer_lease(session, request, {.reason = request.refusal}, {});
  auto lease = session.engine().attach(wire::from_wire<LeaseToken>(*message->token()));
  if (!lease) return failed(request.header.request, lease.error());
  const Match match{.blocks = lease->size()};
  return answer_lease(session, request, match, std::move(*lease));
}

namespace {

Answer answer_places(Session& session, const Request& request, Reservation reservation) {
  const std::byte* arena = session.engine().arena().data();
  std::vector<wire::Piece> places;
  std::vector<std::uint8_t> reasons;
  std::uint64_t bytes = 0;
  for (const PlaceInside& place : session.engine().inside(reservation).places) {
    const bool writable = place.kind == PlaceKind::kWritable;
    places.emplace_back(writable ? static_cast<std::uint64_t>(place.memory.data - arena) : 0,
                        writable ? place.memory.bytes : 0);
    reasons.push_back(static_cast<std::uint8_t>(place.kind == PlaceKind::kDeclined ? place.reason : Reason::kNone));
    bytes += writable ? place.memory.bytes : 0;
  }
  std::uint64_t id = 0;
  if (bytes > 0) {
    if (const auto kept = session.keep(std::move(reservation), bytes)) {
      id = *kept;
    } else {
      for (std::size_t i = 0; i < places.size(); ++i) {
        if (places[i].bytes() > 0) reasons[i] = static_cast<std::uint8_t>(Reason::kBusy);
        places[i] = {0, 0};
      }
    }
  }
  flatbuffers::FlatBufferBuilder builder(1024);
  const auto place_list = builder.CreateVectorOfStructs(places);
  const auto reason_list = builder.CreateVector(reasons);
  return reply(wire::Type::kReserved, request, builder, wire::CreateReserved(builder, id, place_list, reason_list));
}

Answer refuse_places(const Request& request, std::size_t count) {
  const std::vector<wire::Piece> places(count, wire::Piece{0, 0});
  const std::vector<std::uint8_t> reasons(count, static_cast<std::uint8_t>(request.refusal));
  flatbuffers::FlatBufferBuilder builder(1024);
  const auto place_list = builder.CreateVectorOfStructs(places);
  const auto reason_list = builder.CreateVector(reasons);
  return reply(wire::Type::kReserved, request, builder, wire::CreateReserved(builder, 0, place_list, reason_list));
}

}  // namespace

Answer handle_reserve(Session& session, const Request& request) {
  const auto* message = wire::read_body<wire::Reserve>(request.body);
  if (message == nullptr || message->chain() == nullptr) return malformed(request);
  const wire::Chain& wired = *message->chain();
  const auto ns = session.find_namespace(wired.ns());
  if (!ns) {
    return failed(request, ErrorCode::kInvalid,
                  "namespace handle " + std::to_string(wired.ns()) +
                      " was not given out in this session: open the namespace first");
  }
  MatchRule rule;
  if (!wire::rule_of(wired, rule)) return failed(request, ErrorCode::kInvalid, "an unknown match rule");
  const Chain chain(*ns, wire::keys_of(wired), rule);
  if (auto ok = check_range(std::span(&chain, 1), message->from(), 0); !ok) {
    return failed(request.header.request, ok.error());
  }
  if (request.refusal != Reason::kNone) return refuse_places(request, chain.size() - message->from());
  auto reservation = session.engine().reserve(chain, message->from(), request.deadline);
  if (!reservation) return failed(request.header.request, reservation.error());
  return answer_places(session, request, std::move(*reservation));
}

Answer handle_commit(Session& session, const Request& request) {
  const auto* message = wire::read_body<wire::Commit>(request.body);
  if (message == nullptr) return malformed(request);
  auto reservation = session.take_reservation(message->reservation());
  if (!reservation) {
    return failed(request, ErrorCode::kInvalid,
                  "this session holds no reservation " + std::to_string(message->reservation()));
  }
  const std::size_t count = std::min<std::uint64_t>(message->count(), reservation->size());
  const std::size_t present = reservation->commit(count);
  flatbuffers::FlatBufferBuilder builder;
  return reply(wire::Type::kCommitted, request, builder, wire::CreateCommitted(builder, present));
}

Answer handle_abandon(Session& session, const Request& request) {
  const auto* message = wire::read_body<wire::Abandon>(request.body);
  if (message == nullptr) return malformed(request);
  static_cast<void>(session.take_reservation(message->reservation()));
  return {};
}

}  // namespace reprise
