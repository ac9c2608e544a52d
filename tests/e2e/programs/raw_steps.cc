#include "raw_steps.h"

#include <chrono>
#include <cstring>
#include <thread>

#include "answer.h"
#include "base/kernels.h"
#include "content.h"

namespace reprise::e2e {
namespace {

using flatbuffers::FlatBufferBuilder;
using std::chrono::seconds;
using std::chrono::steady_clock;
using wire::Type;

constexpr seconds kReplyWait{15};
constexpr std::uint64_t kBlockBytes = 65536;

/// Says what came: a frame's name, with the text and code where it is a refusal, or how the connection ended.
void say_got(Answer& answer, const RawClient& client, RawClient::Got got) {
  switch (got) {
    case RawClient::Got::kTimeout: answer.add("answer", "timeout"); break;
    case RawClient::Got::kClosed: answer.add("answer", "closed"); break;
    case RawClient::Got::kReset: answer.add("answer", "reset"); break;
    case RawClient::Got::kFrame: answer.add("answer", reply_name(client.type())); break;
  }
  if (got != RawClient::Got::kFrame) return;
  if (client.type() == Type::kFailed) {
    const auto* failed = wire::read_body<wire::Failed>(client.body());
    if (failed == nullptr) return;
    answer.add("code", to_string(wire::error_of(failed->code()))).add("text", wire::text_of(failed->text()));
    answer.add("closing", failed->closing());
  } else if (client.type() == Type::kGoodbye) {
    const auto* goodbye = wire::read_body<wire::Goodbye>(client.body());
    if (goodbye == nullptr) return;
    answer.add("code", to_string(wire::error_of(goodbye->code()))).add("text", wire::text_of(goodbye->text()));
  } else if (client.type() == Type::kGot) {
    answer.add("payload", client.payload());
  }
}

using Builder = FlatBufferBuilder;
using Bytewise = std::vector<std::byte>;

flatbuffers::Offset<wire::Chain> chain(Builder& builder, std::uint32_t handle, std::uint64_t number, std::size_t count,
                                       MatchRule rule = {}) {
  return wire::to_wire(builder, handle, rule, keys_of(number, count));
}
auto one(Builder& builder, flatbuffers::Offset<wire::Chain> only) {
  return builder.CreateVector(&only, 1);
}
/// A ping's frame, its bytes changed by `change`.
Bytewise ping_bytes(const std::function<void(Bytewise&)>& change) {
  Builder builder;
  builder.Finish(wire::CreatePing(builder));
  const Bytes body = wire::body_of(builder);
  const wire::HeaderBytes header = wire::encode_header({.type = Type::kPing, .request = 1}, body);
  Bytewise bytes(header.size() + body.size());
  std::memcpy(bytes.data(), header.data(), header.size());
  std::memcpy(bytes.data() + header.size(), body.data(), body.size());
  change(bytes);
  return bytes;
}
void set_word(Bytewise& bytes, std::size_t at, std::uint64_t value, std::size_t size) {
  std::memcpy(bytes.data() + at, &value, size);
}
double seconds_since(TimePoint start) {
  return std::chrono::duration<double>(steady_clock::now() - start).count();
}

}  // namespace

RawClient::Got open_session(RawClient& client) {
  client.send_hello(wire::kOldestVersion, wire::kVersion);
  RawClient::Got got = client.read_frame(kReplyWait);
  if (got != RawClient::Got::kFrame || client.type() != Type::kHelloReply) return got;
  client.send_proof();
  got = client.read_frame(kReplyWait);
  if (got == RawClient::Got::kFrame && client.type() == Type::kWelcome) client.session_open();
  return got;
}

const std::map<std::string, Peer::Step> Peer::kSteps = {
    {"open", &Peer::open},
    {"hello", &Peer::hello},
    {"ping", &Peer::ping},
    {"namespace", &Peer::open_namespace},
    {"put", &Peer::put},
    {"get", &Peer::get},
    {"wait", &Peer::wait},
    {"unknown-message", &Peer::unknown_message},
    {"unknown-handle", &Peer::unknown_handle},
    {"unknown-rule", &Peer::unknown_rule},
    {"unknown-reservation", &Peer::unknown_reservation},
    {"unknown-token", &Peer::unknown_token},
    {"unknown-lease", &Peer::unknown_lease},
    {"wrong-transport", &Peer::wrong_transport},
    {"put-contradicts", &Peer::put_contradicts},
    {"get-too-much", &Peer::get_too_much},
    {"huge-block", &Peer::huge_block},
    {"garbage", &Peer::garbage},
    {"wrong-version", &Peer::wrong_version},
    {"wrong-checksum", &Peer::wrong_checksum},
    {"no-table", &Peer::no_table},
    {"body-length", &Peer::body_length},
    {"payload-length", &Peer::payload_length},
    {"half-header", &Peer::half_header},
    {"half-body", &Peer::half_body},
    {"half-payload", &Peer::half_payload},
    {"trickle-hello", &Peer::trickle_hello},
    {"trickle-ping", &Peer::trickle_ping},
    {"slow-get", &Peer::slow_get},
};

bool Peer::take(const std::string& step) {
  const std::size_t equals = step.find('=');
  const auto found = kSteps.find(step.substr(0, equals));
  if (found == kSteps.end()) return false;
  (this->*found->second)(equals == std::string::npos ? 0 : std::stoull(step.substr(equals + 1)));
  return true;
}

void Peer::reply(const char* step, Duration wait) {
  const TimePoint start = steady_clock::now();
  const RawClient::Got got = client_.read_frame(wait);
  Answer answer;
  answer.add("step", step);
  say_got(answer, client_, got);
  answer.add("s", seconds_since(start)).say();
}
void Peer::silent(const char* step, bool sent) {
  Answer().add("step", step).add("sent", sent).say();
}
void Peer::ask(const char* step, Type type, const std::function<void(Builder&)>& make) {
  Builder builder;
  make(builder);
  client_.send(type, wire::body_of(builder));
  reply(step);
}
void Peer::send_changed(const char* step, const std::function<void(Bytewise&)>& change) {
  client_.send_bytes(ping_bytes(change));
  reply(step);
}

// --- in step ---------------------------------------------------------------------------------------------------------

void Peer::open(std::uint64_t) {
  const RawClient::Got got = open_session(client_);
  Answer answer;
  answer.add("step", "open");
  say_got(answer, client_, got);
  answer.say();
}

void Peer::hello(std::uint64_t version) {
  const auto only = static_cast<std::uint8_t>(version == 0 ? wire::kVersion : version);
  client_.send_hello(only, only);
  reply("hello");
}

void Peer::ping(std::uint64_t) {
  client_.send_bytes(ping_bytes([](Bytewise&) {}));
  reply("ping");
}

void Peer::open_namespace(std::uint64_t block_bytes) {
  NamespaceSpec spec;
  spec.model = "raw";
  spec.revision = spec.dtype = spec.layout = "none";
  spec.block_tokens = 16;
  spec.block_bytes = block_bytes == 0 ? kBlockBytes : block_bytes;
  spec.layers = spec.heads = IndexRange{0, 1};
  spec.salt = "";
  ask("namespace", Type::kOpenNamespace, [&](Builder& b) { b.Finish(wire::to_wire(b, spec)); });
  const auto* opened =
      client_.type() == Type::kNamespaceOpened ? wire::read_body<wire::NamespaceOpened>(client_.body()) : nullptr;
  if (opened != nullptr) handle_ = opened->handle();
}

// 64 blocks of zeros, with their checksums.
void Peer::put(std::uint64_t number) {
  constexpr std::size_t kCount = 64;
  last_put_ = number;
  const std::vector<std::byte> block(kBlockBytes);
  Builder b;
  const std::vector<std::uint64_t> sums(kCount, checksum(block));
  const auto chains = one(b, chain(b, handle_, number, kCount));
  b.Finish(wire::CreatePut(b, chains, 0, kCount, b.CreateVector(sums)));
  client_.send({.type = Type::kPut, .request = 1, .payload_bytes = kCount * kBlockBytes}, wire::body_of(b));
  for (std::size_t i = 0; i < kCount; ++i) client_.send_bytes(block);
  reply("put");
}

void Peer::get(std::uint64_t number) {
  ask("get", Type::kGet, [&](Builder& b) {
    const auto chains = one(b, chain(b, handle_, number, 64));
    b.Finish(wire::CreateGet(b, chains, 0, 64));
  });
}

// Until the connection ends, or `limit` seconds have passed.
void Peer::wait(std::uint64_t limit) {
  const TimePoint start = steady_clock::now();
  const TimePoint end = start + seconds(limit);
  Answer answer;
  answer.add("step", "wait");
  RawClient::Got got = RawClient::Got::kFrame;
  for (bool told = false; got == RawClient::Got::kFrame;) {
    got = client_.read_frame(end - steady_clock::now());
    if (got != RawClient::Got::kFrame || told) continue;
    Answer frame;
    frame.add("step", "wait-frame");
    say_got(frame, client_, got);
    frame.say();
    told = true;
  }
  say_got(answer, client_, got);
  answer.add("s", seconds_since(start)).say();
}

// --- wrong, but in step ----------------------------------------------------------------------------------------------

void Peer::unknown_message(std::uint64_t type) {
  ask("unknown-message", static_cast<Type>(type == 0 ? 999 : type), [](Builder& b) { b.Finish(wire::CreatePing(b)); });
}
void Peer::unknown_handle(std::uint64_t) {
  ask("unknown-handle", Type::kMatch,
      [](Builder& b) { b.Finish(wire::CreateChains(b, one(b, chain(b, 424242, 1, 4)))); });
}
void Peer::unknown_rule(std::uint64_t) {
  ask("unknown-rule", Type::kMatch, [&](Builder& b) {
    const MatchRule rule{static_cast<MatchRule::Kind>(9), 1};
    b.Finish(wire::CreateChains(b, one(b, chain(b, handle_, 1, 4, rule))));
  });
}
void Peer::unknown_reservation(std::uint64_t) {
  ask("unknown-reservation", Type::kCommit, [](Builder& b) { b.Finish(wire::CreateCommit(b, 424242, 1)); });
}
void Peer::unknown_token(std::uint64_t) {
  ask("unknown-token", Type::kAttach, [](Builder& b) {
    const wire::Id token(1, 2);
    b.Finish(wire::CreateAttach(b, &token));
  });
}
// One way: a ping must be answered afterwards, and a refusal may come before it.
void Peer::unknown_lease(std::uint64_t) {
  Builder b;
  const std::uint64_t lease = 424242;
  b.Finish(wire::CreateLeaseIds(b, b.CreateVector(&lease, 1)));
  silent("unknown-lease", client_.send({.type = Type::kRelease}, wire::body_of(b)));
}
void Peer::wrong_transport(std::uint64_t) {
  if (client_.is_unix()) return get(1);
  ask("wrong-transport", Type::kAcquire,
      [&](Builder& b) { b.Finish(wire::CreateChains(b, one(b, chain(b, handle_, 1, 4)))); });
}

// Two blocks of payload, said to be three; one checksum. The payload follows.
void Peer::put_contradicts(std::uint64_t) {
  Builder b;
  const std::uint64_t sum = 1;
  const auto chains = one(b, chain(b, handle_, 77, 3));
  b.Finish(wire::CreatePut(b, chains, 0, 3, b.CreateVector(&sum, 1)));
  const std::vector<std::byte> payload(2 * kBlockBytes);
  client_.send({.type = Type::kPut, .request = 1, .payload_bytes = payload.size()}, wire::body_of(b));
  client_.send_bytes(payload);
  reply("put-contradicts");
}

// More blocks than a payload may have bytes for.
void Peer::get_too_much(std::uint64_t) {
  ask("get-too-much", Type::kGet, [&](Builder& b) {
    const std::uint64_t count = wire::kMaxPayload / kBlockBytes + 1;
    const auto chains = one(b, chain(b, handle_, 1, count));
    b.Finish(wire::CreateGet(b, chains, 0, count));
  });
}
void Peer::huge_block(std::uint64_t) {
  open_namespace(1ULL << 40);
}

// --- out of step -----------------------------------------------------------------------------------------------------

void Peer::garbage(std::uint64_t) {
  std::vector<std::byte> bytes(256);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 167 + 13);
  client_.send_bytes(bytes);
  reply("garbage");
}
void Peer::wrong_version(std::uint64_t) {
  Builder b;
  b.Finish(wire::CreatePing(b));
  client_.send({.version = 9, .type = Type::kPing, .request = 1}, wire::body_of(b));
  reply("wrong-version");
}
void Peer::wrong_checksum(std::uint64_t) {
  send_changed("wrong-checksum", [](Bytewise& bytes) { bytes[32] ^= std::byte{1}; });
}
void Peer::no_table(std::uint64_t) {
  const std::vector<std::byte> body(64, std::byte{0xfe});
  client_.send(Type::kMatch, body);
  reply("no-table");
}
// The lengths are judged before the checksum, which is no longer right.
void Peer::body_length(std::uint64_t length) {
  send_changed("body-length", [&](Bytewise& bytes) {
    set_word(bytes, 16, length, 4);
    bytes.resize(wire::kHeaderBytes);
  });
}
void Peer::payload_length(std::uint64_t length) {
  send_changed("payload-length", [&](Bytewise& bytes) {
    set_word(bytes, 24, length, 8);
    bytes.resize(wire::kHeaderBytes);
  });
}

