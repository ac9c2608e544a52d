#include "raw_client.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>

#include "transport/socket_stream.h"
#include "transport/tls.h"

namespace reprise::e2e {
namespace {

using std::chrono::steady_clock;
constexpr auto kPatience = std::chrono::seconds(20);

Result<FileDescriptor> connect_socket(const RawTarget& target, bool over_unix, std::string& host) {
  const Deadline deadline = Deadline::after(kPatience);
  const std::string rest = target.url.substr(target.url.find(':') + 1);
  if (over_unix) return connect_unix(rest, deadline);
  const auto address = parse_host_port(rest);
  if (!address) return std::unexpected(address.error());
  host = address->host;
  return connect_tcp(*address, deadline);
}

}  // namespace

Result<std::unique_ptr<RawClient>> RawClient::connect(const RawTarget& target) {
  const bool over_unix = target.url.starts_with("unix:");
  std::string host;
  auto socket = connect_socket(target, over_unix, host);
  if (!socket) return std::unexpected(socket.error());
  if (target.receive_buffer > 0) {
    ::setsockopt(socket->get(), SOL_SOCKET, SO_RCVBUF, &target.receive_buffer, sizeof target.receive_buffer);
  }
  std::unique_ptr<Stream> stream;
  if (target.tls_ca.empty()) {
    stream = make_socket_stream(std::move(*socket));
  } else {
    const auto context = TlsContext::client(target.tls_ca, "", "");
    if (!context) return std::unexpected(context.error());
    auto wrapped = (*context)->wrap(std::move(*socket), host);
    if (!wrapped) return std::unexpected(wrapped.error());
    stream = std::move(*wrapped);
  }
  return std::unique_ptr<RawClient>(new RawClient(target, std::move(stream), over_unix));
}

void RawClient::wait_for(FrameReader::Step step, TimePoint end) const {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - steady_clock::now()).count();
  pollfd entry{stream_->fd(), static_cast<short>(step == FrameReader::Step::kWantWrite ? POLLOUT : POLLIN), 0};
  (void)::poll(&entry, 1, static_cast<int>(std::max<std::int64_t>(left, 0)));
}

RawClient::Got RawClient::read_frame(Duration wait) {
  const TimePoint end = steady_clock::now() + wait;
  sink_.count = 0;
  for (;;) {
    const FrameReader::Step step = reader_.advance(*stream_);
    switch (step) {
      case FrameReader::Step::kFrame:
        if (reader_.header().payload_bytes == 0) return Got::kFrame;
        reader_.receive(sink_);
        break;
      case FrameReader::Step::kPayloadDone: return Got::kFrame;
      case FrameReader::Step::kWantRead:
      case FrameReader::Step::kWantWrite:
        if (steady_clock::now() >= end) return Got::kTimeout;
        wait_for(step, end);
        break;
      case FrameReader::Step::kClosed: return Got::kClosed;
      case FrameReader::Step::kFailed:
      case FrameReader::Step::kSinkFull:  // Ours never is.
      case FrameReader::Step::kOutOfStep: return Got::kReset;
    }
  }
}

bool RawClient::send_bytes(Bytes bytes) {
  return write_all(*stream_, std::span(&bytes, 1), {.deadline = Deadline::after(kPatience)}) == Flow::kMoved;
}

bool RawClient::send(wire::FrameHeader header, Bytes body) {
  const wire::HeaderBytes bytes = wire::encode_header(header, body);
  const Bytes pieces[] = {bytes, body};
  return write_all(*stream_, pieces, {.deadline = Deadline::after(kPatience)}) == Flow::kMoved;
}

std::size_t RawClient::read_bytes(std::size_t count, Duration wait) {
  std::vector<std::byte> into(count);
  const MutableBytes piece(into);
  const TimePoint end = steady_clock::now() + wait;
  for (;;) {
    const Moved moved = stream_->read(std::span(&piece, 1));
    if (moved.flow == Flow::kMoved) return moved.bytes;
    if (moved.flow != Flow::kWantRead && moved.flow != Flow::kWantWrite) return 0;
    if (steady_clock::now() >= end) return 0;
    wait_for(FrameReader::Step::kWantRead, end);
  }
}

bool RawClient::send_hello(std::uint8_t min_version, std::uint8_t max_version) {
  const auto nonce = wire::make_nonce();
  if (!nonce) return false;
  nonce_ = *nonce;
  flatbuffers::FlatBufferBuilder builder;
  const auto name = builder.CreateString("raw peer");
  const auto& id = target_.credential.key_id;
  const auto key_id = id.empty() ? flatbuffers::Offset<flatbuffers::String>() : builder.CreateString(id);
  const auto bytes = builder.CreateVector(nonce_.data(), nonce_.size());
  builder.Finish(wire::CreateHello(builder, min_version, max_version, 0, name, key_id, bytes));
  return send(wire::Type::kHello, wire::body_of(builder));
}

bool RawClient::send_proof() {
  const auto* reply = wire::read_body<wire::HelloReply>(body());
  if (reply == nullptr || !reply->need_proof()) return false;
  const Bytes theirs = wire::bytes_of(reply->nonce());
  wire::Nonce nonce{};
  if (theirs.size() != nonce.size()) return false;
  std::ranges::transform(theirs, nonce.begin(), [](std::byte b) { return static_cast<std::uint8_t>(b); });
  const wire::Proof proof =
      wire::prove(wire::Side::kClient, target_.credential.secret, target_.credential.key_id, nonce_, nonce);
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(wire::CreateAuthenticate(builder, builder.CreateVector(proof.data(), proof.size())));
  return send(wire::Type::kAuthenticate, wire::body_of(builder));
}

std::string reply_name(wire::Type type) {
  switch (type) {
    case wire::Type::kFailed: return "failed";
    case wire::Type::kGoodbye: return "goodbye";
    case wire::Type::kHelloReply: return "hello reply";
    case wire::Type::kWelcome: return "welcome";
    case wire::Type::kPong: return "pong";
    case wire::Type::kNamespaceOpened: return "namespace opened";
    case wire::Type::kMatched: return "matched";
    case wire::Type::kGot: return "got";
    case wire::Type::kStored: return "stored";
    default: return std::to_string(static_cast<int>(type));
  }
}

}  // namespace reprise::e2e
