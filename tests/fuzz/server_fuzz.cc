// Any bytes from a client, in any pieces, to a real connection with a real engine behind it: no crash, no hang, and
// nothing held once the client is gone.
//
// Input: one byte (bit 7: headers are made right first; bit 6: over the Unix socket; bit 5: the session is opened
// properly before; bits 0 to 4: how small the pieces are), then frames back to back.
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "engine/make_engine.h"
#include "server/connection.h"

namespace reprise {
namespace {

void require(bool ok) {
  if (!ok) std::abort();
}

// The client's end of the connection. Shared with the stream, which may go first.
struct Peer {
  FileDescriptor end;
  bool over = false;
  unsigned calls = 0;  // to the stream
};

// Gives what the client says in small pieces; throws away what it is told.
class ScriptedStream final : public Stream {
 public:
  ScriptedStream(std::string said, std::size_t piece, FileDescriptor end, std::shared_ptr<Peer> peer)
      : said_(std::move(said)), piece_(piece), end_(std::move(end)), peer_(std::move(peer)) {}

  Moved read(std::span<const MutableBytes> pieces) override {
    ++peer_->calls;
    if (at_ == said_.size()) {
      peer_->over = true;
      return {Flow::kClosed, 0};
    }
    if (++reads_ % 3 == 0) return {Flow::kWantRead, 0};
    const std::size_t count = std::min({piece_, pieces[0].size(), said_.size() - at_});
    std::memcpy(pieces[0].data(), said_.data() + at_, count);
    at_ += count;
    return {Flow::kMoved, count};
  }
  Moved write(std::span<const Bytes> pieces) override {
    ++peer_->calls;
    std::size_t all = 0;
    for (const Bytes piece : pieces) all += piece.size();
    if (++writes_ % 4 == 0) return {Flow::kWantWrite, 0};
    return {Flow::kMoved, std::min(all, 64 * piece_)};
  }
  [[nodiscard]] int fd() const override { return end_.get(); }
  void shutdown() override { at_ = said_.size(); }
  [[nodiscard]] std::string peer() const override { return "fuzzer"; }
  [[nodiscard]] std::string failure() const override { return ""; }
  [[nodiscard]] bool attach_descriptors(std::span<const int>) override { return true; }

 private:
  const std::string said_;
  const std::size_t piece_;
  const FileDescriptor end_;
  const std::shared_ptr<Peer> peer_;
  std::size_t at_ = 0;
  unsigned reads_ = 0;
  unsigned writes_ = 0;
};

// One tenant, in whom everybody is welcome.
class House final : public Doorkeeper {
 public:
  House() {
    CacheOptions options;
    options.l1_capacity = 1 << 20;
    options.l1_memory = Memory::kMemfd;
    options.l1_populate = false;
    options.l1_policy = "lru";
    auto engine = make_engine(options, PolicyRegistry::with_builtins(), StoreRegistry::with_builtins(),
                              {.shared_leases = true, .observe = true});
    require(engine.has_value());
    TenantSpec spec;
    spec.name = "fuzz";
    tenant = std::make_shared<Tenant>(spec, std::move(*engine));
    poller = std::move(*Poller::create());
  }
  [[nodiscard]] std::optional<Token> find_token(const std::string& key_id) const override {
    if (key_id != "key") return std::nullopt;
    return Token{"0123456789abcdef", tenant};
  }
  [[nodiscard]] std::shared_ptr<Tenant> anonymous(bool) const override { return tenant; }
  [[nodiscard]] Duration lease_ttl() const override { return std::chrono::seconds(60); }

