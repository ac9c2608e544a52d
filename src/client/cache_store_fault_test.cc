// What a daemon that is away, dies, stops answering or talks nonsense does to the engine in front of it: fewer blocks,
// in time, and never wrong ones.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#include "base/kernels.h"
#include "client/each.h"
#include "client/open_attached.h"
#include "testing/chains.h"
#include "testing/fake_server.h"
#include "testing/server_fixture.h"

namespace reprise {
namespace {

using flatbuffers::FlatBufferBuilder;
using server_test::Daemon;
using testing::Buffers;
using testing::FakePeer;
using testing::FakeServer;
using testing::is_payload;
using testing::make_keys;
using testing::make_namespace;
using testing::payload;
using testing::Payloads;
using wire::Type;

constexpr std::uint64_t kBlock = 4096;

Deadline soon() {
  return Deadline::after(std::chrono::seconds(60));
}
Deadline shortly() {
  return Deadline::after(std::chrono::milliseconds(30));
}

CacheOptions options_for(const std::string& url) {
  CacheOptions options;
  options.l1_capacity = 8 * kBlock;
  options.l1_policy = "lru";
  options.l1_populate = false;
  options.l2_url = url;
  options.l2_timeout = std::chrono::seconds(30);
  options.attach_connections = 2;
  return options;
}

// ---- A daemon that comes and goes. ----

class ComesAndGoes : public ::testing::TestWithParam<std::string> {
 protected:
  ComesAndGoes() {
    if (GetParam() == "unix") return;
    auto listening = listen_tcp({"127.0.0.1", 0});  // a port that is free
    EXPECT_TRUE(listening);
    if (listening) daemon_.options.listen_tcp = "127.0.0.1:" + std::to_string(listening->port);
  }
  [[nodiscard]] std::string url() const {
    return GetParam() == "unix" ? "unix://" + daemon_.options.listen_unix : "tcp://" + daemon_.options.listen_tcp;
  }
  std::unique_ptr<Cache> embedded() {
    auto cache = open("embedded:", options_for(url()));
    EXPECT_TRUE(cache) << cache.error().message;
    return cache ? std::move(*cache) : nullptr;
  }
  void put(Cache& cache, std::span<const BlockKey> keys) {
    const Payloads payloads(ns_, keys);
    const auto stored = cache.put(Chain(ns_, keys), 0, payloads.views, soon());
    ASSERT_TRUE(stored) << stored.error().message;
  }
  /// Blocks found and right.
  std::size_t use(Cache& cache, std::span<const BlockKey> keys) {
    const auto acquired = cache.acquire(Chain(ns_, keys), soon());
    EXPECT_TRUE(acquired) << acquired.error().message;
    if (!acquired) return 0;
    for (std::size_t i = 0; i < acquired->lease.size(); ++i) {
      EXPECT_TRUE(is_payload(ns_, keys[i], acquired->lease.block(i))) << i;
    }
    return acquired->match.blocks;
  }

