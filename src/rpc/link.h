// The client's end of one connection: says hello, proves its token, sends requests and waits for their replies.
//
// One thread at a time, which sleeps here and nowhere else; shutdown() from any. Owns the stream. Nothing the peer says
// is believed before it was checked, and no call outlasts its deadline, by this side's clock. A call that timed out or
// found the peer at fault ends the link: nobody knows where in the stream it is. The socket stays open until the link
// is destroyed, since the peer takes its end for the end of everything this session holds (docs/protocol.md).
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/file_descriptor.h"
#include "reprise/deadline.h"
#include "reprise/status.h"
#include "rpc/frame_reader.h"
#include "transport/stream.h"
#include "wire/auth.h"
#include "wire/messages.h"

namespace reprise {

/// What a client says of itself.
struct Greeting {
  std::string client;                          ///< For people: "vllm rank 3".
  std::optional<wire::Credential> credential;  ///< Shown, and asked of the server in return.
  std::uint64_t capabilities = 0;
};

/// Takes the payload of a reply.
class ReplyPayload : public PayloadSink {
 public:
  /// The reply's body and how many bytes follow. False: they contradict each other or what was asked.
  [[nodiscard]] virtual bool begin(Bytes body, std::uint64_t payload_bytes) = 0;
};

class Link {
 public:
  /// How the link ended.
  enum class End : std::uint8_t {
    kNone,     ///< It has not.
    kTimeout,  ///< A reply did not come in time.
    kClosed,   ///< The peer closed, with or without saying goodbye, or the connection broke.
    kFault,    ///< The peer does not keep to the protocol.
  };
  struct Opened;

  /// Shakes hands over a connected stream. kDenied: the server refuses the credential, asks for one, or cannot prove
  /// that it knows it. kVersion: no common version. kIo: it went away, did not answer in time, or speaks something
  /// else.
  [[nodiscard]] static Result<Opened> open(std::unique_ptr<Stream> stream, const Greeting& greeting, Patience patience);

  struct Reply {
    wire::Type type = wire::Type::kFailed;
    Bytes body;  ///< Valid until the next call.
  };
  /// Sends a request and its payload, and waits for its reply. Fails with the server's own words while alive(); once
  /// that is false, end() and error() say why. A reply's payload goes to `into`; without one, a payload is a fault.
  /// REQUIRES: alive().
  [[nodiscard]] Result<Reply> call(wire::Type type, Bytes body, std::span<const Bytes> payload, Patience patience,
                                   ReplyPayload* into = nullptr);
  /// call(), and the reply's body as the table that belongs to it. Valid until the next call.
  template <typename T>
  [[nodiscard]] Result<const T*> ask(wire::Type type, Bytes body, Patience patience,
                                     std::span<const Bytes> payload = {}, ReplyPayload* into = nullptr) {
    auto reply = call(type, body, payload, patience, into);
    if (!reply) return std::unexpected(reply.error());
    const T* message = wire::read_body<T>(reply->body);
    if (message == nullptr) return std::unexpected(condemn("a body that is not what its type says"));
    return message;
  }
  /// Sends a message that has no reply. False: the link ended. REQUIRES: alive().
  [[nodiscard]] bool send_one_way(wire::Type type, Bytes body, Patience patience);

  /// The peer said something that cannot be; the link ends. Returns error().
  Error condemn(std::string what);
  /// Wakes the thread that waits here; the link ends. Any thread; the peer sees the end of the session.
  void shutdown() { stream_->shutdown(); }

  [[nodiscard]] bool alive() const { return end_ == End::kNone; }
  [[nodiscard]] End end() const { return end_; }
  [[nodiscard]] const Error& error() const { return error_; }
  /// After a timeout: requests got out whole, so that one-way messages still mean what they say.
  [[nodiscard]] bool can_still_tell() const { return end_ == End::kTimeout && sent_whole_; }
  /// Between calls: whether the peer has neither closed nor said what nobody asked for; if it has, the link ends. Never
  /// waits.
  [[nodiscard]] bool still_there();
  [[nodiscard]] std::string peer() const { return stream_->peer(); }

 private:
  [[nodiscard]] bool quiet() const;
  explicit Link(std::unique_ptr<Stream> stream) : stream_(std::move(stream)) {}

  Error finish(End end, Error error);
  Error strange();
  Error broken(Flow flow, std::string_view doing);
  [[nodiscard]] Result<void> send(wire::FrameHeader header, Bytes body, std::span<const Bytes> payload,
                                  Patience patience);
  [[nodiscard]] Result<void> look_at_frame();
  [[nodiscard]] Result<void> read_frame(Patience patience);
  [[nodiscard]] Result<void> read_payload(ReplyPayload& into, Patience patience);
  [[nodiscard]] Result<FrameReader::Step> advance(Patience patience);
  [[nodiscard]] bool wait(FrameReader::Step want, TimePoint since, Patience patience);
  [[nodiscard]] Error failed_frame();
  template <typename T>
  [[nodiscard]] Result<const T*> expect(wire::Type type, Patience patience);
  [[nodiscard]] Result<void> shake_hands(const Greeting& greeting, Patience patience, Opened& opened);

  const std::unique_ptr<Stream> stream_;
  FrameReader reader_;
  std::vector<Bytes> pieces_;  // of the frame being sent
  std::uint64_t next_request_ = 1;
  bool sent_whole_ = true;
  End end_ = End::kNone;
  Error error_;
};

/// A link, and what the server said in its welcome.
struct Link::Opened {
  std::unique_ptr<Link> link;
  std::uint64_t session = 0;
  std::string tenant;
  std::uint64_t capacity = 0;         ///< Payload bytes the tenant may keep in memory.
  std::uint64_t arena_bytes = 0;      ///< Shared memory, on a Unix socket only.
  std::uint64_t arena_populated = 0;  ///< Prefix of it that is expected to be used.
  std::uint32_t words = 0;            ///< Generation words.
  std::chrono::milliseconds lease_ttl{0};
  std::uint64_t capabilities = 0;           ///< The server's.
  std::vector<FileDescriptor> descriptors;  ///< The arena and the words, as far as they came.
};

}  // namespace reprise
