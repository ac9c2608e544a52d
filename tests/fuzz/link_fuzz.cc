// A malicious server: whatever it answers, a client neither crashes nor hangs, reads and writes only what is its own,
// and believes no more blocks than it asked for.
//
// Input: two bytes, then frames back to back. First byte: bit 0 a client over the network (else shared memory), bit 1
// the handshake is the input's too (else it is a right one), bit 2 the client has a token, bit 7 headers are made right
// and answer what was asked last, for a fuzzer finds neither XXH3 nor request ids by chance. Second byte: which call
// comes first; the others follow.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "client/link_pool.h"
#include "client/remote_cache.h"
#include "client/shared_cache.h"
#include "client/shared_mapping.h"
#include "rpc/link.h"
#include "wire/frame.h"

namespace reprise {
namespace {

constexpr std::uint64_t kBlock = 1024;
constexpr std::uint64_t kArena = 16384;
constexpr std::uint32_t kWords = 512;  // one page, as the arena's pages

void require(bool ok) {
  if (!ok) std::abort();
}

FileDescriptor make_memory(std::uint64_t bytes) {
  FileDescriptor file(::memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  require(::ftruncate(file.get(), static_cast<off_t>(bytes)) == 0);
  require(::fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
  return file;
}

/// What the server says: first `greeting`, then the frames of the input.
class ScriptedStream final : public Stream {
 public:
  ScriptedStream(std::vector<std::byte> greeting, Bytes script, bool make_right)
      : ready_(std::move(greeting)), script_(script), make_right_(make_right) {}

  Moved read(std::span<const MutableBytes> pieces) override {
    if (at_ == ready_.size() && !next_frame()) return {Flow::kClosed, 0};
    std::size_t moved = 0;
    for (const MutableBytes piece : pieces) {
      const std::size_t count = std::min(piece.size(), ready_.size() - at_);
      if (count > 0) std::memcpy(piece.data(), ready_.data() + at_, count);
      at_ += count;
      moved += count;
    }
    return {Flow::kMoved, moved};
  }
  Moved write(std::span<const Bytes> pieces) override {
    std::size_t moved = 0;
    for (const Bytes piece : pieces) moved += piece.size();
    // A request begins with its header.
    if (!pieces.empty() && pieces[0].size() == wire::kHeaderBytes) std::memcpy(&request_, pieces[0].data() + 8, 8);
    return {Flow::kMoved, moved};
  }
  int fd() const override { return -1; }
  void shutdown() override {}
  std::string peer() const override { return "fuzz"; }
  std::string failure() const override { return ""; }

 private:
  bool next_frame() {
    if (script_.empty()) return false;
    ready_.clear();
    at_ = 0;
    if (!make_right_ || script_.size() < wire::kHeaderBytes) {
      ready_.assign(script_.begin(), script_.end());
      script_ = {};
      return true;
    }
    const auto decoded = wire::decode_header(script_.first<wire::kHeaderBytes>(), ~0ULL, ~0ULL).header;
    script_ = script_.subspan(wire::kHeaderBytes);
    wire::FrameHeader header = decoded;
    header.version = wire::kVersion;
    if ((decoded.flags & 1) == 0) header.request = request_;
    const Bytes body = script_.first(std::min<std::size_t>(decoded.body_bytes, script_.size()));
    script_ = script_.subspan(body.size());
    const Bytes payload = script_.first(std::min<std::size_t>(decoded.payload_bytes, script_.size()));
    script_ = script_.subspan(payload.size());
    if ((decoded.flags & 2) == 0) header.payload_bytes = payload.size();
    const wire::HeaderBytes bytes = wire::encode_header(header, body);
    ready_.assign(bytes.begin(), bytes.end());
    ready_.insert(ready_.end(), body.begin(), body.end());
    ready_.insert(ready_.end(), payload.begin(), payload.end());
    return true;
  }

  std::vector<std::byte> ready_;
  std::size_t at_ = 0;
  Bytes script_;
  const bool make_right_;
  std::uint64_t request_ = 0;
};

template <typename T>
void add_frame(std::vector<std::byte>& out, wire::Type type, std::uint64_t request, flatbuffers::FlatBufferBuilder& b,
               flatbuffers::Offset<T> body) {
  b.Finish(body);
  const wire::HeaderBytes header = wire::encode_header({.type = type, .request = request}, wire::body_of(b));
  out.insert(out.end(), header.begin(), header.end());
  out.insert(out.end(), wire::body_of(b).begin(), wire::body_of(b).end());
  b.Clear();
}

std::vector<std::byte> right_greeting() {
  std::vector<std::byte> out;
  flatbuffers::FlatBufferBuilder b;
  add_frame(out, wire::Type::kHelloReply, 1, b, wire::CreateHelloReply(b, wire::kVersion));
  add_frame(out, wire::Type::kWelcome, 1, b,
            wire::CreateWelcome(b, 1, 0, 0, kArena, kArena, 0, kWords, /*lease_ttl_ms=*/60'000));
  return out;
}

const Namespace& space() {
  static const Namespace ns = [] {
    NamespaceSpec spec;
    spec.model = spec.revision = spec.dtype = spec.layout = "fuzz";
    spec.block_tokens = 16;
    spec.block_bytes = kBlock;
    spec.layers = spec.heads = IndexRange{0, 1};
    spec.salt = "";
    return *Namespace::create(spec);
  }();
  return ns;
}

void read_lease(const Lease& lease) {
  unsigned sum = 0;
  for (std::size_t i = 0; i < lease.size(); ++i) {
    const Bytes block = lease.block(i);
    require(!block.empty());
    sum += static_cast<unsigned>(block.front()) + static_cast<unsigned>(block.back());
  }
  volatile bool valid = lease.still_valid() && sum > 0;
  static_cast<void>(valid);
}

void call(Cache& cache, unsigned which) {
  const std::vector<BlockKey> keys = {BlockKey::from_words(1, 2), BlockKey::from_words(3, 4),
                                      BlockKey::from_words(5, 6)};
  const std::vector<Chain> chains = {Chain(space(), keys), Chain(space(), keys, MatchRule::last(2))};
  const Deadline deadline = Deadline::after(std::chrono::seconds(5));
  std::vector<std::vector<std::byte>> memory(6, std::vector<std::byte>(kBlock));
  const std::vector<MutableBytes> out(memory.begin(), memory.end());
  const std::vector<Bytes> in(memory.begin(), memory.end());
  switch (which % 9) {
    case 0:
      if (const auto match = cache.match(chains, deadline)) require(match->blocks <= keys.size());
      break;
    case 1:
      if (const auto got = cache.acquire(chains, deadline)) {
        require(got->match.blocks <= keys.size());
        read_lease(got->lease);
      }
      break;
    case 2:
      if (const auto match = cache.get(chains, 0, out, deadline)) require(match->blocks <= keys.size());
      break;
    case 3:
      if (const auto stored = cache.put(chains, 0, in, deadline)) {
        require(stored->accepted + stored->present + stored->declined == in.size());
      }
      break;
    case 4:
      if (auto reserved = cache.reserve(chains[0], 0, deadline)) {
        for (std::size_t i = 0; i < reserved->size(); ++i) {
          const MutableBytes block = reserved->block(i);
          require(block.empty() || block.size() == kBlock);
          if (!block.empty()) block.front() = block.back() = std::byte{1};
        }
        require(reserved->commit(keys.size()) <= keys.size());
      }
      break;
    case 5:
      if (const auto lease = cache.attach(LeaseToken::from_words(1, 2))) read_lease(*lease);
      break;
    case 6: static_cast<void>(cache.stats()); break;
    case 7: static_cast<void>(cache.erase(chains, deadline)); break;
    default: static_cast<void>(cache.flush(deadline)); break;
  }
}

Result<std::shared_ptr<ClientSession>> connect(Bytes script, unsigned mode) {
  Greeting greeting{.client = "fuzz", .credential = {}};
  if ((mode & 4) != 0) greeting.credential = wire::Credential{"key", "0123456789abcdef"};
  auto opened =
      Link::open(std::make_unique<ScriptedStream>((mode & 2) != 0 ? std::vector<std::byte>() : right_greeting(), script,
                                                  (mode & 128) != 0),
                 greeting, {Deadline::after(std::chrono::seconds(5)), Duration(0)});
  if (!opened) return std::unexpected(opened.error());
  auto session = std::make_shared<ClientSession>();
  session->lease_ttl = opened->lease_ttl;
  if ((mode & 1) == 0) {
    opened->descriptors.push_back(make_memory(kArena));
    opened->descriptors.push_back(make_memory(kWords * 8));
    auto mapping = SharedMapping::create(*opened, false);
    if (!mapping) return std::unexpected(mapping.error());
    session->mapping = std::move(*mapping);
  }
  session->link = std::move(opened->link);
  return session;
}

}  // namespace
}  // namespace reprise

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  ::setenv("REPRISE_LOG", "off", 1);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace reprise;
  if (size < 2) return 0;
  const unsigned mode = data[0];
  const Bytes script = std::as_bytes(std::span(data + 2, size - 2));
  bool first = true;
  auto pool = LinkPool::open({.connections = 1, .timeout = std::chrono::milliseconds(5'000), .server = "fuzz"},
                             [&](Deadline) -> Result<std::shared_ptr<ClientSession>> {
                               if (!std::exchange(first, false)) return fail(ErrorCode::kIo, "once is enough");
                               return connect(script, mode);
                             });
  if (!pool) return 0;
  std::unique_ptr<Cache> cache;
  if ((mode & 1) != 0) {
    cache = std::make_unique<RemoteCache>(std::move(*pool));
  } else {
    cache = std::make_unique<SharedCache>(std::move(*pool));
  }
  for (unsigned i = 0; i < 9; ++i) call(*cache, data[1] + i);
  return 0;
}