  std::shared_ptr<Tenant> tenant;
  std::unique_ptr<Poller> poller;
  ServerOptions options;
  ServerMetrics metrics;
  std::atomic<bool> draining{false};
  std::atomic<int> spinning{1};  // nobody spins
};

std::string frame(wire::Type type, const flatbuffers::FlatBufferBuilder& builder) {
  const Bytes body = wire::body_of(builder);
  const auto header = wire::encode_header({.type = type, .request = 1}, body);
  return std::string(reinterpret_cast<const char*>(header.data()), header.size()) +
         std::string(reinterpret_cast<const char*>(body.data()), body.size());
}

// A session with namespaces 0 to 2 open, as the corpus's chains want it.
std::string proper_opening() {
  flatbuffers::FlatBufferBuilder builder;
  const std::vector<std::uint8_t> nonce(32);
  builder.Finish(wire::CreateHelloDirect(builder, 1, 1, 0, "fuzz", nullptr, &nonce));
  std::string said = frame(wire::Type::kHello, builder);
  for (const char* salt : {"a", "b", "c"}) {
    NamespaceSpec spec{.model = "m",
                       .revision = "r",
                       .dtype = "u8",
                       .layout = "l",
                       .block_tokens = 16,
                       .block_bytes = 4096,
                       .layers = IndexRange{0, 1},
                       .heads = IndexRange{0, 1},
                       .salt = salt,
                       .extras = {}};
    builder.Clear();
    builder.Finish(wire::to_wire(builder, spec));
    said += frame(wire::Type::kOpenNamespace, builder);
  }
  return said;
}

// Magic, version and checksum as an honest client would have sent them; lengths stay what they are.
std::string repaired(std::string frames) {
  for (std::size_t at = 0; at + wire::kHeaderBytes <= frames.size();) {
    wire::HeaderBytes header;
    std::memcpy(header.data(), frames.data() + at, header.size());
    std::memcpy(header.data(), &wire::kMagic, sizeof(wire::kMagic));
    header[4] = std::byte{wire::kVersion};
    const auto decoded = wire::decode_header(header, wire::kMaxBody, wire::kMaxPayload);
    const std::size_t left = frames.size() - at - header.size();
    if (decoded.fault != wire::FrameFault::kNone || decoded.header.body_bytes > left) break;
    const Bytes body = std::as_bytes(std::span(frames)).subspan(at + header.size(), decoded.header.body_bytes);
    header = wire::encode_header(decoded.header, body);
    std::memcpy(frames.data() + at, header.data(), header.size());
    const std::size_t payload = std::min<std::uint64_t>(decoded.header.payload_bytes, left - body.size());
    at += header.size() + body.size() + payload;
  }
  return frames;
}

void run(House& house, std::uint8_t flags, std::string said) {
  if ((flags & 0x80) != 0) said = repaired(std::move(said));
  if ((flags & 0x20) != 0) said = proper_opening() + said;
  std::array<int, 2> ends{};
  require(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
  const auto peer = std::make_shared<Peer>(FileDescriptor(ends[1]));
  auto waiting = std::make_unique<WaitingPool>(1);
  ConnectionHost host{
      .doorkeeper = house,
      .options = house.options,
      .metrics = house.metrics,
      .poller = *house.poller,
      .waiting = *waiting,
      .draining = house.draining,
      .spinning = house.spinning,
      .max_spinning = 1,
      .gone = [&](std::uint64_t) { peer->over = true; },
  };
  const std::size_t piece = 1 + std::size_t{flags & 0x1FU} * (flags & 0x1FU) * 64;
  auto connection = std::make_shared<Connection>(
      host, 1, std::make_unique<ScriptedStream>(std::move(said), piece, FileDescriptor(ends[0]), peer),
      (flags & 0x40) != 0, "");
  connection->start();
  while (!peer->over) {
    const unsigned calls = peer->calls;
    connection->on_ready();
    // Neither read from nor written to: dismissed, and waited for because it could still write to shared memory.
    if (peer->calls == calls) peer->end = FileDescriptor();
  }
  connection->on_ready();
  static_cast<void>(connection->view(std::chrono::steady_clock::now()));
  waiting.reset();  // before what its tasks use
}

}  // namespace
}  // namespace reprise

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace reprise;
  static House house;
  if (size == 0) return 0;
  run(house, data[0], std::string(reinterpret_cast<const char*>(data) + 1, size - 1));
  require(house.tenant->engine().stats().leases == 0);
  require(house.tenant->reserved_bytes == 0);
  house.tenant->engine().purge(std::nullopt, Deadline::never());
  return 0;
}
