#include "rpc/link.h"

#include <poll.h>

#include <algorithm>
#include <thread>
#include <utility>

namespace reprise {
namespace {

using std::chrono::steady_clock;
using Step = FrameReader::Step;

constexpr std::chrono::milliseconds kLongestTtl = std::chrono::hours(24 * 365);
constexpr Duration kBlindPause = std::chrono::microseconds(50);  // For streams that have nothing to poll.
constexpr std::size_t kKeptMemory = 1 << 20;                     // of replies, between calls
constexpr Duration kMostMargin = std::chrono::milliseconds(20);

/// What the server is told: a little less than is left, so that its answer at its own deadline is here in time.
std::uint32_t timeout_of(Deadline deadline) {
  if (deadline.is_never()) return wire::kNoTimeout;
  const TimePoint now = steady_clock::now();
  if (deadline.passed(now)) return 0;
  const Duration left = deadline.when() - now;
  const auto us = std::chrono::duration_cast<std::chrono::microseconds>(left - std::min(left / 8, kMostMargin));
  return static_cast<std::uint32_t>(std::min<std::int64_t>(us.count(), wire::kNoTimeout - 1));
}

std::string_view text_of(FrameReader::Fault fault) {
  switch (fault) {
    case FrameReader::Fault::kNone: break;
    case FrameReader::Fault::kForeign: return "bytes that are no frame of Reprise's protocol";
    case FrameReader::Fault::kVersion: return "a frame of an unknown version";
    case FrameReader::Fault::kTooLong: return "a frame longer than allowed";
    case FrameReader::Fault::kChecksum: return "a frame whose checksum fails";
    case FrameReader::Fault::kPayload: return "a payload nobody asked for";
  }
  return "an unknown fault";
}

void sleep_until_ready(int fd, short events, Deadline deadline) {
  timespec span{};
  if (!deadline.is_never()) {
    const Duration left = std::max<Duration>(deadline.when() - steady_clock::now(), Duration(0));
    span.tv_sec = left / std::chrono::seconds(1);
    span.tv_nsec = (left % std::chrono::seconds(1)).count();
  }
  pollfd entry{fd, events, 0};
  (void)::ppoll(&entry, 1, deadline.is_never() ? nullptr : &span, nullptr);  // the next read tells what woke it
}

// Ends a payload at its deadline, also one that comes so fast that nobody ever waits for it.
class Timed final : public PayloadSink {
 public:
  Timed(PayloadSink& into, Deadline deadline) : into_(into), deadline_(deadline) {}
  [[nodiscard]] MutableBytes next() override {
    over_ = deadline_.passed(steady_clock::now());
    return over_ ? MutableBytes() : into_.next();
  }
  void arrived(std::size_t count) override { into_.arrived(count); }
  [[nodiscard]] bool over() const { return over_; }

