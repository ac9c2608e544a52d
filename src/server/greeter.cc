#include "server/greeter.h"

#include <algorithm>
#include <utility>

#include "l1/lease_words.h"
#include "wire/auth.h"

namespace reprise {
namespace {

constexpr std::uint64_t kCapabilities = 0;  // none defined in version 1
constexpr std::size_t kMaxName = 128;
constexpr std::string_view kServerName = "reprised " REPRISE_VERSION;

Greeter::Outcome refuse(std::uint64_t request, ErrorCode code, const std::string& text) {
  Greeter::Outcome outcome;
  outcome.refused = Error{code, text};
  outcome.frames.push_back(failed(request, *outcome.refused, /*closing=*/true).frame);
  return outcome;
}

}  // namespace

Greeter::Outcome Greeter::take(const wire::FrameHeader& header, Bytes body) {
  if (header.type == wire::Type::kHello && !greeted_) return hello(header, body);
  if (header.type == wire::Type::kAuthenticate && greeted_) return authenticate(header, body);
  return refuse(
      header.request, ErrorCode::kInvalid,
      "'" + std::string(wire::name_of(header.type)) + "' before the session is open; the first frame is hello");
}

Greeter::Outcome Greeter::hello(const wire::FrameHeader& header, Bytes body) {
  const auto* message = wire::read_body<wire::Hello>(body);
  if (message == nullptr) return refuse(header.request, ErrorCode::kInvalid, "the body is no hello");
  if (!refusal_.empty()) return refuse(header.request, ErrorCode::kDenied, refusal_);
  const int version = std::min<int>(message->max_version(), wire::kVersion);
  if (version < std::max<int>(message->min_version(), wire::kOldestVersion)) {
    return refuse(header.request, ErrorCode::kVersion,
                  "the client speaks versions " + std::to_string(message->min_version()) + " to " +
                      std::to_string(message->max_version()) + " of the protocol, this server " +
                      std::to_string(wire::kOldestVersion) + " to " + std::to_string(wire::kVersion));
  }
  const Bytes nonce = wire::bytes_of(message->nonce());
  if (nonce.size() != client_nonce_.size()) {
    return refuse(header.request, ErrorCode::kInvalid, "a hello carries a nonce of 32 bytes");
  }
  std::memcpy(client_nonce_.data(), nonce.data(), nonce.size());
  const auto made = wire::make_nonce();
  if (!made) return refuse(header.request, made.error().code, made.error().message);
  server_nonce_ = *made;
  client_ = wire::text_of(message->client()).substr(0, kMaxName);
  key_id_ = wire::text_of(message->key_id()).substr(0, 255);
  greeted_ = true;

  std::shared_ptr<Tenant> tenant;
  if (key_id_.empty()) {
    tenant = doorkeeper_.anonymous(is_unix_);
    if (!tenant) {
      return refuse(header.request, ErrorCode::kDenied,
                    "this server wants a token: name its file with attach.token-file (ID:SECRET)");
    }
  }
  Outcome outcome;
  flatbuffers::FlatBufferBuilder builder;
  const auto name = builder.CreateString(kServerName.data(), kServerName.size());
  const auto own_nonce = builder.CreateVector(server_nonce_.data(), server_nonce_.size());
  builder.Finish(wire::CreateHelloReply(builder, static_cast<std::uint8_t>(version), kCapabilities, name, own_nonce,
                                        /*need_proof=*/!tenant));
  outcome.frames.push_back(make_frame(wire::Type::kHelloReply, header.request, builder));
  if (tenant) welcome(outcome, header.request, std::move(tenant), {});
  return outcome;
}

Greeter::Outcome Greeter::authenticate(const wire::FrameHeader& header, Bytes body) {
  const auto* message = wire::read_body<wire::Authenticate>(body);
  if (message == nullptr) return refuse(header.request, ErrorCode::kInvalid, "the body is no authenticate");
  auto token = doorkeeper_.find_token(key_id_);
  // An unknown ID takes the same way as a wrong secret.
  const std::string secret =
      token ? token->secret : std::string(reinterpret_cast<const char*>(server_nonce_.data()), 32);
  const wire::Proof expected = wire::prove(wire::Side::kClient, secret, key_id_, client_nonce_, server_nonce_);
  if (!wire::same_proof(expected, wire::bytes_of(message->proof())) || !token) {
    return refuse(header.request, ErrorCode::kDenied, "the token '" + key_id_ + "' is unknown, or its secret is wrong");
  }
  const wire::Proof own = wire::prove(wire::Side::kServer, secret, key_id_, client_nonce_, server_nonce_);
  Outcome outcome;
  outcome.key_id = key_id_;
  welcome(outcome, header.request, std::move(token->tenant), std::as_bytes(std::span(own)));
  return outcome;
}

void Greeter::welcome(Outcome& outcome, std::uint64_t request, std::shared_ptr<Tenant> tenant, Bytes proof) {
  Engine& engine = tenant->engine();
  flatbuffers::FlatBufferBuilder builder;
  const auto name = builder.CreateString(tenant->name());
  const auto shown = proof.empty()
                         ? flatbuffers::Offset<flatbuffers::Vector<std::uint8_t>>()
                         : builder.CreateVector(reinterpret_cast<const std::uint8_t*>(proof.data()), proof.size());
  const auto ttl = std::chrono::duration_cast<std::chrono::milliseconds>(doorkeeper_.lease_ttl()).count();
  builder.Finish(wire::CreateWelcome(builder, session_, name, shown, engine.stats().l1.capacity_bytes,
                                     is_unix_ ? engine.arena().size() : 0, is_unix_ ? engine.populate_bytes() : 0,
                                     is_unix_ ? LeaseWords::kCount : 0, static_cast<std::uint64_t>(ttl)));
  Outgoing frame = make_frame(wire::Type::kWelcome, request, builder);
  if (is_unix_) frame.descriptors = {engine.arena().fd(), engine.lease_words()->fd()};
  outcome.frames.push_back(std::move(frame));
  outcome.client = client_;
  outcome.tenant = std::move(tenant);
}

}  // namespace reprise
