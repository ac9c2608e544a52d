// What a broken or malicious server can do to a client: cost it an answer, and nothing else.

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/kernels.h"
#include "reprise/cache.h"
#include "testing/chains.h"
#include "testing/fake_server.h"
#include "testing/temp_dir.h"

namespace reprise {
namespace {

using flatbuffers::FlatBufferBuilder;
using testing::Buffers;
using testing::FakePeer;
using testing::FakeServer;
using testing::is_payload;
using testing::make_keys;
using testing::make_namespace;
using testing::Payloads;
using wire::Type;

Deadline soon() {
  return Deadline::after(std::chrono::seconds(30));
}
Deadline shortly() {
  return Deadline::after(std::chrono::milliseconds(30));
}

constexpr std::size_t kBlock = 4096;

class MaliceTest : public ::testing::Test {
 protected:
  explicit MaliceTest(bool is_unix) : server_(is_unix ? dir_.path() + "/socket" : "") {
    CacheOptions options;
    options.l1_populate = false;
    options.attach_connections = 1;
    auto cache = open(server_.url(), options);
    EXPECT_TRUE(cache.has_value()) << cache.error().message;
    cache_ = std::move(*cache);
  }
  [[nodiscard]] Chain chain() const { return {ns_, keys_}; }
  /// Calls again until there is a connection again.
  template <typename Call>
  auto reconnected(const Call& call) {
    for (;;) {
      auto answer = call();
      if (answer->reason != Reason::kUnavailable) return answer;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  void wait_for_connection() {
    (void)reconnected([&] { return cache_->match(chain(), soon()); });
  }

  testing::TempDir dir_;
  FakeServer server_;
  std::unique_ptr<Cache> cache_;
  const Namespace ns_ = make_namespace(kBlock);
  const std::vector<BlockKey> keys_ = make_keys(1, 4);
};

// ---- Any transport. ----

class AnyServerTest : public MaliceTest {
 protected:
  AnyServerTest() : MaliceTest(false) {}
};

TEST_F(AnyServerTest, RunsThatCannotBe) {
  using Make = std::function<flatbuffers::Offset<wire::Matched>(FlatBufferBuilder&)>;
  const std::vector<Make> answers = {
      [](FlatBufferBuilder& b) { return wire::CreateMatched(b, 5, 5); },
      [](FlatBufferBuilder& b) { return wire::CreateMatched(b, ~0ULL, 1); },
      [](FlatBufferBuilder& b) { return wire::CreateMatched(b, 2, 3); },
      [](FlatBufferBuilder& b) { return wire::CreateMatched(b, 2, 2, ~0ULL); },
  };
  for (const Make& make : answers) {
    server_.on(Type::kMatch, [&](FakePeer& peer) { peer.answer(Type::kMatched, make); });
    const auto match = cache_->match(chain(), soon());
    ASSERT_TRUE(match.has_value());
    EXPECT_EQ(match->blocks, 0u);
    EXPECT_EQ(match->reason, Reason::kUnavailable);
    server_.forget(Type::kMatch);
    wait_for_connection();
  }
}

TEST_F(AnyServerTest, SilenceEndsAtTheDeadlineAndTheNextCallHasAnotherConnection) {
  server_.on(Type::kMatch, [](FakePeer&) {});
  EXPECT_EQ(cache_->match(chain(), shortly())->reason, Reason::kTimeout);
  server_.forget(Type::kMatch);
  EXPECT_EQ(reconnected([&] { return cache_->match(chain(), soon()); })->reason, Reason::kNone);
  EXPECT_EQ(server_.connections(), 2);
}

TEST_F(AnyServerTest, HalfAnAnswerIsNone) {
  server_.on(Type::kMatch, [](FakePeer& peer) {
    FlatBufferBuilder builder;
    builder.Finish(wire::CreateMatched(builder, 1, 1));
    wire::FrameHeader header;
    header.type = Type::kMatched;
    header.request = peer.header().request;
    peer.send_bytes(wire::encode_header(header, wire::body_of(builder)), wire::body_of(builder).first(8));
  });
  EXPECT_EQ(cache_->match(chain(), shortly())->reason, Reason::kTimeout);
  server_.on(Type::kMatch, [](FakePeer& peer) {
    peer.send_bytes(testing::bytes_of("half a header"));
    peer.close();
  });
  EXPECT_EQ(reconnected([&] { return cache_->prefetch(chain(), soon()); })->blocks, 0u);
  EXPECT_EQ(cache_->match(chain(), soon())->reason, Reason::kUnavailable);
}

TEST_F(AnyServerTest, AnotherRequestsAnswerIsNone) {
  server_.on(Type::kMatch, [](FakePeer& peer) { peer.matched(peer.header().request + 1, 4); });
  EXPECT_EQ(cache_->match(chain(), soon())->blocks, 0u);
}

TEST_F(AnyServerTest, TheServersWordIsAnErrorAndTheConnectionStays) {
  server_.on(Type::kMatch, [](FakePeer& peer) { peer.failed(ErrorCode::kInvalid, "a rule nobody knows", false); });
  const auto match = cache_->match(chain(), soon());
  ASSERT_FALSE(match.has_value());
  EXPECT_EQ(match.error().message, "a rule nobody knows");
  EXPECT_EQ(cache_->prefetch(chain(), soon())->reason, Reason::kNone);
  EXPECT_EQ(server_.connections(), 1);
}

TEST_F(AnyServerTest, AGoodbyeBetweenCallsIsNoticed) {
  server_.on(Type::kMatch, [](FakePeer& peer) {
    peer.matched(peer.header().request, 4);
    peer.goodbye(ErrorCode::kIo, "draining");
    peer.close();
  });
  EXPECT_EQ(cache_->match(chain(), soon())->blocks, 4u);
  server_.forget(Type::kMatch);
  EXPECT_EQ(reconnected([&] { return cache_->match(chain(), soon()); })->reason, Reason::kNone);
  EXPECT_EQ(server_.connections(), 2);
}

TEST_F(AnyServerTest, NamespacesAreOpenedOnceForEachConnection) {
  for (int i = 0; i < 3; ++i) (void)cache_->match(chain(), soon());
  EXPECT_EQ(server_.count(Type::kOpenNamespace), 1);
  server_.hang_up();
  wait_for_connection();
  EXPECT_EQ(server_.count(Type::kOpenNamespace), 2);
}

// Every connection dies young: the client does not hammer the server, and goes on being answered.
TEST_F(AnyServerTest, AServerThatHangsUpOnEverybody) {
  server_.on(Type::kOpenNamespace, [](FakePeer& peer) { peer.close(); });
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(100);
  while (std::chrono::steady_clock::now() < until) ASSERT_EQ(cache_->match(chain(), soon())->blocks, 0u);
  EXPECT_LT(server_.connections(), 20) << "one in 10 ms at most";
}

// ---- Shared memory. ----

class SharedMaliceTest : public MaliceTest {
 protected:
  SharedMaliceTest() : MaliceTest(true) { server_.word(3) = 7; }

  struct Leased {
    std::uint64_t blocks = 4;
    std::uint64_t lease = 9;
    std::uint32_t word = 3;
    std::uint64_t generation = 7;
    bool token = true;
    std::vector<wire::Piece> pieces = {{0, kBlock}, {kBlock, kBlock}, {2 * kBlock, kBlock}, {3 * kBlock, kBlock}};
  };
  void lease(const Leased& what) {
    server_.on(Type::kAcquire, [what](FakePeer& peer) {
      peer.answer(Type::kLeased, [&](FlatBufferBuilder& b) {
        const auto matched = wire::CreateMatched(b, what.blocks, what.blocks);
        const auto pieces = b.CreateVectorOfStructs(what.pieces);
        const wire::Id token(1, 2);
        return wire::CreateLeased(b, matched, what.lease, what.word, what.generation, what.token ? &token : nullptr,
                                  60'000, pieces);
      });
    });
  }
  struct Reserved {
    std::uint64_t reservation = 5;
    std::vector<wire::Piece> places = {{0, kBlock}, {kBlock, kBlock}, {2 * kBlock, kBlock}, {3 * kBlock, kBlock}};
    std::vector<std::uint8_t> reasons = {0, 0, 0, 0};
  };
  void reserve(const Reserved& what) {
    server_.on(Type::kReserve, [what](FakePeer& peer) {
      peer.answer(Type::kReserved, [&](FlatBufferBuilder& b) {
        const auto places = b.CreateVectorOfStructs(what.places);
        const auto reasons = b.CreateVector(what.reasons);
        return wire::CreateReserved(b, what.reservation, places, reasons);
      });
    });
  }
  void commit(std::uint64_t present) {
    server_.on(Type::kCommit, [present](FakePeer& peer) {
      peer.answer(Type::kCommitted, [&](FlatBufferBuilder& b) { return wire::CreateCommitted(b, present); });
    });
  }
  void store_payloads() {
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      std::memcpy(server_.memory() + i * kBlock, testing::payload(ns_, keys_[i]).data(), kBlock);
    }
  }
};

TEST_F(SharedMaliceTest, AnHonestServerIsBelieved) {
  store_payloads();
  lease({});
  auto acquired = cache_->acquire(chain(), soon());
  ASSERT_TRUE(acquired.has_value()) << acquired.error().message;
  EXPECT_EQ(acquired->match.blocks, 4u);
  ASSERT_EQ(acquired->lease.size(), 4u);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_TRUE(is_payload(ns_, keys_[i], acquired->lease.block(i)));
  EXPECT_EQ(acquired->lease.token().value(), LeaseToken::from_words(1, 2));
  EXPECT_TRUE(acquired->lease.still_valid());
  server_.word(3) = 8;
  EXPECT_FALSE(acquired->lease.still_valid());
  EXPECT_FALSE(acquired->lease.renew(std::chrono::seconds(1)));
  acquired->lease.release();
  reserve({});
  commit(4);
  const Payloads payloads(ns_, keys_);
  EXPECT_EQ(cache_->put(chain(), 0, payloads.views, soon())->accepted, 4u);
  EXPECT_EQ(std::memcmp(server_.memory() + kBlock, payloads.views[1].data(), kBlock), 0);
  EXPECT_EQ(server_.connections(), 1);
  EXPECT_EQ(server_.count(Type::kRelease), 1);
}

TEST_F(SharedMaliceTest, LeasesThatCannotBe) {
  const auto pieces = Leased().pieces;
  const auto with = [&](std::size_t i, std::uint64_t offset, std::uint64_t bytes) {
    auto changed = pieces;
    changed[i] = {offset, bytes};
    return Leased{.pieces = changed};
  };
  const std::vector<Leased> answers = {
      with(3, FakeServer::kArena, kBlock),
      with(3, FakeServer::kArena - kBlock + 1, kBlock),
      with(0, ~0ULL - kBlock + 1, kBlock),
      with(0, ~0ULL, kBlock),
      with(1, 0, ~0ULL),
      with(1, 0, kBlock - 1),
      with(1, 0, 0),
      {.blocks = 5},
      {.blocks = ~0ULL},
      {.blocks = 3},
      {.pieces = {}},
      {.pieces = {{0, kBlock}}},
      {.lease = 0},
      {.word = FakeServer::kWords},
      {.word = ~0U},
      {.generation = 8},
      {.token = false},
  };
  for (std::size_t i = 0; i < answers.size(); ++i) {
    lease(answers[i]);
    const auto acquired = cache_->acquire(chain(), soon());
    ASSERT_TRUE(acquired.has_value());
    EXPECT_EQ(acquired->match.blocks, 0u) << i;
    EXPECT_EQ(acquired->match.reason, Reason::kUnavailable) << i;
    EXPECT_TRUE(acquired->lease.empty()) << i;
    wait_for_connection();
  }
}

TEST_F(SharedMaliceTest, BytesUnderAVoidLeaseAreNoAnswer) {
  lease({.generation = 5});
  Buffers out(ns_, 4);
  const auto match = cache_->get(chain(), 0, out.views, soon());
  ASSERT_TRUE(match.has_value());
  EXPECT_EQ(match->blocks, 0u);
  EXPECT_EQ(match->reason, Reason::kExpired);
}

TEST_F(SharedMaliceTest, ReservationsThatCannotBe) {
  const auto with = [&](std::uint64_t offset, std::uint64_t bytes) {
    Reserved changed;
    changed.places[2] = {offset, bytes};
    return changed;
  };
  Reserved none{.reservation = 0};
  Reserved few;
  few.places.pop_back();
  Reserved unexplained;
  unexplained.reasons.pop_back();
  const std::vector<Reserved> answers = {with(FakeServer::kArena, kBlock),
                                         with(~0ULL, kBlock),
                                         with(0, kBlock + 1),
                                         with(0, ~0ULL),
                                         none,
                                         few,
                                         unexplained};
  const Payloads payloads(ns_, keys_);
  for (std::size_t i = 0; i < answers.size(); ++i) {
    reserve(answers[i]);
    const auto stored = cache_->put(chain(), 0, payloads.views, soon());
    ASSERT_TRUE(stored.has_value());
    EXPECT_EQ(stored->declined, 4u) << i;
    EXPECT_EQ(stored->reason, Reason::kUnavailable) << i;
    wait_for_connection();
    const auto reserved = cache_->reserve(chain(), 0, soon());
    EXPECT_EQ(reserved->size(), 4u);
    wait_for_connection();
  }
}

TEST_F(SharedMaliceTest, CommitsThatCannotBe) {
  const Payloads payloads(ns_, keys_);
  reserve({});
  commit(5);
  auto stored = cache_->put(chain(), 0, payloads.views, soon());
  EXPECT_EQ(stored->accepted, 0u);
  EXPECT_EQ(stored->declined, 4u);
  wait_for_connection();
  server_.on(Type::kCommit, [](FakePeer& peer) { peer.failed(ErrorCode::kInvalid, "no such reservation", false); });
  stored = cache_->put(chain(), 0, payloads.views, soon());
  EXPECT_EQ(stored->declined, 4u);
  server_.on(Type::kCommit, [](FakePeer&) {});
  stored = cache_->put(chain(), 0, payloads.views, shortly());
  EXPECT_EQ(stored->declined, 4u);
  EXPECT_EQ(stored->reason, Reason::kTimeout);
}

// A server takes the closed socket for the promise that nobody writes any more.
TEST_F(SharedMaliceTest, ASocketStaysOpenAsLongAsReservedMemoryMayBeWritten) {
  reserve({});
  std::atomic<bool> gone = false;
  std::atomic<bool> stuck = false;
  server_.on(Type::kMatch, [&](FakePeer& peer) {
    stuck = true;
    while (peer.read()) {
    }
    gone = true;
  });
  auto reserved = cache_->reserve(chain(), 0, soon());
  ASSERT_EQ(reserved->block(0).size(), kBlock);
  EXPECT_EQ(cache_->match(chain(), shortly())->reason, Reason::kTimeout);
  EXPECT_TRUE(stuck);
  server_.forget(Type::kMatch);
  wait_for_connection();
  cache_.reset();
  EXPECT_FALSE(gone) << "the link is of no use any more, but somebody holds memory";
  std::memset(reserved->block(0).data(), 1, kBlock);
  *reserved = Reservation();
  while (!gone) std::this_thread::yield();
}

TEST_F(SharedMaliceTest, MemoryThatIsNotWhatTheWelcomeSaysIsNotMapped) {
  const auto refused = [&](FakePeer::Welcome what, int arena_seals, std::uint64_t arena_bytes, int files) {
    const FileDescriptor arena = FakeServer::make_memory(arena_bytes, arena_seals, nullptr);
    const FileDescriptor words = FakeServer::make_memory(512, F_SEAL_SHRINK | F_SEAL_GROW, nullptr);
    server_.on_hello([&](FakePeer& peer) {
      peer.hello(false);
      const int both[] = {arena.get(), words.get()};
      EXPECT_TRUE(peer.stream().attach_descriptors(std::span(both).first(static_cast<std::size_t>(files))));
      peer.welcome(what);
    });
    CacheOptions options;
    options.l1_populate = false;
    auto cache = open(server_.url(), options);
    if (!cache) return true;
    const bool away = (*cache)->match(chain(), soon())->reason == Reason::kUnavailable;
    cache->reset();
    server_.forget(Type::kHello);
    return away;
  };
  constexpr int kSealed = F_SEAL_SHRINK | F_SEAL_GROW;
  const FakePeer::Welcome right{.arena_bytes = 8192, .words = 64, .proof = {}};
  EXPECT_FALSE(refused(right, kSealed, 8192, 2)) << "nothing is wrong with this one";
  EXPECT_TRUE(refused(right, kSealed, 8192, 1));
  EXPECT_TRUE(refused(right, kSealed, 8192, 0));
  EXPECT_TRUE(refused(right, kSealed, 4096, 2));
  EXPECT_TRUE(refused(right, F_SEAL_GROW, 8192, 2)) << "it could shrink under the reader";
  EXPECT_TRUE(refused({.arena_bytes = 0, .proof = {}}, kSealed, 8192, 2));
  EXPECT_TRUE(refused({.arena_bytes = ~0ULL, .proof = {}}, kSealed, 8192, 2));
  EXPECT_TRUE(refused({.arena_bytes = 8192, .words = 65, .proof = {}}, kSealed, 8192, 2));
  EXPECT_TRUE(refused({.arena_bytes = 8192, .words = 0, .proof = {}}, kSealed, 8192, 2));
}

// ---- The network. ----

class RemoteMaliceTest : public MaliceTest {
 protected:
  RemoteMaliceTest() : MaliceTest(false) {}

  /// The payload of all four blocks, as one text.
  [[nodiscard]] std::string all_blocks() const {
    std::string text;
    for (const BlockKey& key : keys_) {
      const auto bytes = testing::payload(ns_, key);
      text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    }
    return text;
  }
  [[nodiscard]] std::vector<std::uint64_t> sums() const {
    std::vector<std::uint64_t> sums;
    for (const BlockKey& key : keys_) sums.push_back(checksum(testing::payload(ns_, key)));
    return sums;
  }
  void got(std::uint64_t blocks, const std::vector<std::uint64_t>& sums, const std::string& payload) {
    server_.on(Type::kGet, [=](FakePeer& peer) {
      peer.answer(
          Type::kGot,
          [&](FlatBufferBuilder& b) {
            const auto matched = wire::CreateMatched(b, blocks, blocks);
            const auto list = b.CreateVector(sums);
            return wire::CreateGot(b, matched, list);
          },
          payload);
    });
  }
  Result<Match> get(Buffers& out, Deadline deadline) { return cache_->get(chain(), 0, out.views, deadline); }
};

TEST_F(RemoteMaliceTest, AnHonestServerIsBelieved) {
  got(4, sums(), all_blocks());
  Buffers out(ns_, 4);
  EXPECT_EQ(get(out, soon())->blocks, 4u);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_TRUE(is_payload(ns_, keys_[i], out.bytes[i]));
  const auto acquired = cache_->acquire(chain(), soon());
  ASSERT_EQ(acquired->lease.size(), 4u);
  EXPECT_TRUE(is_payload(ns_, keys_[3], acquired->lease.block(3)));
}

TEST_F(RemoteMaliceTest, ABlockThatFailsItsChecksumEndsTheRun) {
  for (const std::size_t bad : {0, 2, 3}) {
    std::string payload = all_blocks();
    payload[bad * kBlock + 17] ^= 1;
    got(4, sums(), payload);
    Buffers out(ns_, 4);
    const auto match = get(out, soon());
    EXPECT_EQ(match->blocks, bad);
    EXPECT_EQ(match->from_l1, bad);
    EXPECT_EQ(match->reason, Reason::kCorrupt);
    const auto acquired = cache_->acquire(chain(), soon());
    EXPECT_EQ(acquired->match.blocks, bad);
    EXPECT_EQ(acquired->lease.size(), bad);
    for (std::size_t i = 0; i < acquired->lease.size(); ++i) {
      EXPECT_TRUE(is_payload(ns_, keys_[i], acquired->lease.block(i)));
    }
  }
  EXPECT_EQ(server_.connections(), 1) << "the stream is in step";
  // A shorter run under another rule would need blocks that were not sent.
  const Chain window(ns_, keys_, MatchRule::last(4));
  Buffers out(ns_, 4);
  EXPECT_EQ(cache_->get(window, 0, out.views, soon())->blocks, 0u);
}

TEST_F(RemoteMaliceTest, PayloadsThatCannotBe) {
  auto more = sums();
  more.push_back(1);
  const auto fewer = std::vector(more.begin(), more.begin() + 3);
  const std::vector<std::function<void()>> answers = {
      [&] { got(4, more, all_blocks()); },
      [&] { got(4, fewer, all_blocks()); },
      [&] { got(4, {}, all_blocks()); },
      [&] { got(4, sums(), all_blocks() + "!"); },
      [&] { got(4, sums(), all_blocks().substr(1)); },
      [&] { got(4, sums(), ""); },
      [&] { got(5, more, all_blocks()); },
      [&] { got(3, sums(), all_blocks()); },
      [&] { got(0, {}, all_blocks()); },
      [&] { got(~0ULL, {}, ""); },
      [&] {
        server_.on(Type::kGet, [](FakePeer& peer) {
          peer.answer(Type::kGot, [](FlatBufferBuilder& b) { return wire::CreateGot(b); });
        });
      },
  };
  for (std::size_t i = 0; i < answers.size(); ++i) {
    answers[i]();
    Buffers out(ns_, 4);
    const auto match = get(out, soon());
    ASSERT_TRUE(match.has_value());
    EXPECT_EQ(match->blocks, 0u) << i;
    EXPECT_EQ(match->reason, Reason::kUnavailable) << i;
    EXPECT_TRUE(out.untouched(0)) << i;
    wait_for_connection();
  }
}

// Memory of the caller is not written any more once the call is back.
TEST_F(RemoteMaliceTest, WhatComesLateGoesNowhere) {
  std::atomic<bool> answered = false;
  std::atomic<bool> sent = false;
  server_.on(Type::kGet, [&](FakePeer& peer) {
    FlatBufferBuilder b;
    const auto matched = wire::CreateMatched(b, 4, 4);
    b.Finish(wire::CreateGot(b, matched, b.CreateVector(sums())));
    wire::FrameHeader header;
    header.type = Type::kGot;
    header.request = peer.header().request;
    header.payload_bytes = 4 * kBlock;
    const std::string payload = all_blocks();
    peer.send_bytes(wire::encode_header(header, wire::body_of(b)), wire::body_of(b), payload.substr(0, 2 * kBlock + 9));
    while (!answered) std::this_thread::yield();
    peer.send_bytes(testing::bytes_of(payload.substr(2 * kBlock + 9)));
    sent = true;
  });
  Buffers out(ns_, 4);
  const auto match = get(out, shortly());
  EXPECT_EQ(match->reason, Reason::kTimeout);
  EXPECT_EQ(match->blocks, 2u) << "what was ready by then is in the answer";
  for (std::size_t i = 0; i < 2; ++i) EXPECT_TRUE(is_payload(ns_, keys_[i], out.bytes[i]));
  answered = true;
  while (!sent) std::this_thread::yield();
  server_.forget(Type::kGet);
  wait_for_connection();
  EXPECT_TRUE(out.untouched(3));
}

TEST_F(RemoteMaliceTest, CountsOfAPutThatDoNotAddUp) {
  struct Case {
    std::uint64_t accepted, present, declined;
    std::vector<std::uint8_t> bits;
  };
  const std::vector<Case> cases = {{5, 0, 0, {}},       {4, 1, 0, {}},         {0, 0, 0, {}},
                                   {3, 0, 1, {}},       {3, 0, 1, {0b11}},     {3, 0, 1, {0b10000}},
                                   {~0ULL, 5, 0, {}},   {~0ULL, ~0ULL, 6, {}}, {2, 0, 2, {0b100}},
                                   {0, 0, 4, {0b1110}}, {0, 0, ~0ULL, {0xF}},  {1, 1, 1, {1}}};
  const Payloads payloads(ns_, keys_);
  for (std::size_t i = 0; i < cases.size(); ++i) {
    server_.on(Type::kPut, [&, i](FakePeer& peer) {
      std::string into(peer.header().payload_bytes, '\0');
      class Sink final : public PayloadSink {
       public:
        explicit Sink(std::string& text) : text_(text) {}
        MutableBytes next() override { return testing::room_of(text_).subspan(have_); }
        void arrived(std::size_t count) override { have_ += count; }

       private:
        std::string& text_;
        std::size_t have_ = 0;
      } sink(into);
      ASSERT_TRUE(peer.read_payload(sink));
      EXPECT_EQ(into, all_blocks());
      peer.answer(Type::kStored, [&](FlatBufferBuilder& b) {
        const Case& c = cases[i];
        return wire::CreateStored(b, c.accepted, c.present, c.declined, 3, b.CreateVector(c.bits));
      });
    });
    const auto stored = cache_->put(chain(), 0, payloads.views, soon());
    ASSERT_TRUE(stored.has_value());
    EXPECT_EQ(stored->accepted, 0u) << i;
    EXPECT_EQ(stored->declined, 4u) << i;
    EXPECT_EQ(stored->reason, Reason::kUnavailable) << i;
    wait_for_connection();
  }
}

}  // namespace
}  // namespace reprise
