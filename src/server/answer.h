// One request as a handler sees it, and what it answers. Values; the thread that carries the request out owns both.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "reprise/deadline.h"
#include "rpc/outbox.h"
#include "wire/messages.h"

namespace reprise {

struct Request {
  wire::FrameHeader header;
  Bytes body;  ///< 8-aligned, not looked at yet; valid while the request is carried out.
  Deadline deadline = Deadline::never();
  /// Not kNone: nothing is to be done, the answer is empty and says this.
  Reason refusal = Reason::kNone;
  /// Handlers that may wait for L2 say so instead (Answer::kWouldWait) when this is false.
  bool may_wait = false;
};

struct Answer {
  enum class Kind : std::uint8_t {
    kSilent,     ///< One way: nothing is sent.
    kReply,      ///< `frame` is.
    kFailed,     ///< So it is, and it says what was wrong.
    kWouldWait,  ///< To be carried out again by a thread that may wait.
  };
  Kind kind = Kind::kSilent;
  Outgoing frame;
};

/// The finished builder's body as a frame.
[[nodiscard]] inline Outgoing make_frame(wire::Type type, std::uint64_t request,
                                         const flatbuffers::FlatBufferBuilder& builder,
                                         std::uint64_t payload_bytes = 0) {
  Outgoing frame;
  const Bytes body = wire::body_of(builder);
  frame.body.assign(body.begin(), body.end());
  wire::FrameHeader header;
  header.type = type;
  header.request = request;
  header.payload_bytes = payload_bytes;
  frame.header = wire::encode_header(header, body);
  return frame;
}

/// Finishes the builder with `root` and answers `request` with it.
template <typename Table>
[[nodiscard]] Answer reply(wire::Type type, const Request& request, flatbuffers::FlatBufferBuilder& builder,
                           flatbuffers::Offset<Table> root) {
  builder.Finish(root);
  return {Answer::Kind::kReply, make_frame(type, request.header.request, builder)};
}

/// `failed`: the error in the place of any reply.
[[nodiscard]] inline Answer failed(std::uint64_t request, const Error& error, bool closing = false) {
  flatbuffers::FlatBufferBuilder builder;
  const auto text = builder.CreateString(error.message);
  builder.Finish(wire::CreateFailed(builder, static_cast<std::uint8_t>(error.code), text, closing));
  return {Answer::Kind::kFailed, make_frame(wire::Type::kFailed, request, builder)};
}
[[nodiscard]] inline Answer failed(const Request& request, ErrorCode code, std::string message) {
  return failed(request.header.request, Error{code, std::move(message)});
}
[[nodiscard]] inline Answer malformed(const Request& request) {
  return failed(request, ErrorCode::kInvalid,
                "the body is no " + std::string(wire::name_of(request.header.type)) + " of this protocol");
}

}  // namespace reprise
