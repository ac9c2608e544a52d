// ping, open_namespace, flush, stats: what is about a session or a tenant, not about chains.

#include <algorithm>

#include "server/handlers.h"

namespace reprise {
namespace {

// A flush without a deadline of its own ends here: it holds one of few threads.
constexpr std::chrono::seconds kLongestFlush{10};

}  // namespace

Answer handle_ping(Session& /*session*/, const Request& request) {
  flatbuffers::FlatBufferBuilder builder;
  return reply(wire::Type::kPong, request, builder, wire::CreatePing(builder));
}

Answer handle_open_namespace(Session& session, const Request& request) {
  const auto* message = wire::read_body<wire::OpenNamespace>(request.body);
  if (message == nullptr) return malformed(request);
  if (!wire::fits(*message, request.body.size())) {
    return failed(request, ErrorCode::kInvalid, "a namespace longer than the body it came in");
  }
  const auto opened = session.open_namespace(wire::spec_of(*message));
  if (!opened) return failed(request.header.request, opened.error());
  flatbuffers::FlatBufferBuilder builder;
  const wire::Id id = wire::to_wire(opened->id);
  return reply(wire::Type::kNamespaceOpened, request, builder,
               wire::CreateNamespaceOpened(builder, opened->handle, &id));
}

Answer handle_flush(Session& session, const Request& request) {
  flatbuffers::FlatBufferBuilder builder;
  bool done = false;
  if (request.refusal == Reason::kNone) {
    if (!request.may_wait) return {.kind = Answer::Kind::kWouldWait, .frame = {}};
    const auto flushed = session.engine().flush(std::min(request.deadline, Deadline::after(kLongestFlush)));
    if (!flushed) return failed(request.header.request, flushed.error());
    done = *flushed;
  }
  return reply(wire::Type::kFlushed, request, builder, wire::CreateFlushed(builder, done));
}

Answer handle_stats(Session& session, const Request& request) {
  flatbuffers::FlatBufferBuilder builder;
  return reply(wire::Type::kStats, request, builder, wire::to_wire(builder, session.engine().stats()));
}

}  // namespace reprise
