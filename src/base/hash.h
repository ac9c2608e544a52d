// Mixing for tables and samples inside one process. Not for identity, and never stored or sent.
//
// Pure functions, callable from any thread.
#pragma once

#include <cstdint>

#include "reprise/block.h"

namespace reprise {

/// Every bit of the result depends on every bit of `x`; one-to-one. (The finaliser of SplitMix64, by Sebastiano Vigna.)
[[nodiscard]] constexpr std::uint64_t mix64(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

/// Of a block's whole identity. Keys may come from an engine's own weak hash, so nothing is assumed about their bits.
[[nodiscard]] inline std::uint64_t hash_block(const NamespaceId& ns, const BlockKey& key) {
  const std::uint64_t space = ns.word(0) ^ mix64(ns.word(1));
  return mix64(key.word(0) ^ mix64(key.word(1) + space + 0x9E3779B97F4A7C15ULL));
}

}  // namespace reprise
