// Any bytes as a stream of frames: no crash, no overrun, no length used before its check, and what is accepted encodes
// to the same again.
//
// Input: one byte (bit 7: headers are made right first, for a fuzzer does not find XXH3 by chance; bit 0: the caps of a
// session that is not open yet), then frames back to back.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "wire/frame.h"
#include "wire/messages.h"

namespace reprise::wire {
namespace {

void require(bool ok) {
  if (!ok) std::abort();
}

void look(const Chain* chain) {
  if (chain == nullptr) return;
  MatchRule rule;
  if (!rule_of(*chain, rule)) return;
  const auto keys = keys_of(*chain);
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(to_wire(builder, chain->ns(), rule, keys));
  const auto* again = read_body<Chain>(body_of(builder));
  require(again != nullptr && again->ns() == chain->ns());
  MatchRule same;
  require(rule_of(*again, same) && same == rule && std::ranges::equal(keys_of(*again), keys));
}

template <typename T>
void look_at_chains(const T& message) {
  if (message.chains() == nullptr) return;
  for (const Chain* chain : *message.chains()) look(chain);
}

void look(const NamespaceSpec& spec) {
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(to_wire(builder, spec));
  const auto* again = read_body<OpenNamespace>(body_of(builder));
  if (again == nullptr) {
    // More extras than the verifier has patience for.
    require(spec.extras.size() > 1000);
    return;
  }
  const NamespaceSpec same = spec_of(*again);
  require(same.model == spec.model && same.revision == spec.revision && same.dtype == spec.dtype);
  require(same.layout == spec.layout && same.salt == spec.salt && same.extras == spec.extras);
  require(same.block_tokens == spec.block_tokens && same.block_bytes == spec.block_bytes);
  require(same.layers->first == spec.layers->first && same.layers->count == spec.layers->count);
  require(same.heads->first == spec.heads->first && same.heads->count == spec.heads->count);
}

void look(const CacheStats& stats) {
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(to_wire(builder, stats));
  const CacheStats same = stats_of(*read_body<Stats>(body_of(builder)));
  require(same.l1.hits == stats.l1.hits && same.l2.errors == stats.l2.errors && same.l2.name == stats.l2.name);
  require(same.fixed_bytes == stats.fixed_bytes && same.reasons == stats.reasons);
}

/// Reads every byte of a vector: the sanitizer sees one that lies outside.
template <typename Vector>
void touch(const Vector* vector) {
  if (vector == nullptr) return;
  std::uint64_t sum = 0;
  const auto* data = reinterpret_cast<const std::uint8_t*>(vector->Data());
  for (std::size_t i = 0; i < vector->size() * sizeof(*vector->begin()); ++i) sum += data[i];
  volatile std::uint64_t sink = sum;
  (void)sink;
}

template <typename T, typename Look>
void with(Bytes body, const Look& examine) {
  if (const T* message = read_body<T>(body)) examine(*message);
}

void session(Type type, Bytes body) {
  switch (type) {
    case Type::kHello:
      with<Hello>(body, [](const Hello& m) { touch(m.nonce()), touch(m.client()), (void)text_of(m.key_id()); });
      break;
    case Type::kHelloReply: with<HelloReply>(body, [](const HelloReply& m) { touch(m.nonce()); }); break;
    case Type::kAuthenticate: with<Authenticate>(body, [](const Authenticate& m) { touch(m.proof()); }); break;
    case Type::kWelcome: with<Welcome>(body, [](const Welcome& m) { touch(m.proof()), touch(m.tenant()); }); break;
    case Type::kGoodbye:
      with<Goodbye>(body, [](const Goodbye& m) { (void)text_of(m.text()), (void)error_of(m.code()); });
      break;
    case Type::kFailed:
      with<Failed>(body, [](const Failed& m) { (void)text_of(m.text()), (void)error_of(m.code()); });
      break;
    case Type::kOpenNamespace: with<OpenNamespace>(body, [](const OpenNamespace& m) { look(spec_of(m)); }); break;
    case Type::kStats: with<Stats>(body, [](const Stats& m) { look(stats_of(m)); }); break;
    default: break;
  }
}

void blocks(Type type, Bytes body) {
  switch (type) {
    case Type::kMatch:
    case Type::kAcquire:
    case Type::kPrefetch:
    case Type::kErase: with<Chains>(body, [](const Chains& m) { look_at_chains(m); }); break;
    case Type::kMatched: with<Matched>(body, [](const Matched& m) { (void)reason_of(m.reason()); }); break;
    case Type::kLeased: with<Leased>(body, [](const Leased& m) { touch(m.blocks()); }); break;
    case Type::kRelease: with<LeaseIds>(body, [](const LeaseIds& m) { touch(m.leases()); }); break;
    case Type::kAttach:
      with<Attach>(body, [](const Attach& m) { require(m.token() == nullptr || m.token()->w0() == m.token()->w0()); });
      break;
    case Type::kReserve: with<Reserve>(body, [](const Reserve& m) { look(m.chain()); }); break;
    case Type::kReserved: with<Reserved>(body, [](const Reserved& m) { touch(m.places()), touch(m.reasons()); }); break;
    case Type::kGet: with<Get>(body, [](const Get& m) { look_at_chains(m); }); break;
    case Type::kPut: with<Put>(body, [](const Put& m) { look_at_chains(m), touch(m.checksums()); }); break;
    case Type::kGot: with<Got>(body, [](const Got& m) { touch(m.checksums()); }); break;
    case Type::kStored: with<Stored>(body, [](const Stored& m) { touch(m.declined_blocks()); }); break;
    default: break;
  }
}

/// Magic, version and checksum as a peer in order would have sent them; the lengths stay what they are.
void repair(HeaderBytes& bytes, Bytes rest) {
  std::memcpy(bytes.data(), &kMagic, sizeof(kMagic));
  bytes[4] = std::byte{kVersion};
  const Decoded decoded = decode_header(bytes, kMaxBody, kMaxPayload);
  if (decoded.fault != FrameFault::kNone || decoded.header.body_bytes > rest.size()) return;
  bytes = encode_header(decoded.header, rest.first(decoded.header.body_bytes));
}

/// How many bytes the frame took; 0 ends the stream.
std::size_t frame(Bytes bytes, bool right, bool early) {
  if (bytes.size() < kHeaderBytes) return 0;
  HeaderBytes header;
  std::ranges::copy(bytes.first(kHeaderBytes), header.begin());
  bytes = bytes.subspan(kHeaderBytes);
  if (right) repair(header, bytes);
  const std::uint64_t max_body = early ? kMaxBodyEarly : kMaxBody;
  const std::uint64_t max_payload = early ? 0 : kMaxPayload;
  const Decoded decoded = decode_header(header, max_body, max_payload);
  if (decoded.fault != FrameFault::kNone) return 0;
  require(decoded.header.body_bytes <= max_body && decoded.header.payload_bytes <= max_payload);
  if (decoded.header.body_bytes > bytes.size()) return 0;
  // A copy of its own, so that the sanitizer sees the end of the body.
  const std::vector<std::byte> body(bytes.begin(), bytes.begin() + decoded.header.body_bytes);
  if (!checksum_holds(header, body)) return 0;
  require(encode_header(decoded.header, body) == header);
  (void)name_of(decoded.header.type);
  session(decoded.header.type, body);
  blocks(decoded.header.type, body);
  const std::uint64_t payload = std::min<std::uint64_t>(decoded.header.payload_bytes, bytes.size() - body.size());
  return kHeaderBytes + body.size() + payload;
}

}  // namespace
}  // namespace reprise::wire

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  reprise::Bytes rest = std::as_bytes(std::span(data + 1, size - 1));
  for (;;) {
    const std::size_t used = reprise::wire::frame(rest, (data[0] & 0x80) != 0, (data[0] & 1) != 0);
    if (used == 0) return 0;
    rest = rest.subspan(used);
  }
}
