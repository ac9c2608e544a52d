// What the server does for each message: one function per message, one file per family (handlers/).
//
// Handlers are stateless; any thread may call them, several at once for one session. They look at nothing in a body
// before it was verified, and answer in every case.
#pragma once

#include <memory>
#include <vector>

#include "rpc/frame_reader.h"
#include "server/answer.h"
#include "server/session.h"

namespace reprise {

using Handler = Answer (*)(Session&, const Request&);

/// nullptr for messages that belong to the handshake, that no client may send, and for `put` (below).
[[nodiscard]] Handler find_handler(wire::Type type);

/// A payload on its way in: the connection feeds it, then asks for the answer.
class IncomingPayload : public PayloadSink {
 public:
  /// Once, after the whole payload.
  [[nodiscard]] virtual Answer finish() = 0;
};
/// Reserves memory for what is put. Never null: what cannot be taken is received, thrown away and answered for.
[[nodiscard]] std::unique_ptr<IncomingPayload> begin_put(Session& session, const Request& request);
/// Receives and throws away; then answers `answer`.
[[nodiscard]] std::unique_ptr<IncomingPayload> skip_payload(Answer answer);

/// Chains of a request, resolved. Keys stay where the body is.
struct ResolvedChains {
  std::vector<std::shared_ptr<const Namespace>> namespaces;  // shared with the session, which may end meanwhile
  std::vector<Chain> chains;
};
using WireChains = flatbuffers::Vector<flatbuffers::Offset<wire::Chain>>;
/// kInvalid for handles and rules that nobody knows, where check_chains fails, and when the chains are longer than the
/// body of `body_bytes` they came in: FlatBuffers lets a million of them share one vector of keys.
[[nodiscard]] Result<ResolvedChains> resolve(const Session& session, const WireChains* chains, std::size_t body_bytes);
/// Until when this thread may wait: not at all, unless the request may. A block can leave memory between
/// Engine::answers_at_once and the call.
[[nodiscard]] Deadline deadline_of(const Request& request);
/// Whether the answer is short only because this thread may not wait.
[[nodiscard]] bool would_wait(const Request& request, const Match& match);
/// kInvalid unless every chain has the blocks [from, from + count).
[[nodiscard]] Result<void> check_range(std::span<const Chain> chains, std::uint64_t from, std::uint64_t count);
/// Only blocks [from, from + count) of each, with rules that count from there.
void cut(std::vector<Chain>& chains, std::size_t from, std::size_t count);

[[nodiscard]] flatbuffers::Offset<wire::Matched> to_wire(flatbuffers::FlatBufferBuilder& builder, const Match& match,
                                                         const std::vector<bool>& found = {});
/// Leases the chains' common run, or with `each` what is found of the one chain's blocks; kInvalid if that are several.
[[nodiscard]] Result<Engine::EachAcquired> acquire_for(Session& session, std::span<const Chain> chains, bool each,
                                                       Deadline deadline);

// handlers/session.cc
[[nodiscard]] Answer handle_ping(Session& session, const Request& request);
[[nodiscard]] Answer handle_open_namespace(Session& session, const Request& request);
[[nodiscard]] Answer handle_flush(Session& session, const Request& request);
[[nodiscard]] Answer handle_stats(Session& session, const Request& request);
// handlers/chains.cc
[[nodiscard]] Answer handle_match(Session& session, const Request& request);
[[nodiscard]] Answer handle_prefetch(Session& session, const Request& request);
[[nodiscard]] Answer handle_erase(Session& session, const Request& request);
// handlers/in_place.cc
[[nodiscard]] Answer handle_acquire(Session& session, const Request& request);
[[nodiscard]] Answer handle_release(Session& session, const Request& request);
[[nodiscard]] Answer handle_renew(Session& session, const Request& request);
[[nodiscard]] Answer handle_attach(Session& session, const Request& request);
[[nodiscard]] Answer handle_reserve(Session& session, const Request& request);
[[nodiscard]] Answer handle_commit(Session& session, const Request& request);
[[nodiscard]] Answer handle_abandon(Session& session, const Request& request);
// handlers/payload.cc
[[nodiscard]] Answer handle_get(Session& session, const Request& request);

}  // namespace reprise
