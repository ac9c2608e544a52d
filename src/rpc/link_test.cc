#include "rpc/link.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "testing/fake_server.h"
#include "testing/loopback.h"

namespace reprise {
namespace {

using flatbuffers::FlatBufferBuilder;
using Peer = testing::FakePeer;

Patience soon() {
  return {Deadline::after(std::chrono::seconds(30)), std::chrono::microseconds(50)};
}

using Script = std::function<void(Peer&)>;

// Opens a link to a peer that plays `script`; the peer's end is open until this is gone.
class Scene {
 public:
  explicit Scene(Script script) {
    auto pair = testing::make_loopback();
    client_ = std::move(pair.client);
    thread_ = std::thread([this, script = std::move(script), server = std::move(pair.server)]() mutable {
      Peer peer(std::move(server));
      script(peer);
      while (peer.read()) seen.push_back(peer.header().type);
    });
  }
  // What it saw after the script is in `seen` from here on.
  ~Scene() { end(); }
  void end() {
    opened = {};
    client_.reset();
    if (thread_.joinable()) thread_.join();
  }
  Result<Link::Opened> open(const Greeting& greeting = {"test", {}, 0}, Patience patience = soon()) {
    return Link::open(std::move(client_), greeting, patience);
  }
  Link& link() { return *opened->link; }

  std::vector<wire::Type> seen;
  Result<Link::Opened> opened;  // lives no longer than the peer

