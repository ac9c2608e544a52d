// For tests of the server: one in a directory of its own, and a caller that speaks the protocol word by word, as
// src/client does with more care.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/kernels.h"
#include "l1/lease_words.h"
#include "rpc/link.h"
#include "server/server.h"
#include "testing/chains.h"
#include "testing/temp_dir.h"
#include "transport/socket_stream.h"

namespace reprise::server_test {

using testing::is_payload;
using testing::make_keys;
using testing::make_namespace;
using testing::payload;

inline constexpr std::uint64_t kKiB = 1024;
inline constexpr std::uint64_t kMiB = 1024 * kKiB;

inline Patience soon() {
  return {Deadline::after(std::chrono::seconds(60)), Duration(0)};
}

/// A server on both sockets, with 16 MiB for the default tenant. Change the options, then start.
struct Daemon {
  testing::TempDir dir;
  CacheOptions cache;
  ServerOptions options;
  std::unique_ptr<Server> server;

  Daemon() {
    cache.l1_capacity = 16 * kMiB;
    cache.l1_policy = "lru";
    cache.l1_populate = false;
    options.listen_unix = dir.path() + "/reprise.sock";
    options.listen_tcp = "127.0.0.1:0";
    options.threads = 4;
  }
  Result<void> try_start() {
    auto started = Server::start(cache, options, PolicyRegistry::with_builtins(), StoreRegistry::with_builtins());
    if (!started) return std::unexpected(started.error());
    server = std::move(*started);
    return {};
  }
  void start() {
    const auto ok = try_start();
    ASSERT_TRUE(ok) << ok.error().message;
  }
  [[nodiscard]] std::unique_ptr<Stream> connect(bool is_unix) const {
    auto socket = is_unix ? connect_unix(options.listen_unix, soon().deadline)
                          : connect_tcp({"127.0.0.1", server->tcp_port()}, soon().deadline);
    EXPECT_TRUE(socket) << socket.error().message;
    return socket ? make_socket_stream(std::move(*socket)) : nullptr;
  }
  /// Spins until `done`, for as long as a loaded machine may need.
  template <typename Done>
  [[nodiscard]] static bool eventually(const Done& done) {
    const Deadline end = Deadline::after(std::chrono::seconds(60));
    while (!done()) {
      if (end.passed(std::chrono::steady_clock::now())) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return true;
  }
};

/// A shared mapping of a descriptor.
class Mapping {
 public:
  Mapping(int fd, std::size_t bytes, int protection)
      : bytes_(bytes), data_(::mmap(nullptr, bytes, protection, MAP_SHARED, fd, 0)) {}
  ~Mapping() {
    if (data_ != MAP_FAILED) ::munmap(data_, bytes_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  [[nodiscard]] bool ok() const { return data_ != MAP_FAILED; }
  [[nodiscard]] std::byte* data() const { return static_cast<std::byte*>(data_); }

 private:
  const std::size_t bytes_;
  void* const data_;
};

/// Collects a reply's payload.
class Payload final : public ReplyPayload {
 public:
  bool begin(Bytes /*body*/, std::uint64_t payload_bytes) override {
    bytes.resize(payload_bytes);
    return true;
  }
  [[nodiscard]] MutableBytes next() override { return MutableBytes(bytes).subspan(have_); }
  void arrived(std::size_t count) override { have_ += count; }
  std::vector<std::byte> bytes;

 private:
  std::size_t have_ = 0;
};

/// One session, call by call. `error` holds what the last call failed with.
class Caller {
 public:
  explicit Caller(std::unique_ptr<Stream> stream, const Greeting& greeting = {.client = "test", .credential = {}}) {
    if (!stream) return;
    auto opened = Link::open(std::move(stream), greeting, soon());
    if (opened) {
      opened_ = std::move(*opened);
    } else {
      error = opened.error();
    }
  }
  [[nodiscard]] bool open() const { return opened_.link != nullptr; }
  [[nodiscard]] Link& link() { return *opened_.link; }
  [[nodiscard]] const Link::Opened& welcome() const { return opened_; }
  void hang_up() { opened_.link.reset(); }

  template <typename T, typename Build>
  const T* ask(wire::Type type, const Build& build, std::span<const Bytes> sent = {}, ReplyPayload* into = nullptr) {
    flatbuffers::FlatBufferBuilder builder;
    builder.Finish(build(builder));
    auto reply = link().ask<T>(type, wire::body_of(builder), soon(), sent, into);
    if (reply) return *reply;
    error = reply.error();
    return nullptr;
  }
  template <typename Build>
  bool tell(wire::Type type, const Build& build) {
    flatbuffers::FlatBufferBuilder builder;
    builder.Finish(build(builder));
    return link().send_one_way(type, wire::body_of(builder), soon());
  }

  std::uint32_t open_namespace(const Namespace& ns) {
    const auto* opened = ask<wire::NamespaceOpened>(wire::Type::kOpenNamespace,
                                                    [&](auto& builder) { return wire::to_wire(builder, ns.spec()); });
    EXPECT_NE(opened, nullptr) << error.message;
    return opened != nullptr ? opened->handle() : UINT32_MAX;
  }
  static auto chains(flatbuffers::FlatBufferBuilder& builder, std::uint32_t handle, std::span<const BlockKey> keys,
                     MatchRule rule = {}) {
    const std::vector chains{wire::to_wire(builder, handle, rule, keys)};
    return wire::CreateChains(builder, builder.CreateVector(chains));
  }
  const wire::Matched* match(std::uint32_t handle, std::span<const BlockKey> keys,
                             wire::Type type = wire::Type::kMatch) {
    return ask<wire::Matched>(type, [&](auto& builder) { return chains(builder, handle, keys); });
  }
  const wire::Leased* acquire(std::uint32_t handle, std::span<const BlockKey> keys) {
    return ask<wire::Leased>(wire::Type::kAcquire, [&](auto& builder) { return chains(builder, handle, keys); });
  }
  const wire::Reserved* reserve(std::uint32_t handle, std::span<const BlockKey> keys, std::uint64_t from = 0) {
    return ask<wire::Reserved>(wire::Type::kReserve, [&](auto& builder) {
      const auto chain = wire::to_wire(builder, handle, {}, keys);
      return wire::CreateReserve(builder, chain, from);
    });
  }
  const wire::Committed* commit(std::uint64_t reservation, std::uint64_t count) {
    return ask<wire::Committed>(wire::Type::kCommit,
                                [&](auto& builder) { return wire::CreateCommit(builder, reservation, count); });
  }
  bool release(std::uint64_t lease) {
    return tell(wire::Type::kRelease, [&](auto& builder) {
      return wire::CreateLeaseIds(builder, builder.CreateVector(std::vector<std::uint64_t>{lease}));
    });
  }
  /// Reserves, fills and commits; how many blocks are present then.
  std::uint64_t fill(const Namespace& ns, std::uint32_t handle, std::span<const BlockKey> keys) {
    const Mapping arena(welcome().descriptors.at(0).get(), welcome().arena_bytes, PROT_READ | PROT_WRITE);
    EXPECT_TRUE(arena.ok());
    const auto* reserved = reserve(handle, keys);
    if (reserved == nullptr || reserved->places()->size() != keys.size()) return 0;
    for (std::uint32_t i = 0; i < keys.size(); ++i) {
      const wire::Piece& place = *reserved->places()->Get(i);
      const auto bytes = payload(ns, keys[i]);
      if (place.bytes() == bytes.size()) std::memcpy(arena.data() + place.offset(), bytes.data(), bytes.size());
    }
    if (reserved->reservation() == 0) return 0;
    const auto* committed = commit(reserved->reservation(), keys.size());
    return committed != nullptr ? committed->present() : 0;
  }
  const wire::Stored* put(const Namespace& ns, std::uint32_t handle, std::span<const BlockKey> keys,
                          bool corrupt_last = false) {
    std::vector<std::vector<std::byte>> blocks;
    std::vector<std::uint64_t> sums;
    for (const BlockKey& key : keys) {
      blocks.push_back(payload(ns, key));
      sums.push_back(checksum(blocks.back()));
    }
    if (corrupt_last) sums.back() ^= 1;
    const std::vector<Bytes> views(blocks.begin(), blocks.end());
    return ask<wire::Stored>(
        wire::Type::kPut,
        [&](auto& builder) {
          const std::vector list{wire::to_wire(builder, handle, {}, keys)};
          const auto chain_list = builder.CreateVector(list);
          const auto sum_list = builder.CreateVector(sums);
          return wire::CreatePut(builder, chain_list, 0, keys.size(), sum_list);
        },
        views);
  }
  const wire::Got* get(std::uint32_t handle, std::span<const BlockKey> keys, Payload& into, std::uint64_t from = 0) {
    return ask<wire::Got>(
        wire::Type::kGet,
        [&](auto& builder) {
          const std::vector list{wire::to_wire(builder, handle, {}, keys)};
          return wire::CreateGet(builder, builder.CreateVector(list), from, keys.size() - from);
        },
        {}, &into);
  }

  Error error;

 private:
  Link::Opened opened_;
};

}  // namespace reprise::server_test
