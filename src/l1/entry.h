// One cache line of metadata per block, and the state word that decides who may touch it.
//
// Lookups take no lock: they count themselves in first and check afterwards ("lease first, verify second"). So a count
// may rise for a moment on any entry, even a free one; it is always taken back by `unpin`, and no decision depends on
// a count being exact except "zero means nobody reads". Flags change only by atomic or/and/compare-exchange, so that
// such moments survive every transition. The fields below the state are written only while nobody can pass the check.
#pragma once

#include <atomic>
#include <cstdint>

#include "reprise/block.h"
#include "reprise/eviction.h"

namespace reprise {

namespace entry_state {
inline constexpr std::uint32_t kCount = (1U << 23) - 1;  // readers, fillers and writers that hold the bytes
inline constexpr std::uint32_t kVisible = 1U << 31;      // complete, in the index, may be leased
inline constexpr std::uint32_t kClaimed = 1U << 30;      // being moved: look again in a moment
inline constexpr std::uint32_t kAside = 1U << 29;        // the policy set it aside: restore when the last count goes
inline constexpr std::uint32_t kDoomed = 1U << 28;       // not in the index: free when the last count goes
inline constexpr std::uint32_t kQueued = 1U << 27;       // on the stack of entries with something left to do
inline constexpr std::uint32_t kOutbound = 1U << 26;  // one of the counts is the write to L2; does not hinder eviction
inline constexpr std::uint32_t kFilling = 1U << 25;   // admitted, not complete yet
inline constexpr std::uint32_t kSaved = 1U << 24;     // L2 has a copy
inline constexpr std::uint32_t kNewcomer = 1U << 23;  // offered to the policy, which may still decline it
}  // namespace entry_state

struct alignas(64) BlockEntry {
  std::atomic<std::uint32_t> state{0};
  std::uint32_t generation = 0;  // changes when the entry is freed
  BlockKey key;
  NamespaceId ns;
  std::uint64_t offset = 0;    // into the arena; link of the free list while free
  std::uint64_t checksum = 0;  // XXH3-64 of the payload; 0 = not computed yet. Newcomers: place in their batch
  std::uint32_t bytes = 0;
  BlockSlot next = kNoSlot;  // link of the stack behind kQueued
};
static_assert(sizeof(BlockEntry) == 64);

}  // namespace reprise
