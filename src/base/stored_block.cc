#include "base/stored_block.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "base/kernels.h"
#include "base/little_endian.h"

namespace reprise {
namespace {

constexpr std::string_view kMagic = "RPRSBLCK";
constexpr std::size_t kVersionAt = 8;
constexpr std::size_t kSizeAt = 12;
constexpr std::size_t kChecksumAt = 16;
constexpr std::size_t kNamespaceAt = 24;
constexpr std::size_t kKeyAt = 40;
constexpr std::size_t kLengthAt = 56;
constexpr std::size_t kPayloadChecksumAt = 64;
constexpr std::size_t kWrittenAt = 72;

using little_endian::get;
using little_endian::put;

/// Of the header with the field itself zeroed.
std::uint64_t header_checksum(Bytes header) {
  std::array<std::byte, kStoredBlockHeaderBytes> copy;
  std::memcpy(copy.data(), header.data(), copy.size());
  std::memset(copy.data() + kChecksumAt, 0, 8);
  return checksum(copy);
}

}  // namespace

void encode_stored_block(const StoredBlock& block, MutableBytes to, std::uint32_t version) {
  const MutableBytes header = to.first(kStoredBlockHeaderBytes);
  std::memcpy(header.data(), kMagic.data(), kMagic.size());
  put<std::uint32_t>(header, kVersionAt, version);
  put<std::uint32_t>(header, kSizeAt, kStoredBlockHeaderBytes);
  std::memcpy(header.data() + kNamespaceAt, block.id.ns.bytes.data(), 16);
  std::memcpy(header.data() + kKeyAt, block.id.key.bytes.data(), 16);
  put<std::uint64_t>(header, kLengthAt, block.length);
  put<std::uint64_t>(header, kPayloadChecksumAt, block.checksum);
  put<std::uint64_t>(header, kWrittenAt, block.written);
  put<std::uint64_t>(header, kChecksumAt, header_checksum(header));
}

StoredDefect decode_stored_block(Bytes from, StoredBlock& out) {
  if (from.size() < kStoredBlockHeaderBytes) return StoredDefect::kDamaged;
  const Bytes header = from.first(kStoredBlockHeaderBytes);
  if (std::memcmp(header.data(), kMagic.data(), kMagic.size()) != 0) return StoredDefect::kDamaged;
  // The checksum before the version, so that a flipped bit cannot pose as a newer format.
  if (get<std::uint64_t>(header, kChecksumAt) != header_checksum(header)) return StoredDefect::kDamaged;
  const auto version = get<std::uint32_t>(header, kVersionAt);
  if (version > kStoredBlockVersion) return StoredDefect::kNewer;
  if (version == 0 || get<std::uint32_t>(header, kSizeAt) != kStoredBlockHeaderBytes) return StoredDefect::kDamaged;
  std::memcpy(out.id.ns.bytes.data(), header.data() + kNamespaceAt, 16);
  std::memcpy(out.id.key.bytes.data(), header.data() + kKeyAt, 16);
  out.length = get<std::uint64_t>(header, kLengthAt);
  out.checksum = get<std::uint64_t>(header, kPayloadChecksumAt);
  out.written = get<std::uint64_t>(header, kWrittenAt);
  return out.length >= 1 && out.length <= kMaxStoredBlockBytes ? StoredDefect::kNone : StoredDefect::kDamaged;
}

Verdict judge_stored_block(Bytes header, const BlockId& id, std::uint64_t length, StoredBlock& out) {
  switch (decode_stored_block(header, out)) {
    case StoredDefect::kNone: break;
    case StoredDefect::kDamaged: return Verdict::kDamaged;
    case StoredDefect::kNewer: return Verdict::kNewer;
  }
  if (out.id != id) return Verdict::kWrongPlace;
  return out.length == length ? Verdict::kGood : Verdict::kOtherLength;
}

}  // namespace reprise