 private:
  std::unique_ptr<Stream> client_;
  std::thread thread_;
};

void shake(Peer& peer) {
  ASSERT_TRUE(peer.read());
  peer.hello(false);
  peer.welcome({});
}

Bytes chains_body(FlatBufferBuilder& builder) {
  builder.Clear();
  builder.Finish(wire::CreateChains(builder));
  return wire::body_of(builder);
}

Result<std::uint64_t> match(Link& link, Patience patience = soon()) {
  FlatBufferBuilder builder;
  const auto reply = link.ask<wire::Matched>(wire::Type::kMatch, chains_body(builder), patience);
  if (!reply) return std::unexpected(reply.error());
  return (*reply)->blocks();
}

TEST(Link, OpensAndCalls) {
  Scene scene([](Peer& peer) {
    ASSERT_TRUE(peer.read());
    const auto* hello = peer.body<wire::Hello>();
    ASSERT_NE(hello, nullptr);
    EXPECT_EQ(wire::text_of(hello->client()), "test");
    EXPECT_EQ(hello->key_id(), nullptr);
    peer.hello(false);
    peer.welcome({});
    for (std::uint64_t blocks = 5; blocks < 8; ++blocks) {
      ASSERT_TRUE(peer.read());
      EXPECT_EQ(peer.header().type, wire::Type::kMatch);
      EXPECT_GT(peer.header().timeout_us, 20'000'000u);
      EXPECT_LT(peer.header().timeout_us, 30'000'000u) << "the answer at the server's deadline must be in time here";
      peer.matched(peer.header().request, blocks);
    }
  });
  scene.opened = scene.open();
  ASSERT_TRUE(scene.opened) << scene.opened.error().message;
  EXPECT_EQ(scene.opened->session, 7u);
  EXPECT_EQ(scene.opened->tenant, "default");
  EXPECT_EQ(scene.opened->arena_bytes, 4096u);
  EXPECT_EQ(scene.opened->words, 64u);
  EXPECT_EQ(scene.opened->lease_ttl, std::chrono::minutes(1));
  for (std::uint64_t blocks = 5; blocks < 8; ++blocks) EXPECT_EQ(match(scene.link()), blocks);
  EXPECT_TRUE(scene.link().still_there());
}

TEST(Link, DescriptorsComeWithTheWelcome) {
  Scene scene([](Peer& peer) {
    ASSERT_TRUE(peer.read());
    peer.hello(false);
    const int here = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    const int pair[] = {here, here};
    ASSERT_TRUE(peer.stream().attach_descriptors(pair));
    peer.welcome({});
    ::close(here);
  });
  scene.opened = scene.open();
  ASSERT_TRUE(scene.opened) << scene.opened.error().message;
  EXPECT_EQ(scene.opened->descriptors.size(), 2u);
}

const wire::Credential kCredential{"key", "0123456789abcdef"};

void prove(Peer& peer, std::string_view secret) {
  ASSERT_TRUE(peer.read());
  const auto* hello = peer.body<wire::Hello>();
  ASSERT_NE(hello, nullptr);
  ASSERT_EQ(wire::text_of(hello->key_id()), "key");
  wire::Nonce theirs;
  ASSERT_EQ(hello->nonce()->size(), theirs.size());
  std::copy_n(hello->nonce()->data(), theirs.size(), theirs.begin());
  peer.hello(true);
  ASSERT_TRUE(peer.read());
  const auto* shown = peer.body<wire::Authenticate>();
  ASSERT_NE(shown, nullptr);
  EXPECT_TRUE(wire::same_proof(wire::prove(wire::Side::kClient, kCredential.secret, "key", theirs, peer.nonce()),
                               wire::bytes_of(shown->proof())));
  const wire::Proof proof = wire::prove(wire::Side::kServer, secret, "key", theirs, peer.nonce());
  peer.welcome({.proof = std::as_bytes(std::span(proof))});
}

TEST(Link, BothSidesProveTheToken) {
  Scene good([](Peer& peer) { prove(peer, kCredential.secret); });
  good.opened = good.open({"test", kCredential, 0});
  EXPECT_TRUE(good.opened) << good.opened.error().message;

  Scene impostor([](Peer& peer) { prove(peer, "another secret!!"); });
  impostor.opened = impostor.open({"test", kCredential, 0});
  ASSERT_FALSE(impostor.opened);
  EXPECT_EQ(impostor.opened.error().code, ErrorCode::kDenied);
}

Error refusal(Script script, const Greeting& greeting = {"test", {}, 0}) {
  Scene scene(std::move(script));
  scene.opened = scene.open(greeting);
  return scene.opened ? Error{ErrorCode::kInternal, "opened"} : scene.opened.error();
}

TEST(Link, WhatKeepsASessionFromOpening) {
  const auto hello = [](bool need_proof, std::uint8_t version) {
    return [=](Peer& peer) {
      if (peer.read()) peer.hello(need_proof, version), peer.welcome({});
    };
  };
  EXPECT_EQ(refusal(hello(true, 1)).code, ErrorCode::kDenied) << "no token here";
  EXPECT_EQ(refusal(hello(false, 1), {"test", kCredential, 0}).code, ErrorCode::kDenied) << "it must not be let off";
  EXPECT_EQ(refusal(hello(false, 9)).code, ErrorCode::kVersion);
  const Error strange = refusal([](Peer& peer) {
    wire::FrameHeader header;
    header.version = 2;
    header.type = wire::Type::kHelloReply;
    if (peer.read()) peer.send_bytes(wire::encode_header(header, {}));
  });
  EXPECT_EQ(strange.code, ErrorCode::kVersion);
  EXPECT_NE(strange.message.find("install the same release"), std::string::npos) << strange.message;
  EXPECT_EQ(refusal([](Peer& peer) {
              if (peer.read()) peer.hello(false), peer.welcome({.ttl_ms = 0, .proof = {}});
            }).code,
            ErrorCode::kIo);
  EXPECT_EQ(refusal([](Peer& peer) { peer.close(); }).code, ErrorCode::kIo);
  const Error denied = refusal([](Peer& peer) {
    if (peer.read()) peer.failed(ErrorCode::kDenied, "uid 7 is not allowed", true);
  });
  EXPECT_EQ(denied.code, ErrorCode::kDenied);
  EXPECT_EQ(denied.message, "uid 7 is not allowed");
}

TEST(Link, ASilentServerIsNotWaitedForBeyondTheDeadline) {
  Scene scene([](Peer& peer) { (void)peer.read(); });
  const auto opened = scene.open({"test", {}, 0}, {Deadline::after(std::chrono::milliseconds(20)), Duration(0)});
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::kIo);
}

TEST(Link, AFailureIsTheServersWordAndTheLinkGoesOn) {
  Scene scene([](Peer& peer) {
    shake(peer);
    ASSERT_TRUE(peer.read());
    peer.failed(ErrorCode::kInvalid, "no such namespace", false);
    ASSERT_TRUE(peer.read());
    peer.matched(peer.header().request, 1);
  });
  scene.opened = scene.open();
  ASSERT_TRUE(scene.opened);
  const auto failed = match(scene.link());
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, ErrorCode::kInvalid);
  EXPECT_EQ(failed.error().message, "no such namespace");
  EXPECT_TRUE(scene.link().alive());
  EXPECT_EQ(match(scene.link()), 1u);
}

