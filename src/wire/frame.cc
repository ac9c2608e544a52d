#include "wire/frame.h"

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstring>

namespace reprise::wire {
namespace {

static_assert(std::endian::native == std::endian::little, "the protocol is little-endian, and so is all we build for");

constexpr std::size_t kChecksumAt = 32;

// clang-format off
constexpr MessageSpec kMessages[] = {
    {Type::kHello, Type::kHelloReply, "hello", Reach::kAll, true, false, "versions, capabilities, who is calling"},
    {Type::kAuthenticate, Type::kWelcome, "authenticate", Reach::kAll, true, false, "proof of a token"},
    {Type::kPing, Type::kPong, "ping", Reach::kAll, false, false, "nothing; shows that the other side lives"},
    {Type::kOpenNamespace, Type::kNamespaceOpened, "open_namespace", Reach::kAll, false, false, "a handle for chains to name"},
    {Type::kMatch, Type::kMatched, "match", Reach::kAll, false, false, "length of the common run"},
    {Type::kAcquire, Type::kLeased, "acquire", Reach::kSharedMemory, false, false, "leases the common run in place"},
    {Type::kRelease, Type::kRelease, "release", Reach::kSharedMemory, false, false, "ends leases"},
    {Type::kRenew, Type::kRenew, "renew", Reach::kSharedMemory, false, false, "moves a lease's expiry"},
    {Type::kAttach, Type::kLeased, "attach", Reach::kSharedMemory, false, false, "joins another session's lease"},
    {Type::kReserve, Type::kReserved, "reserve", Reach::kSharedMemory, false, false, "memory to fill in place"},
    {Type::kCommit, Type::kCommitted, "commit", Reach::kSharedMemory, false, false, "makes filled blocks visible"},
    {Type::kAbandon, Type::kAbandon, "abandon", Reach::kSharedMemory, false, false, "gives reserved memory back"},
    {Type::kGet, Type::kGot, "get", Reach::kNetwork, false, false, "blocks of the common run as payload"},
    {Type::kPut, Type::kStored, "put", Reach::kNetwork, false, true, "offers blocks, which follow as payload"},
    {Type::kPrefetch, Type::kMatched, "prefetch", Reach::kAll, false, false, "starts bringing a run up from L2"},
    {Type::kErase, Type::kErased, "erase", Reach::kAll, false, false, "forgets blocks in every tier"},
    {Type::kFlush, Type::kFlushed, "flush", Reach::kAll, false, false, "waits for writes to L2"},
    {Type::kGetStats, Type::kStats, "stats", Reach::kAll, false, false, "the tenant's counters"},
};
// clang-format on

template <typename T>
void store(std::byte* at, T value) {
  std::memcpy(at, &value, sizeof value);
}
template <typename T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

// XXH3-64 of the body, seeded with XXH3-64 of the header before the checksum.
std::uint64_t checksum_of(const std::byte* header, Bytes body) {
  return XXH3_64bits_withSeed(body.data(), body.size(), XXH3_64bits(header, kChecksumAt));
}

}  // namespace

std::span<const MessageSpec> message_table() {
  return kMessages;
}

const MessageSpec* find_message(Type type) {
  const auto found = std::ranges::find(kMessages, type, &MessageSpec::type);
  return found == std::end(kMessages) ? nullptr : &*found;
}

std::string_view name_of(Type type) {
  const MessageSpec* spec = find_message(type);
  return spec != nullptr ? spec->name : "unknown";
}

HeaderBytes encode_header(FrameHeader header, Bytes body) {
  HeaderBytes out;
  store(out.data(), kMagic);
  store(out.data() + 4, header.version);
  store(out.data() + 5, header.flags);
  store(out.data() + 6, header.type);
  store(out.data() + 8, header.request);
  store(out.data() + 16, static_cast<std::uint32_t>(body.size()));
  store(out.data() + 20, header.timeout_us);
  store(out.data() + 24, header.payload_bytes);
  store(out.data() + kChecksumAt, checksum_of(out.data(), body));
  return out;
}

Decoded decode_header(std::span<const std::byte, kHeaderBytes> bytes, std::uint64_t max_body,
                      std::uint64_t max_payload) {
  Decoded out;
  FrameHeader& header = out.header;
  header.version = load<std::uint8_t>(&bytes[4]);
  header.flags = load<std::uint8_t>(&bytes[5]);
  header.type = load<Type>(&bytes[6]);
  header.request = load<std::uint64_t>(&bytes[8]);
  header.body_bytes = load<std::uint32_t>(&bytes[16]);
  header.timeout_us = load<std::uint32_t>(&bytes[20]);
  header.payload_bytes = load<std::uint64_t>(&bytes[24]);
  header.checksum = load<std::uint64_t>(&bytes[kChecksumAt]);
  if (load<std::uint32_t>(bytes.data()) != kMagic) {
    out.fault = FrameFault::kForeign;
  } else if ((header.version < kOldestVersion || header.version > kVersion) && header.type != Type::kHello) {
    out.fault = FrameFault::kVersionUnknown;
  } else if (header.body_bytes > max_body || header.payload_bytes > max_payload) {
    out.fault = FrameFault::kTooLong;
  }
  return out;
}

bool checksum_holds(std::span<const std::byte, kHeaderBytes> header, Bytes body) {
  return load<std::uint64_t>(&header[kChecksumAt]) == checksum_of(header.data(), body);
}

}  // namespace reprise::wire