// --- too slow --------------------------------------------------------------------------------------------------------

void Peer::half_header(std::uint64_t) {
  const auto bytes = ping_bytes([](Bytewise& all) { all.resize(wire::kHeaderBytes / 2); });
  silent("half-header", client_.send_bytes(bytes));
}
void Peer::half_body(std::uint64_t) {
  const auto bytes = ping_bytes([](Bytewise& all) { set_word(all, 16, wire::kMaxBody, 4); });
  silent("half-body", client_.send_bytes(bytes));
}
// A payload of 4 MiB is announced, for which memory is set aside; 1000 bytes of it come.
void Peer::half_payload(std::uint64_t) {
  constexpr std::size_t kCount = 64;
  Builder b;
  const auto chains = one(b, chain(b, handle_, 88, kCount));
  const std::vector<std::uint64_t> sums(kCount, 1);
  b.Finish(wire::CreatePut(b, chains, 0, kCount, b.CreateVector(sums)));
  bool sent = client_.send({.type = Type::kPut, .request = 1, .payload_bytes = kCount * kBlockBytes}, wire::body_of(b));
  sent = sent && client_.send_bytes(std::vector<std::byte>(1000));
  silent("half-payload", sent);
}

void Peer::trickle(const char* step, std::span<const std::byte> bytes, std::uint64_t limit) {
  const TimePoint start = steady_clock::now();
  std::size_t sent = 0;
  RawClient::Got got = RawClient::Got::kTimeout;
  while (sent < bytes.size() && steady_clock::now() < start + seconds(limit) && got == RawClient::Got::kTimeout) {
    if (!client_.send_bytes(bytes.subspan(sent, 1))) break;
    ++sent;
    got = client_.read_frame(seconds(1));
  }
  Answer answer;
  answer.add("step", step).add("sent", sent);
  say_got(answer, client_, got);
  answer.add("s", seconds_since(start)).say();
}
void Peer::trickle_hello(std::uint64_t limit) {
  const auto bytes = ping_bytes([](Bytewise& all) { set_word(all, 6, 1, 2); });
  trickle("trickle-hello", bytes, limit);
}
void Peer::trickle_ping(std::uint64_t limit) {
  trickle("trickle-ping", ping_bytes([](Bytewise&) {}), limit);
}

// Asks again and again for the 64 blocks put last, and takes one byte a second of the replies.
void Peer::slow_get(std::uint64_t limit) {
  Builder b;
  const auto chains = one(b, chain(b, handle_, last_put_, 64));
  b.Finish(wire::CreateGet(b, chains, 0, 64));
  for (int i = 0; i < 16; ++i) client_.send(Type::kGet, wire::body_of(b));
  const TimePoint start = steady_clock::now();
  std::size_t taken = 0;
  while (steady_clock::now() < start + seconds(limit)) {
    if (client_.read_bytes(1, seconds(2)) == 0) break;
    ++taken;
    std::this_thread::sleep_for(seconds(1));
  }
  Answer().add("step", "slow-get").add("taken", taken).add("s", seconds_since(start)).say();
}

}  // namespace reprise::e2e