Link::End end_after(Script answer, Patience patience = soon()) {
  Scene scene([answer = std::move(answer)](Peer& peer) {
    shake(peer);
    if (peer.read()) answer(peer);
  });
  scene.opened = scene.open();
  if (!scene.opened) return Link::End::kNone;
  EXPECT_FALSE(match(scene.link(), patience));
  return scene.link().end();
}

TEST(Link, HowALinkEnds) {
  EXPECT_EQ(end_after([](Peer&) {}, {Deadline::after(std::chrono::milliseconds(20)), Duration(0)}),
            Link::End::kTimeout);
  EXPECT_EQ(end_after([](Peer& peer) { peer.close(); }), Link::End::kClosed);
  EXPECT_EQ(end_after([](Peer& peer) { peer.matched(peer.header().request + 1, 1); }), Link::End::kFault);
  EXPECT_EQ(end_after([](Peer& peer) { peer.matched(peer.header().request, 1, wire::Type::kErased); }),
            Link::End::kFault);
  EXPECT_EQ(end_after([](Peer& peer) { peer.matched(peer.header().request, 1, wire::Type::kRelease); }),
            Link::End::kFault);
  EXPECT_EQ(end_after([](Peer& peer) {
              FlatBufferBuilder builder;
              builder.Finish(wire::CreateMatched(builder, 1));
              peer.send(wire::Type::kMatched, peer.header().request, builder, "payload");
            }),
            Link::End::kFault);
  EXPECT_EQ(end_after([](Peer& peer) {
              wire::FrameHeader header;
              header.type = wire::Type::kMatched;
              header.request = peer.header().request;
              const std::string body = "this is no table";
              peer.send_bytes(wire::encode_header(header, std::as_bytes(std::span(body))),
                              std::as_bytes(std::span(body)));
            }),
            Link::End::kFault);
  EXPECT_EQ(end_after([](Peer& peer) {
              const std::string text(64, 'x');
              peer.send_bytes(std::as_bytes(std::span(text)));
            }),
            Link::End::kFault);
}

TEST(Link, AGoodbyeGivesItsReason) {
  Scene scene([](Peer& peer) {
    shake(peer);
    peer.goodbye(ErrorCode::kDenied, "the token was withdrawn");
    (void)peer.read();
  });
  scene.opened = scene.open();
  ASSERT_TRUE(scene.opened);
  const auto answer = match(scene.link());
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ErrorCode::kDenied);
  EXPECT_NE(answer.error().message.find("withdrawn"), std::string::npos);
  EXPECT_EQ(scene.link().end(), Link::End::kClosed);
}

// Takes `room` bytes.
class Receiver final : public ReplyPayload {
 public:
  explicit Receiver(std::size_t room) : room_(room, '\0') {}
  bool begin(Bytes body, std::uint64_t) override { return wire::read_body<wire::Got>(body) != nullptr; }
  MutableBytes next() override { return std::as_writable_bytes(std::span(room_)).subspan(have_); }
  void arrived(std::size_t count) override { have_ += count; }
  [[nodiscard]] std::string text() const { return room_.substr(0, have_); }

 private:
  std::string room_;
  std::size_t have_ = 0;
};

void answer_get(Peer& peer, const std::string& payload) {
  ASSERT_TRUE(peer.read());
  FlatBufferBuilder builder;
  builder.Finish(wire::CreateGot(builder));
  peer.send(wire::Type::kGot, peer.header().request, builder, payload);
}