  Daemon daemon_;
  const Namespace ns_ = make_namespace(kBlock);
};
INSTANTIATE_TEST_SUITE_P(Over, ComesAndGoes, ::testing::Values("unix", "tcp"),
                         [](const auto& param) { return param.param; });

TEST_P(ComesAndGoes, AwayAtOpenIsNoErrorAndItIsFoundWhenItComes) {
  const auto cache = embedded();
  ASSERT_NE(cache, nullptr);
  const auto keys = make_keys(1, 8);
  put(*cache, keys);
  EXPECT_FALSE(cache->flush(soon()).value()) << "nothing was written anywhere";
  EXPECT_EQ(use(*cache, keys), 8u) << "from memory";
  const auto missing = make_keys(2, 4);
  const auto match = cache->match(Chain(ns_, missing), soon());
  EXPECT_EQ(match->blocks, 0u);
  EXPECT_EQ(match->reason, Reason::kUnavailable);
  EXPECT_GT(cache->stats().l2.errors, 0u);
  daemon_.start();
  ASSERT_TRUE(Daemon::eventually([&] { return cache->flush(soon()).value(); }));
  put(*cache, missing);
  EXPECT_TRUE(cache->flush(soon()).value());
  EXPECT_EQ(use(*embedded(), missing), 4u);
}

TEST_P(ComesAndGoes, ARestartCostsWhatTheDaemonHadInMemory) {
  daemon_.start();
  const auto cache = embedded();
  const auto keys = make_keys(3, 16);
  put(*cache, keys);
  EXPECT_TRUE(cache->flush(soon()).value());
  EXPECT_EQ(use(*cache, keys), 16u);
  daemon_.server.reset();
  EXPECT_LT(use(*cache, keys), 16u);
  daemon_.start();
  ASSERT_TRUE(Daemon::eventually([&] { return cache->flush(soon()).value(); }));
  EXPECT_LT(use(*cache, keys), 16u) << "a new daemon knows nothing of before";
  const auto more = make_keys(4, 8);
  put(*cache, more);
  EXPECT_TRUE(cache->flush(soon()).value());
  EXPECT_EQ(use(*embedded(), more), 8u);
}

// ---- A daemon that misbehaves. ----

class Misbehaves : public ::testing::TestWithParam<std::string> {
 protected:
  Misbehaves() : server_(GetParam() == "unix" ? dir_.path() + "/socket" : "") {
    auto store = open_cache_store(server_.url(), options_for(server_.url()));
    EXPECT_TRUE(store) << store.error().message;
    store_ = std::move(*store);
    store_->introduce(ns_);
    for (const BlockKey& key : keys_) ids_.push_back({ns_.id(), key});
  }
  /// Calls again until there is a connection.
  std::vector<Reason> read(Deadline deadline) {
    for (;;) {
      buffers_ = std::make_unique<Buffers>(ns_, keys_.size());
      std::vector<ReadOp> ops;
      for (std::size_t i = 0; i < ids_.size(); ++i) ops.push_back({ids_[i], buffers_->views[i]});
      const int before = server_.count(Type::kGet) + server_.count(Type::kAcquire);
      store_->read(ops, deadline);
      std::vector<Reason> results;
      for (const ReadOp& op : ops) {
        results.push_back(op.result);
        if (op.result != Reason::kNone) continue;
        EXPECT_TRUE(is_payload(ns_, op.id.key, op.into));
        EXPECT_EQ(op.checksum, checksum(op.into));
      }
      if (server_.count(Type::kGet) + server_.count(Type::kAcquire) > before) return results;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  std::vector<Reason> write() {
    const Payloads payloads(ns_, keys_);
    std::vector<WriteOp> ops;
    for (std::size_t i = 0; i < ids_.size(); ++i) {
      ops.push_back({ids_[i], payloads.views[i], checksum(payloads.views[i])});
    }
    store_->write(ops, soon());
    std::vector<Reason> results;
    for (const WriteOp& op : ops) results.push_back(op.result);
    return results;
  }
  /// Blocks `which` as the payload of a reply to get, of which so many bytes are sent.
  void send_blocks(FakePeer& peer, const std::vector<std::size_t>& which, std::size_t bytes) {
    FlatBufferBuilder builder;
    std::uint8_t bits = 0;
    std::string content;
    std::vector<std::uint64_t> sums;
    for (const std::size_t i : which) {
      bits |= static_cast<std::uint8_t>(1U << i);
      const auto block = payload(ns_, keys_[i]);
      content.append(reinterpret_cast<const char*>(block.data()), block.size());
      sums.push_back(checksum(block));
    }
    const auto found = builder.CreateVector(&bits, 1);
    const auto matched = wire::CreateMatched(builder, which.size(), which.size(), 0, 1, found);
    builder.Finish(wire::CreateGot(builder, matched, builder.CreateVector(sums)));
    wire::FrameHeader header;
    header.type = Type::kGot;
    header.request = peer.header().request;
    header.payload_bytes = content.size();
    content.resize(std::min(content.size(), bytes));
    peer.send_bytes(wire::encode_header(header, wire::body_of(builder)), wire::body_of(builder), content);
  }

  testing::TempDir dir_;
  FakeServer server_;
  const Namespace ns_ = make_namespace(kBlock);
  const std::vector<BlockKey> keys_ = make_keys(1, 4);
  std::vector<BlockId> ids_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<Buffers> buffers_;
};
INSTANTIATE_TEST_SUITE_P(Over, Misbehaves, ::testing::Values("unix", "tcp"),
                         [](const auto& param) { return param.param; });

using enum Reason;
using ::testing::Each;
using ::testing::ElementsAre;

TEST_P(Misbehaves, SilenceEndsAtTheDeadline) {
  for (const Type type : {Type::kGet, Type::kAcquire, Type::kMatch}) server_.on(type, [](FakePeer&) {});
  EXPECT_THAT(read(shortly()), Each(kTimeout));
  for (std::size_t i = 0; i < keys_.size(); ++i) EXPECT_TRUE(buffers_->untouched(i));
  const auto present = std::make_unique<bool[]>(4);
  EXPECT_FALSE(store_->contains(ids_, {present.get(), 4}, shortly()));
  EXPECT_GE(store_->stats().errors, 2u);
}

TEST_P(Misbehaves, AnAnswerThatCannotBeIsNone) {
  const auto too_many = [](FlatBufferBuilder& b) { return wire::CreateMatched(b, 5, 5); };
  const auto other_bits = [](FlatBufferBuilder& b) {
    const std::uint8_t bits = 0x0F;
    return wire::CreateMatched(b, 2, 2, 0, 0, b.CreateVector(&bits, 1));
  };
  const auto no_bits = [](FlatBufferBuilder& b) {
    return wire::CreateMatched(b, 2, 2, 0, 0, b.CreateVector(std::vector<std::uint8_t>()));
  };
  const std::vector<std::function<flatbuffers::Offset<wire::Matched>(FlatBufferBuilder&)>> answers = {
      too_many, other_bits, no_bits};
  for (const auto& make : answers) {
    server_.on(Type::kGet, [&](FakePeer& peer) {
      peer.answer(Type::kGot, [&](FlatBufferBuilder& b) { return wire::CreateGot(b, make(b)); });
    });
    server_.on(Type::kAcquire, [&](FakePeer& peer) {
      peer.answer(Type::kLeased, [&](FlatBufferBuilder& b) { return wire::CreateLeased(b, make(b), 1); });
    });
    EXPECT_THAT(read(soon()), Each(kUnavailable));
  }
}

TEST_P(Misbehaves, AServerThatKnowsOnlyRunsIsAskedForRuns) {
  server_.on(Type::kMatch, [](FakePeer& peer) { peer.matched(peer.header().request, 3); });
  const auto present = std::make_unique<bool[]>(4);
  ASSERT_TRUE(store_->contains(ids_, {present.get(), 4}, soon()));
  EXPECT_THAT(std::vector<bool>(present.get(), present.get() + 4), ElementsAre(true, true, true, false));
}

TEST_P(Misbehaves, ABusyServerIsNotAnEmptyOne) {
  server_.on(Type::kMatch, [](FakePeer& peer) {
    peer.answer(Type::kMatched,
                [](FlatBufferBuilder& b) { return wire::CreateMatched(b, 0, 0, 0, static_cast<std::uint8_t>(kBusy)); });
  });
  const auto present = std::make_unique<bool[]>(4);
  EXPECT_FALSE(store_->contains(ids_, {present.get(), 4}, soon()));
}

TEST_P(Misbehaves, WhatTheServerSaysIsWrongIsNoAnswerAndTheConnectionStays) {
  const auto refuse = [](FakePeer& peer) { peer.failed(ErrorCode::kInvalid, "no such thing", false); };
  for (const Type type : {Type::kGet, Type::kAcquire, Type::kMatch, Type::kReserve}) server_.on(type, refuse);
  EXPECT_THAT(read(soon()), Each(kUnavailable));
  EXPECT_THAT(write(), Each(kUnavailable));
  EXPECT_EQ(server_.connections(), 1);
}

TEST_P(Misbehaves, BlocksOfANamespaceNobodyIntroducedAreNotThere) {
  const Namespace other = make_namespace(kBlock, "other");
  const auto bytes = payload(other, keys_[0]);
  WriteOp write{{other.id(), keys_[0]}, bytes, checksum(bytes)};
  store_->write(std::span(&write, 1), soon());
  EXPECT_EQ(write.result, kUnsupported);
  Buffers buffers(other, 1);
  ReadOp read{{other.id(), keys_[0]}, buffers.views[0]};
  store_->read(std::span(&read, 1), soon());
  EXPECT_EQ(read.result, kMiss);
  EXPECT_EQ(server_.count(Type::kOpenNamespace), 0);
}

// ---- In shared memory. ----

class MisbehavesInMemory : public Misbehaves {
 protected:
  static constexpr std::uint64_t kGeneration = 5;
  /// Answers acquire with blocks 1 and 2, under a lease of kGeneration whose word says `word`.
  void lease_blocks(std::uint64_t word) {
    for (std::size_t k = 0; k < 2; ++k) {
      const auto block = payload(ns_, keys_[k + 1]);
      std::memcpy(server_.memory() + k * kBlock, block.data(), block.size());
    }
    server_.word(3).store(word);
    server_.on(Type::kAcquire, [](FakePeer& peer) {
      peer.answer(Type::kLeased, [](FlatBufferBuilder& b) {
        const std::uint8_t bits = 0b0110;
        const auto matched = wire::CreateMatched(b, 2, 2, 0, 1, b.CreateVector(&bits, 1));
        const std::vector<wire::Piece> pieces{{0, kBlock}, {kBlock, kBlock}};
        const auto blocks = b.CreateVectorOfStructs(pieces);
        const wire::Id token{1, 2};
        return wire::CreateLeased(b, matched, 1, 3, kGeneration, &token, 1000, blocks);
      });
    });
  }
};
INSTANTIATE_TEST_SUITE_P(Over, MisbehavesInMemory, ::testing::Values("unix"));

TEST_P(MisbehavesInMemory, WhatWasOverwrittenMeanwhileIsNotUsed) {
  lease_blocks(kGeneration + 2);
  EXPECT_THAT(read(soon()), Each(kExpired));
  lease_blocks(kGeneration);
  EXPECT_THAT(read(soon()), ElementsAre(kMiss, kNone, kNone, kMiss));
}

// ---- Over the network. ----

class MisbehavesOverTcp : public Misbehaves {};
INSTANTIATE_TEST_SUITE_P(Over, MisbehavesOverTcp, ::testing::Values("tcp"));

TEST_P(MisbehavesOverTcp, WhatCameWholeBeforeTheEndCounts) {
  server_.on(Type::kGet, [&](FakePeer& peer) {
    send_blocks(peer, {0, 2, 3}, kBlock + kBlock / 2);
    peer.close();
  });
  EXPECT_THAT(read(soon()), ElementsAre(kNone, kUnavailable, kUnavailable, kUnavailable));
  EXPECT_TRUE(buffers_->untouched(1));
  EXPECT_TRUE(buffers_->untouched(3));
}

TEST_P(MisbehavesOverTcp, WhatCameWholeInTimeCounts) {
  server_.on(Type::kGet, [&](FakePeer& peer) { send_blocks(peer, {1, 2}, kBlock + 1); });
  const auto results = read(Deadline::after(std::chrono::seconds(1)));
  EXPECT_THAT(results, ElementsAre(kTimeout, kNone, kTimeout, kTimeout));
}

TEST_P(MisbehavesOverTcp, ADamagedBlockIsCorruptAndTheOthersAreNot) {
  server_.on(Type::kGet, [&](FakePeer& peer) {
    peer.answer(
        Type::kGot,
        [&](FlatBufferBuilder& b) {
          const std::uint8_t bits = 0b1010;
          const auto found = b.CreateVector(&bits, 1);
          const auto matched = wire::CreateMatched(b, 2, 2, 0, 1, found);
          const std::vector<std::uint64_t> sums{checksum(payload(ns_, keys_[1])) + 1, checksum(payload(ns_, keys_[3]))};
          return wire::CreateGot(b, matched, b.CreateVector(sums));
        },
        [&] {
          std::string content;
          for (const std::size_t i : {1u, 3u}) {
            const auto block = payload(ns_, keys_[i]);
            content.append(reinterpret_cast<const char*>(block.data()), block.size());
          }
          return content;
        }());
  });
  EXPECT_THAT(read(soon()), ElementsAre(kMiss, kCorrupt, kMiss, kNone));
  EXPECT_EQ(store_->stats().corrupt, 1u);
}

TEST_P(MisbehavesOverTcp, WhatIsThereIsNotSent) {
  const std::uint8_t all = 0x0F;
  server_.on(Type::kMatch, [&](FakePeer& peer) {
    peer.answer(Type::kMatched,
                [&](FlatBufferBuilder& b) { return wire::CreateMatched(b, 4, 4, 0, 0, b.CreateVector(&all, 1)); });
  });
  EXPECT_THAT(write(), Each(kNone));
  EXPECT_EQ(server_.count(Type::kPut), 0);
  EXPECT_EQ(store_->stats().writes, 0u);
}

}  // namespace
}  // namespace reprise