 private:
  PayloadSink& into_;
  const Deadline deadline_;
  bool over_ = false;
};

}  // namespace

Error Link::finish(End end, Error error) {
  if (end_ == End::kNone) {
    end_ = end;
    error_ = std::move(error);
  }
  return error_;
}

Error Link::condemn(std::string what) {
  return finish(End::kFault, {ErrorCode::kIo, stream_->peer() + " does not keep to the protocol: it sent " + what});
}

Error Link::strange() {
  return finish(End::kFault,
                {ErrorCode::kVersion, stream_->peer() + " speaks another version of the protocol than " +
                                          std::to_string(wire::kVersion) + "; install the same release on both sides"});
}

Error Link::broken(Flow flow, std::string_view doing) {
  if (flow == Flow::kTimeout) {
    return finish(End::kTimeout, {ErrorCode::kIo, stream_->peer() + " did not answer in time"});
  }
  std::string why = flow == Flow::kClosed ? stream_->peer() + " closed the connection" : stream_->failure();
  if (why.empty()) why = stream_->peer() + ": the connection broke";
  return finish(End::kClosed, {ErrorCode::kIo, why + " while " + std::string(doing)});
}

bool Link::wait(Step want, TimePoint since, Patience patience) {
  const TimePoint now = steady_clock::now();
  if (patience.deadline.passed(now)) return false;
  if (now - since < patience.spin) {
    std::this_thread::yield();
  } else if (stream_->fd() < 0) {
    std::this_thread::sleep_for(kBlindPause);
  } else {
    sleep_until_ready(stream_->fd(), want == Step::kWantRead ? POLLIN : POLLOUT, patience.deadline);
  }
  return true;
}

Result<Step> Link::advance(Patience patience) {
  const TimePoint since = steady_clock::now();
  for (;;) {
    const Step step = reader_.advance(*stream_);
    switch (step) {
      case Step::kFrame:
      case Step::kPayloadDone:
      case Step::kSinkFull: return step;
      case Step::kWantRead:
      case Step::kWantWrite:
        if (!wait(step, since, patience)) return std::unexpected(broken(Flow::kTimeout, "waiting"));
        break;
      case Step::kClosed: return std::unexpected(broken(Flow::kClosed, "an answer was due"));
      case Step::kFailed: return std::unexpected(broken(Flow::kFailed, "an answer was due"));
      case Step::kOutOfStep:
        if (reader_.fault() == FrameReader::Fault::kVersion) return std::unexpected(strange());
        return std::unexpected(condemn(std::string(text_of(reader_.fault()))));
    }
  }
}

/// The frame just read, unless it is a goodbye: that ends the link.
Result<void> Link::look_at_frame() {
  if (reader_.header().type != wire::Type::kGoodbye) return {};
  const auto* goodbye = wire::read_body<wire::Goodbye>(reader_.body());
  if (goodbye == nullptr) return std::unexpected(condemn("a goodbye that cannot be read"));
  return std::unexpected(finish(End::kClosed, {wire::error_of(goodbye->code()),
                                               stream_->peer() + " said goodbye: " + wire::text_of(goodbye->text())}));
}

Result<void> Link::read_frame(Patience patience) {
  const auto step = advance(patience);
  if (!step) return std::unexpected(step.error());
  if (*step != Step::kFrame) return std::unexpected(condemn("a payload out of turn"));
  return look_at_frame();
}

Result<void> Link::read_payload(ReplyPayload& into, Patience patience) {
  Timed timed(into, patience.deadline);
  reader_.receive(timed);
  const auto step = advance(patience);
  if (!step) return std::unexpected(step.error());
  if (timed.over()) return std::unexpected(broken(Flow::kTimeout, "receiving"));
  if (*step == Step::kSinkFull) return std::unexpected(condemn("more payload than there is room for"));
  if (*step != Step::kPayloadDone) return std::unexpected(condemn("a frame in the middle of a payload"));
  return {};
}

Error Link::failed_frame() {
  const auto* failed = wire::read_body<wire::Failed>(reader_.body());
  if (failed == nullptr) return condemn("a failure that cannot be read");
  Error error{wire::error_of(failed->code()), wire::text_of(failed->text())};
  if (failed->closing()) return finish(End::kClosed, std::move(error));
  return error;
}

Result<void> Link::send(wire::FrameHeader header, Bytes body, std::span<const Bytes> payload, Patience patience) {
  for (const Bytes piece : payload) header.payload_bytes += piece.size();
  const wire::HeaderBytes head = wire::encode_header(header, body);
  pieces_.assign({Bytes(head), body});
  pieces_.insert(pieces_.end(), payload.begin(), payload.end());
  sent_whole_ = false;
  const Flow flow = write_all(*stream_, pieces_, patience);
  if (flow == Flow::kMoved) {
    sent_whole_ = true;
    return {};
  }
  // Whoever closes while we write may have said why.
  if (flow != Flow::kTimeout && reader_.advance(*stream_) == Step::kFrame && look_at_frame() &&
      reader_.header().type == wire::Type::kFailed) {
    static_cast<void>(failed_frame());
  }
  return std::unexpected(broken(flow, "a request was being sent"));
}

Result<Link::Reply> Link::call(wire::Type type, Bytes body, std::span<const Bytes> payload, Patience patience,
                               ReplyPayload* into) {
  if (reader_.memory_bytes() > kKeptMemory) reader_.rest();
  wire::FrameHeader header;
  header.type = type;
  header.request = next_request_++;
  header.timeout_us = timeout_of(patience.deadline);
  if (auto ok = send(header, body, payload, patience); !ok) return std::unexpected(ok.error());
  if (auto ok = read_frame(patience); !ok) return std::unexpected(ok.error());
  const wire::FrameHeader& reply = reader_.header();
  if (reply.request != header.request) return std::unexpected(condemn("a reply to nothing that was asked"));
  if (reply.payload_bytes > 0 && (into == nullptr || reply.type == wire::Type::kFailed)) {
    return std::unexpected(condemn("a payload nobody asked for"));
  }
  if (reply.type == wire::Type::kFailed) return std::unexpected(failed_frame());
  const wire::MessageSpec* spec = wire::find_message(type);
  if (spec == nullptr || reply.type != spec->reply) return std::unexpected(condemn("a reply of another type"));
  // Read before the payload: begin() looks at the body, which stays until the next frame.
  if (into != nullptr && !into->begin(reader_.body(), reply.payload_bytes)) {
    return std::unexpected(condemn("a payload that is not what was asked for"));
  }
  if (reply.payload_bytes > 0) {
    if (auto ok = read_payload(*into, patience); !ok) return std::unexpected(ok.error());
  }
  return Reply{reply.type, reader_.body()};
}

bool Link::send_one_way(wire::Type type, Bytes body, Patience patience) {
  wire::FrameHeader header;
  header.type = type;
  return send(header, body, {}, patience).has_value();
}

bool Link::quiet() const {
  if (reader_.has_unread() || stream_->has_buffered()) return false;
  if (stream_->fd() < 0) return true;
  pollfd entry{stream_->fd(), POLLIN, 0};
  return ::poll(&entry, 1, 0) == 0;
}

bool Link::still_there() {
  if (!alive()) return false;
  if (quiet()) return true;
  const Step step = reader_.advance(*stream_);
  if (step == Step::kWantRead && !reader_.inside()) return true;  // TLS has things to say of its own
  if (step == Step::kFrame && look_at_frame()) static_cast<void>(condemn("a frame nobody asked for"));
  static_cast<void>(broken(Flow::kClosed, "nothing was asked"));
  return false;
}

// --- opening ---------------------------------------------------------------------------------------------------------

template <typename T>
Result<const T*> Link::expect(wire::Type type, Patience patience) {
  if (auto ok = read_frame(patience); !ok) return std::unexpected(ok.error());
  if (reader_.header().payload_bytes > 0) return std::unexpected(condemn("a payload before the session is open"));
  if (reader_.header().type == wire::Type::kFailed) {
    return std::unexpected(finish(End::kClosed, failed_frame()));
  }
  if (reader_.header().type != type) return std::unexpected(condemn("a frame out of turn while shaking hands"));
  const T* message = wire::read_body<T>(reader_.body());
  if (message == nullptr) return std::unexpected(condemn("a body that is not what its type says"));
  return message;
}

namespace {

Result<wire::Nonce> nonce_of(const flatbuffers::Vector<std::uint8_t>* bytes) {
  wire::Nonce nonce;
  if (bytes == nullptr || bytes->size() != nonce.size()) return fail(ErrorCode::kIo, "no nonce");
  std::copy_n(bytes->data(), nonce.size(), nonce.begin());
  return nonce;
}

/// Why the two cannot come together, although both speak the protocol.
Result<void> check_hello(const wire::HelloReply& reply, const Greeting& greeting, const std::string& peer) {
  if (reply.version() < wire::kOldestVersion || reply.version() > wire::kVersion) {
    return fail(ErrorCode::kVersion,
                peer + " chose version " + std::to_string(reply.version()) + " of the protocol, which was not offered");
  }
  if (reply.need_proof() && !greeting.credential) {
    return fail(ErrorCode::kDenied, peer + " asks for a token; set attach.token-file");
  }
  // Otherwise anybody could take the server's place by not asking.
  if (!reply.need_proof() && greeting.credential) {
    return fail(ErrorCode::kDenied, peer +
                                        " does not ask for the token, so it cannot show that it knows it; is it the "
                                        "server the token is for?");
  }
  return {};
}

}  // namespace

Result<void> Link::shake_hands(const Greeting& greeting, Patience patience, Opened& opened) {
  const auto mine = wire::make_nonce();
  if (!mine) return std::unexpected(mine.error());
  flatbuffers::FlatBufferBuilder builder(512);
  {
    const auto client = builder.CreateString(greeting.client.substr(0, 255));
    const auto key = greeting.credential ? builder.CreateString(greeting.credential->key_id)
                                         : flatbuffers::Offset<flatbuffers::String>();
    const auto nonce = builder.CreateVector(mine->data(), mine->size());
    builder.Finish(
        wire::CreateHello(builder, wire::kOldestVersion, wire::kVersion, greeting.capabilities, client, key, nonce));
  }
  wire::FrameHeader header;
  header.type = wire::Type::kHello;
  header.request = next_request_++;
  header.timeout_us = timeout_of(patience.deadline);
  if (auto ok = send(header, wire::body_of(builder), {}, patience); !ok) return ok;
  const auto hello = expect<wire::HelloReply>(wire::Type::kHelloReply, patience);
  if (!hello) return std::unexpected(hello.error());
  if (auto ok = check_hello(**hello, greeting, stream_->peer()); !ok) return ok;
  opened.capabilities = (*hello)->capabilities();
  wire::Proof due{};
  if (greeting.credential) {
    const auto theirs = nonce_of((*hello)->nonce());
    if (!theirs) return std::unexpected(condemn("a hello without a nonce"));
    const auto& [id, secret] = *greeting.credential;
    due = wire::prove(wire::Side::kServer, secret, id, *mine, *theirs);
    const wire::Proof shown = wire::prove(wire::Side::kClient, secret, id, *mine, *theirs);
    builder.Clear();
    builder.Finish(wire::CreateAuthenticate(builder, builder.CreateVector(shown.data(), shown.size())));
    header.type = wire::Type::kAuthenticate;
    header.request = next_request_++;
    if (auto ok = send(header, wire::body_of(builder), {}, patience); !ok) return ok;
  }
  const auto welcome = expect<wire::Welcome>(wire::Type::kWelcome, patience);
  if (!welcome) return std::unexpected(welcome.error());
  if (greeting.credential && !wire::same_proof(due, wire::bytes_of((*welcome)->proof()))) {
    return fail(ErrorCode::kDenied, stream_->peer() + " cannot prove that it knows the token '" +
                                        greeting.credential->key_id + "': it is not the server the token is for");
  }
  if ((*welcome)->lease_ttl_ms() == 0 || (*welcome)->lease_ttl_ms() > static_cast<std::uint64_t>(kLongestTtl.count())) {
    return std::unexpected(condemn("a lease time that makes no sense"));
  }
  opened.session = (*welcome)->session();
  opened.tenant = wire::text_of((*welcome)->tenant());
  opened.capacity = (*welcome)->capacity_bytes();
  opened.arena_bytes = (*welcome)->arena_bytes();
  opened.arena_populated = (*welcome)->arena_populated();
  opened.words = (*welcome)->words();
  opened.lease_ttl = std::chrono::milliseconds((*welcome)->lease_ttl_ms());
  opened.descriptors = stream_->take_descriptors();
  return {};
}

Result<Link::Opened> Link::open(std::unique_ptr<Stream> stream, const Greeting& greeting, Patience patience) {
  Opened opened;
  opened.link = std::unique_ptr<Link>(new Link(std::move(stream)));
  if (auto ok = opened.link->shake_hands(greeting, patience, opened); !ok) return std::unexpected(ok.error());
  opened.link->reader_.set_max_body(wire::kMaxBody);
  return opened;
}

}  // namespace reprise