TEST(Link, APayloadGoesWhereItsReceiverSays) {
  const std::string payload(300'000, 'p');
  Scene scene([&](Peer& peer) {
    shake(peer);
    answer_get(peer, payload);
    answer_get(peer, payload + "!");
  });
  scene.opened = scene.open();
  ASSERT_TRUE(scene.opened);
  FlatBufferBuilder builder;
  Receiver receiver(payload.size());
  ASSERT_TRUE(scene.link().ask<wire::Got>(wire::Type::kGet, chains_body(builder), soon(), {}, &receiver));
  EXPECT_EQ(receiver.text(), payload);
  Receiver small(payload.size());
  EXPECT_FALSE(scene.link().ask<wire::Got>(wire::Type::kGet, chains_body(builder), soon(), {}, &small));
  EXPECT_EQ(scene.link().end(), Link::End::kFault);
}

// What a script receives.
class Into final : public PayloadSink {
 public:
  explicit Into(std::string& text) : text_(text) {}
  MutableBytes next() override { return std::as_writable_bytes(std::span(text_)).subspan(have_); }
  void arrived(std::size_t count) override { have_ += count; }

 private:
  std::string& text_;
  std::size_t have_ = 0;
};

TEST(Link, APayloadIsSentBehindItsBody) {
  std::string got(200'003, '\0');
  Scene scene([&](Peer& peer) {
    shake(peer);
    ASSERT_TRUE(peer.read());
    ASSERT_EQ(peer.header().payload_bytes, got.size());
    Into into(got);
    ASSERT_TRUE(peer.read_payload(into));
    FlatBufferBuilder builder;
    builder.Finish(wire::CreateStored(builder, 2));
    peer.send(wire::Type::kStored, peer.header().request, builder);
  });
  scene.opened = scene.open();
  ASSERT_TRUE(scene.opened);
  FlatBufferBuilder builder;
  const std::string one(200'000, '1');
  const std::string two = "two";
  const Bytes pieces[] = {std::as_bytes(std::span(one)), std::as_bytes(std::span(two))};
  const auto stored = scene.link().ask<wire::Stored>(wire::Type::kPut, chains_body(builder), soon(), pieces);
  ASSERT_TRUE(stored) << stored.error().message;
  EXPECT_EQ((*stored)->accepted(), 2u);
  EXPECT_EQ(got, one + two);
}

TEST(Link, WhoClosesWhileWeWriteMaySayWhy) {
  Scene scene([](Peer& peer) {
    shake(peer);
    if (!peer.read()) return;
    peer.failed(ErrorCode::kDenied, "the token was withdrawn", true);
    peer.close();
  });
  scene.opened = scene.open();
  ASSERT_TRUE(scene.opened);
  FlatBufferBuilder builder;
  const std::string payload(8 << 20, 'p');
  const Bytes piece = std::as_bytes(std::span(payload));
  const auto stored = scene.link().call(wire::Type::kPut, chains_body(builder), std::span(&piece, 1), soon());
  ASSERT_FALSE(stored);
  EXPECT_EQ(stored.error().message, "the token was withdrawn");
  EXPECT_EQ(scene.link().end(), Link::End::kClosed);
}

TEST(Link, AfterATimeoutItMayStillBeToldWhatIsOver) {
  Scene scene([](Peer& peer) {
    shake(peer);
    ASSERT_TRUE(peer.read());
  });
  scene.opened = scene.open();
  ASSERT_TRUE(scene.opened);
  EXPECT_FALSE(match(scene.link(), {Deadline::after(std::chrono::milliseconds(10)), Duration(0)}));
  EXPECT_FALSE(scene.link().alive());
  ASSERT_TRUE(scene.link().can_still_tell());
  FlatBufferBuilder builder;
  builder.Finish(wire::CreateLeaseIds(builder));
  EXPECT_TRUE(scene.link().send_one_way(wire::Type::kRelease, wire::body_of(builder), soon()));
  scene.end();
  ASSERT_EQ(scene.seen.size(), 1u);
  EXPECT_EQ(scene.seen.front(), wire::Type::kRelease);
}

TEST(Link, APeerThatLeftIsNoticedBetweenCalls) {
  Scene scene([](Peer& peer) {
    shake(peer);
    (void)peer.read();
    peer.matched(peer.header().request, 1);
    peer.close();
  });
  scene.opened = scene.open();
  ASSERT_TRUE(scene.opened);
  EXPECT_EQ(match(scene.link()), 1u);
  while (scene.link().still_there()) std::this_thread::yield();
}

TEST(Link, ShutdownWakesTheCaller) {
  Scene scene([](Peer& peer) {
    shake(peer);
    (void)peer.read();
  });
  scene.opened = scene.open();
  ASSERT_TRUE(scene.opened);
  std::thread other([&] { scene.link().shutdown(); });
  EXPECT_FALSE(match(scene.link()));
  other.join();
  EXPECT_EQ(scene.link().end(), Link::End::kClosed);
}

}  // namespace
}  // namespace reprise
