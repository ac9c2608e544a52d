// The header of a block that stands alone, in a file of `fs:` or a value of `rocksdb:`: docs/disk-format.md, "A block
// that stands alone". Encoding and decoding are pure functions over bytes; any thread. The decoder accepts any bytes
// whatsoever.
#pragma once

#include <cstddef>
#include <cstdint>

#include "reprise/block.h"
#include "reprise/store.h"

namespace reprise {

inline constexpr std::uint32_t kStoredBlockVersion = 1;
inline constexpr std::size_t kStoredBlockHeaderBytes = 80;
inline constexpr std::uint64_t kMaxStoredBlockBytes = 1ULL << 31;  ///< Of the payload.

struct StoredBlock {
  BlockId id;
  std::uint64_t length = 0;    ///< Of the payload, bytes; 1..kMaxStoredBlockBytes.
  std::uint64_t checksum = 0;  ///< XXH3-64 of the payload.
  std::uint64_t written = 0;   ///< Seconds since 1970, by the writer's clock.
  friend bool operator==(const StoredBlock&, const StoredBlock&) = default;
};

/// Fills the first kStoredBlockHeaderBytes of `to`. `version` is for tests of what happens to a newer format.
void encode_stored_block(const StoredBlock& block, MutableBytes to, std::uint32_t version = kStoredBlockVersion);

enum class StoredDefect : std::uint8_t {
  kNone,
  kDamaged,  ///< No header of ours, or one that does not match its checksum.
  kNewer,    ///< A sound header of a version that this build does not read.
};
/// `out` is meaningful only with kNone. Looks at the first kStoredBlockHeaderBytes; fewer are kDamaged.
[[nodiscard]] StoredDefect decode_stored_block(Bytes from, StoredBlock& out);

/// What a reader makes of a header when it wants the block `id` of `length` bytes, and of what lies behind it.
enum class Verdict : std::uint8_t {
  kGood,         ///< The block that is wanted; its payload is still to be checked.
  kDamaged,      ///< The copy is worthless: drop it, it counts as corrupt.
  kWrongPlace,   ///< Another block than its place says: drop it, it counts as foreign.
  kOtherLength,  ///< The block in another length: leave it, it counts as foreign.
  kNewer,        ///< Written by a newer version: leave it, it counts as foreign.
};
[[nodiscard]] Verdict judge_stored_block(Bytes header, const BlockId& id, std::uint64_t length, StoredBlock& out);

/// Whether a block is older than `ttl_seconds`; 0 is no limit. A block from the future is not.
[[nodiscard]] inline bool outlived(const StoredBlock& block, std::uint64_t now, std::uint64_t ttl_seconds) {
  return ttl_seconds != 0 && now > block.written && now - block.written >= ttl_seconds;
}

}  // namespace reprise
