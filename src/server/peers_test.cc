// Peers that make mistakes, or mean harm: what each is told, and that nobody else notices.

#include <sys/socket.h>

#include <fstream>

#include "testing/server_fixture.h"
#include "testing/stream_helpers.h"

namespace reprise::server_test {
namespace {

using ::testing::HasSubstr;

class PeersTest : public ::testing::Test {
 protected:
  Daemon daemon;
  const Namespace ns = make_namespace(4 * kKiB);
  const std::vector<BlockKey> keys = make_keys(1, 4);

  void write_tokens(const std::string& text) {
    daemon.options.auth_file = daemon.dir.path() + "/auth.toml";
    std::ofstream(daemon.options.auth_file) << text;
    ::chmod(daemon.options.auth_file.c_str(), 0600);
  }
  static Greeting with_token(const std::string& id, const std::string& secret) {
    return {.client = "test", .credential = wire::Credential{id, secret}};
  }
  /// Reads frames until one of this type comes; false when the server closed before.
  static bool read_until(Stream& stream, wire::Type type, std::string& body) {
    FrameReader reader(wire::kMaxBody);
    for (;;) {
      const auto step = reader.advance(stream);
      if (step == FrameReader::Step::kFrame) {
        body.assign(reinterpret_cast<const char*>(reader.body().data()), reader.body().size());
        if (reader.header().type == type) return true;
      } else if (step == FrameReader::Step::kWantRead) {
        std::this_thread::yield();
      } else {
        return false;
      }
    }
  }
  static bool is_closed(Stream& stream) {
    std::string rest;
    const Flow flow = testing::read_to_end(stream, rest);
    return flow == Flow::kClosed || flow == Flow::kFailed;
  }
  void expect_service() {
    Caller caller(daemon.connect(true));
    ASSERT_TRUE(caller.open()) << caller.error.message;
    EXPECT_NE(caller.match(caller.open_namespace(ns), keys), nullptr) << caller.error.message;
  }
};

constexpr const char* kTokens = R"([[tenant]]
name = "team-a"
capacity = "4MiB"
tokens = ["a1:0123456789abcdef"]
[[tenant]]
name = "team-b"
capacity = "4MiB"
tokens = ["b1:fedcba9876543210"]
)";

TEST_F(PeersTest, TokensOpenTheirTenantsAndNoOthers) {
  write_tokens(kTokens);
  daemon.start();
  Caller a(daemon.connect(false), with_token("a1", "0123456789abcdef"));
  ASSERT_TRUE(a.open()) << a.error.message;
  EXPECT_EQ(a.welcome().tenant, "team-a");
  Caller b(daemon.connect(true), with_token("b1", "fedcba9876543210"));
  ASSERT_TRUE(b.open()) << b.error.message;
  EXPECT_EQ(b.welcome().tenant, "team-b");
  ASSERT_NE(a.put(ns, a.open_namespace(ns), keys), nullptr);
  EXPECT_EQ(b.match(b.open_namespace(ns), keys)->blocks(), 0U);

  const Caller wrong(daemon.connect(false), with_token("a1", "0123456789abcdeX"));
  EXPECT_EQ(wrong.error.code, ErrorCode::kDenied);
  EXPECT_THAT(wrong.error.message, HasSubstr("a1"));
  const Caller unknown(daemon.connect(false), with_token("zz", "0123456789abcdef"));
  EXPECT_EQ(unknown.error.code, ErrorCode::kDenied);
  const Caller none(daemon.connect(false));
  EXPECT_EQ(none.error.code, ErrorCode::kDenied);
  EXPECT_THAT(none.error.message, HasSubstr("attach.token-file"));
  const Caller local(daemon.connect(true));
  EXPECT_TRUE(local.open()) << "the Unix socket's own check is enough for the default tenant";
}

TEST_F(PeersTest, TokensAreReadAgain) {
  write_tokens(kTokens);
  daemon.start();
  Caller a(daemon.connect(false), with_token("a1", "0123456789abcdef"));
  Caller b(daemon.connect(false), with_token("b1", "fedcba9876543210"));
  ASSERT_TRUE(a.open() && b.open());
  write_tokens("nonsense");
  EXPECT_FALSE(daemon.server->reload());
  EXPECT_NE(a.match(a.open_namespace(ns), keys), nullptr) << "a bad file changes nothing";
  write_tokens(
      "[[tenant]]\nname = \"team-a\"\ncapacity = \"4MiB\"\ntokens = [\"a1:0123456789abcdef\"]\n"
      "[[tenant]]\nname = \"team-c\"\ncapacity = \"4MiB\"\ntokens = [\"c1:0011223344556677\"]\n");
  const auto done = daemon.server->reload();
  ASSERT_TRUE(done) << done.error().message;
  const Caller c(daemon.connect(false), with_token("c1", "0011223344556677"));
  EXPECT_TRUE(c.open()) << c.error.message;
  EXPECT_NE(a.match(a.open_namespace(ns), keys), nullptr) << a.error.message;
  EXPECT_EQ(b.match(0, keys), nullptr);
  EXPECT_THAT(b.error.message, HasSubstr("no longer valid"));
}

TEST_F(PeersTest, ATenantsRateIsKept) {
  write_tokens(std::string(kTokens) +
               "[[tenant]]\nname = \"slow\"\ncapacity = \"4MiB\"\noperations-per-second = 1\n"
               "tokens = [\"s1:0123456789abcdef\"]\n");
  daemon.start();
  Caller slow(daemon.connect(false), with_token("s1", "0123456789abcdef"));
  ASSERT_TRUE(slow.open()) << slow.error.message;
  const std::uint32_t handle = slow.open_namespace(ns);
  int busy = 0;
  for (int i = 0; i < 20; ++i) {
    const auto* matched = slow.match(handle, keys);
    ASSERT_NE(matched, nullptr) << slow.error.message;
    busy += wire::reason_of(matched->reason()) == Reason::kBusy ? 1 : 0;
  }
  EXPECT_GT(busy, 0);
  const auto* stored = slow.put(ns, handle, keys);
  ASSERT_NE(stored, nullptr) << slow.error.message;
  expect_service();
}

TEST_F(PeersTest, MistakesInsideFramesAreAnsweredAndTheSessionGoesOn) {
  daemon.start();
  Caller caller(daemon.connect(false));
  ASSERT_TRUE(caller.open());
  const std::uint32_t handle = caller.open_namespace(ns);
  const auto fails = [&](const auto* answer, ErrorCode code, const char* text) {
    EXPECT_EQ(answer, nullptr);
    EXPECT_EQ(caller.error.code, code);
    EXPECT_THAT(caller.error.message, HasSubstr(text));
    EXPECT_TRUE(caller.link().alive()) << text;
  };
  fails(caller.match(handle + 7, keys), ErrorCode::kInvalid, "namespace handle");
  fails(caller.ask<wire::Matched>(wire::Type{61000}, [](auto& b) { return wire::CreatePing(b); }), ErrorCode::kInvalid,
        "61000");
  fails(caller.acquire(handle, keys), ErrorCode::kInvalid, "shared memory");
  Payload got;
  fails(caller.get(handle, keys, got, 5), ErrorCode::kInvalid, "beyond a chain");
  fails(caller.ask<wire::Matched>(wire::Type::kMatch, [](auto& b) { return wire::CreateChains(b); }),
        ErrorCode::kInvalid, "no chain");
  NamespaceSpec spec = ns.spec();
  spec.model.clear();
  fails(caller.ask<wire::NamespaceOpened>(wire::Type::kOpenNamespace, [&](auto& b) { return wire::to_wire(b, spec); }),
        ErrorCode::kInvalid, "model");
  // A payload that is not what the body says is received, thrown away and answered.
  const std::vector<std::byte> junk(100'000);
  const Bytes piece = junk;
  fails(caller.ask<wire::Stored>(
            wire::Type::kPut,
            [&](auto& b) {
              const std::vector list{wire::to_wire(b, handle, {}, keys)};
              const auto chains = b.CreateVector(list);
              return wire::CreatePut(b, chains, 0, keys.size(), b.CreateVector(std::vector<std::uint64_t>(4)));
            },
            std::span(&piece, 1)),
        ErrorCode::kInvalid, "100000 bytes");
  EXPECT_NE(caller.put(ns, handle, keys), nullptr) << caller.error.message;
}

TEST_F(PeersTest, FramesOutOfStepEndTheConnectionWithAReason) {
  daemon.start();
  const auto tell = [&](const std::string& bytes, ErrorCode code, const char* text) {
    const auto stream = daemon.connect(false);
    ASSERT_NE(stream, nullptr);
    ASSERT_EQ(testing::send(*stream, bytes), Flow::kMoved);
    std::string body;
    ASSERT_TRUE(read_until(*stream, wire::Type::kFailed, body)) << text;
    alignas(8) char aligned[512];
    ASSERT_LE(body.size(), sizeof aligned);
    std::memcpy(aligned, body.data(), body.size());
    const auto* told = wire::read_body<wire::Failed>(std::as_bytes(std::span(aligned).first(body.size())));
    ASSERT_NE(told, nullptr);
    EXPECT_EQ(wire::error_of(told->code()), code);
    EXPECT_TRUE(told->closing());
    EXPECT_THAT(wire::text_of(told->text()), HasSubstr(text));
    EXPECT_TRUE(is_closed(*stream));
  };
  tell(std::string(64, 'G'), ErrorCode::kInvalid, "not Reprise's protocol");
  const auto frame = [](wire::FrameHeader header, const std::string& body, bool damaged = false) {
    auto bytes = wire::encode_header(header, testing::bytes_of(body));
    if (damaged) bytes[39] ^= std::byte{1};
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()) + body;
  };
  tell(frame({.type = wire::Type::kHello}, std::string(5000, 'x')), ErrorCode::kInvalid, "longer");
  tell(frame({.type = wire::Type::kHello, .payload_bytes = 1ULL << 32}, ""), ErrorCode::kInvalid, "longer");
  tell(frame({.type = wire::Type::kHello}, "12345678", true), ErrorCode::kInvalid, "checksum");
  tell(frame({.version = 9, .type = wire::Type::kMatch}, ""), ErrorCode::kVersion, "version");
  tell(frame({.type = wire::Type::kMatch}, ""), ErrorCode::kInvalid, "before the session is open");
  flatbuffers::FlatBufferBuilder builder;
  const auto nonce = builder.CreateVector(std::vector<std::uint8_t>(32));
  builder.Finish(wire::CreateHello(builder, 8, 9, 0, 0, 0, nonce));
  const Bytes body = wire::body_of(builder);
  tell(frame({.version = 9, .type = wire::Type::kHello},
             std::string(reinterpret_cast<const char*>(body.data()), body.size())),
       ErrorCode::kVersion, "versions 8 to 9");
  expect_service();
}

TEST_F(PeersTest, WhoeverStopsInTheMiddleIsClosed) {
  daemon.options.handshake_timeout = std::chrono::milliseconds(100);
  daemon.options.progress_timeout = std::chrono::milliseconds(150);
  daemon.start();
  const auto silent = daemon.connect(false);
  ASSERT_EQ(testing::send(*silent, "RPR1"), Flow::kMoved);
  Caller half(daemon.connect(false));
  Caller idle(daemon.connect(false));
  ASSERT_TRUE(half.open() && idle.open());
  const std::uint32_t handle = idle.open_namespace(ns);
  // A header that promises a body, and nothing more: over the link's own stream there is no saying half.
  auto raw = daemon.connect(true);
  ASSERT_EQ(testing::send(*raw, std::string("RPR1\x01", 5)), Flow::kMoved);
  EXPECT_TRUE(is_closed(*silent));
  EXPECT_TRUE(is_closed(*raw));
  EXPECT_NE(idle.match(handle, keys), nullptr) << "between frames nobody is hurried";
}

TEST_F(PeersTest, AReaderOfOneByteAtATimeIsClosedAndItsBlocksAreFree) {
  daemon.options.progress_timeout = std::chrono::milliseconds(200);
  daemon.start();
  const Namespace big = make_namespace(4 * kMiB);
  Caller fills(daemon.connect(false));
  const auto two = make_keys(3, 2);
  ASSERT_NE(fills.put(big, fills.open_namespace(big), two), nullptr);
  // A caller in disguise: its stream is asked for the block, then read byte by byte.
  auto stream = daemon.connect(false);
  Stream& slow = *stream;
  Caller reader(std::move(stream));
  ASSERT_TRUE(reader.open());
  const std::uint32_t handle = reader.open_namespace(big);
  flatbuffers::FlatBufferBuilder builder;
  const std::vector list{wire::to_wire(builder, handle, {}, two)};
  builder.Finish(wire::CreateGet(builder, builder.CreateVector(list), 0, 2));
  ASSERT_TRUE(reader.link().send_one_way(wire::Type::kGet, wire::body_of(builder), soon()));
  const std::uint64_t before = daemon.server->server_stats().closed[5].second;
  ASSERT_TRUE(Daemon::eventually([&] {
    std::byte one[1];
    const MutableBytes piece(one);
    static_cast<void>(slow.read(std::span(&piece, 1)));
    return daemon.server->server_stats().closed[5].second > before;
  }));
  EXPECT_EQ(daemon.server->server_stats().closed[5].first, "stalled");
  EXPECT_TRUE(Daemon::eventually([&] { return daemon.server->tenants()[0].stats.leases == 0; }));
}

TEST_F(PeersTest, AStalledSessionWithReservedMemoryIsDismissedAndKeepsItUntilItIsGone) {
  daemon.options.progress_timeout = std::chrono::milliseconds(100);
  daemon.start();
  auto stream = daemon.connect(true);
  Stream& raw = *stream;
  Caller writer(std::move(stream));
  ASSERT_TRUE(writer.open());
  const std::uint32_t handle = writer.open_namespace(ns);
  const auto* reserved = writer.reserve(handle, keys);
  ASSERT_NE(reserved, nullptr);
  ASSERT_NE(reserved->reservation(), 0U);
  ASSERT_EQ(testing::send(raw, "RPR1"), Flow::kMoved);  // and stops there
  ASSERT_TRUE(Daemon::eventually([&] {
    const auto sessions = daemon.server->sessions();
    return sessions.size() == 1 && sessions[0].state.starts_with("dismissed");
  }));
  EXPECT_EQ(daemon.server->tenants()[0].reserved_bytes, keys.size() * ns.block_bytes());
  ASSERT_EQ(testing::send(raw, std::string(100, 'x')), Flow::kMoved);  // whatever it says now
  EXPECT_EQ(daemon.server->sessions().size(), 1U);
  writer.hang_up();
  EXPECT_TRUE(Daemon::eventually(
      [&] { return daemon.server->sessions().empty() && daemon.server->tenants()[0].reserved_bytes == 0; }));
}

TEST_F(PeersTest, ConnectionsBeyondTheLimitAreToldSo) {
  daemon.options.max_connections = 3;
  daemon.start();
  std::vector<std::unique_ptr<Caller>> callers;
  for (int i = 0; i < 3; ++i) {
    callers.push_back(std::make_unique<Caller>(daemon.connect(false)));
    ASSERT_TRUE(callers.back()->open()) << callers.back()->error.message;
  }
  const Caller fourth(daemon.connect(false));
  EXPECT_FALSE(fourth.open());
  EXPECT_THAT(fourth.error.message, HasSubstr("max-connections"));
  callers.pop_back();
  EXPECT_TRUE(Daemon::eventually([&] { return daemon.server->sessions().size() == 2; }));
  expect_service();
}

TEST_F(PeersTest, IdleNetworkConnectionsAreClosedAndUnixOnesAreNot) {
  daemon.options.idle_timeout = std::chrono::milliseconds(100);
  daemon.start();
  Caller remote(daemon.connect(false));
  Caller local(daemon.connect(true));
  ASSERT_TRUE(remote.open() && local.open());
  ASSERT_TRUE(Daemon::eventually([&] { return daemon.server->sessions().size() == 1; }));
  EXPECT_NE(local.match(local.open_namespace(ns), keys), nullptr) << local.error.message;
}

TEST_F(PeersTest, APutCutOffInTheMiddleGivesItsMemoryBack) {
  daemon.start();
  auto stream = daemon.connect(false);
  Stream& raw = *stream;
  Caller writer(std::move(stream));
  ASSERT_TRUE(writer.open());
  const std::uint32_t handle = writer.open_namespace(ns);
  flatbuffers::FlatBufferBuilder builder;
  const std::vector list{wire::to_wire(builder, handle, {}, keys)};
  const auto chains = builder.CreateVector(list);
  const auto sums = builder.CreateVector(std::vector<std::uint64_t>(keys.size()));
  builder.Finish(wire::CreatePut(builder, chains, 0, keys.size(), sums));
  const Bytes body = wire::body_of(builder);
  const auto header = wire::encode_header(
      {.type = wire::Type::kPut, .request = 99, .payload_bytes = keys.size() * ns.block_bytes()}, body);
  std::string said(reinterpret_cast<const char*>(header.data()), header.size());
  said.append(reinterpret_cast<const char*>(body.data()), body.size());
  ASSERT_EQ(testing::send(raw, said + std::string(1000, 'x')), Flow::kMoved);
  const auto reserved = [&] { return daemon.server->tenants()[0].reserved_bytes; };
  ASSERT_TRUE(Daemon::eventually([&] { return reserved() == keys.size() * ns.block_bytes(); }));
  writer.hang_up();
  EXPECT_TRUE(Daemon::eventually([&] { return daemon.server->sessions().empty() && reserved() == 0; }));
  Caller after(daemon.connect(false));
  ASSERT_TRUE(after.open());
  EXPECT_EQ(after.match(after.open_namespace(ns), keys)->blocks(), 0U);
}

// Whoever has closed only its sending half may still write to what it reserved.
TEST_F(PeersTest, HalfAGoodbyeIsNoReasonToGiveReservedMemoryToOthers) {
  daemon.start();
  auto stream = daemon.connect(true);
  const int socket = stream->fd();
  Caller writer(std::move(stream));
  ASSERT_TRUE(writer.open());
  const auto* reserved = writer.reserve(writer.open_namespace(ns), keys);
  ASSERT_NE(reserved, nullptr);
  ASSERT_EQ(::shutdown(socket, SHUT_WR), 0);
  ASSERT_TRUE(Daemon::eventually([&] {
    const auto sessions = daemon.server->sessions();
    return sessions.size() == 1 && sessions[0].state.starts_with("dismissed");
  }));
  EXPECT_EQ(daemon.server->tenants()[0].reserved_bytes, keys.size() * ns.block_bytes());
  writer.hang_up();
  EXPECT_TRUE(Daemon::eventually([&] { return daemon.server->tenants()[0].reserved_bytes == 0; }));
}

// FlatBuffers lets many entries share one text or one vector of keys: small to send, huge to write out.
TEST_F(PeersTest, BodiesThatAreLargerInsideThanOutsideAreRefused) {
  daemon.start();
  Caller caller(daemon.connect(false));
  ASSERT_TRUE(caller.open());
  const std::uint32_t handle = caller.open_namespace(ns);
  const auto* opened = caller.ask<wire::NamespaceOpened>(wire::Type::kOpenNamespace, [&](auto& builder) {
    const auto text = builder.CreateString(std::string(100'000, 'v'));
    const std::vector pairs(150, wire::CreatePair(builder, text, text));
    const auto extras = builder.CreateVector(pairs);
    wire::OpenNamespaceBuilder message(builder);
    message.add_extras(extras);
    return message.Finish();
  });
  EXPECT_EQ(opened, nullptr);
  EXPECT_THAT(caller.error.message, HasSubstr("longer than the body"));
  const auto many = make_keys(1, 5000);
  const auto* matched = caller.ask<wire::Matched>(wire::Type::kMatch, [&](auto& builder) {
    const std::vector chains(100, wire::to_wire(builder, handle, {}, many));
    return wire::CreateChains(builder, builder.CreateVector(chains));
  });
  EXPECT_EQ(matched, nullptr);
  EXPECT_THAT(caller.error.message, HasSubstr("share their keys"));
  EXPECT_NE(caller.match(handle, keys), nullptr) << caller.error.message;
}

TEST_F(PeersTest, SilentStrangersGiveWayWhenTheHouseIsFull) {
  daemon.options.max_connections = 3;
  daemon.options.handshake_timeout = std::chrono::seconds(8);
  daemon.start();
  std::vector<std::unique_ptr<Stream>> silent;
  for (int i = 0; i < 3; ++i) silent.push_back(daemon.connect(false));
  ASSERT_TRUE(Daemon::eventually([&] { return daemon.server->sessions().size() == 3; }));
  EXPECT_TRUE(Daemon::eventually([&] { return Caller(daemon.connect(true)).open(); }));
}

}  // namespace
}  // namespace reprise::server_test
