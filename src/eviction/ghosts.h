// What is remembered of blocks that went: how often each was seen, in four bytes a block.
//
// A table of 64-byte sets, each a queue of 16 cells with the newest in front: one cache line a call. A cell holds 29
// bits of the hash and a count of 1..7; about one stranger in 30 million is mistaken for a ghost. (Shorter fingerprints
// cost hits: with 13 bits one newcomer in 250 was taken for an old acquaintance, and as a leaf it keeps its whole chain
// in the cache: half a point at 2,000 to 5,000 blocks of the conversation trace.) Owned and called by one policy; not
// thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace reprise::eviction {

class GhostTable {
 public:
  static constexpr unsigned kMaxCount = 7;

  /// Forgets everything and makes room for at least `ghosts`.
  void reset(std::uint64_t ghosts);

  /// Remembers the block, in place of the oldest of its set. `count` is clamped to 1..kMaxCount.
  void remember(std::uint64_t hash, unsigned count);

  /// The count remembered for the block, 0 if none; forgets it.
  [[nodiscard]] unsigned take(std::uint64_t hash);

  /// Starts loading what take(hash) will read.
  void prefetch(std::uint64_t hash) const {
    if (!sets_.empty()) __builtin_prefetch(&sets_[set_of(hash)], 1);
  }

  [[nodiscard]] std::uint64_t size() const { return size_; }
  [[nodiscard]] std::uint64_t capacity() const { return sets_.size() * kWays; }
  [[nodiscard]] std::uint64_t bytes() const { return sets_.capacity() * sizeof(Set); }

 private:
  static constexpr unsigned kWays = 16;
  static constexpr unsigned kCountBits = 3;
  struct alignas(64) Set {
    std::array<std::uint32_t, kWays> cells{};  // Newest first; 0 = empty, and nothing but zeros behind it.
  };

  // The high bits choose the set, the low bits are the fingerprint.
  [[nodiscard]] std::uint64_t set_of(std::uint64_t hash) const {
    return static_cast<std::uint64_t>((static_cast<unsigned __int128>(hash) * sets_.size()) >> 64);
  }
  static std::uint32_t fingerprint(std::uint64_t hash) { return static_cast<std::uint32_t>(hash << kCountBits); }
  static unsigned find(const Set& set, std::uint32_t print);

  std::vector<Set> sets_;
  std::uint64_t size_ = 0;
};

}  // namespace reprise::eviction
