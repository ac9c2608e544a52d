// A chain: the blocks of one prompt, in order, and the rule for what counts as usable.
#pragma once

#include <cstdint>
#include <span>

#include "reprise/block.h"
#include "reprise/namespace.h"

namespace reprise {

/// Which blocks of a chain must be present for its first n blocks to be usable.
struct MatchRule {
  enum class Kind : std::uint8_t { kPrefix, kLast, kExact };
  Kind kind = Kind::kPrefix;
  std::uint32_t arg = 0;

  /// All of [0, n): full attention. The default.
  static MatchRule prefix() { return {}; }
  /// Only the last `window` blocks before n, [n - window, n): sliding-window attention. `window` >= 1.
  static MatchRule last(std::uint32_t window) { return {Kind::kLast, window}; }
  /// Only the block at index `position`, and n is then position + 1: state-space layers' snapshots.
  static MatchRule exact(std::uint32_t position) { return {Kind::kExact, position}; }

  friend bool operator==(const MatchRule&, const MatchRule&) = default;
};

/// The blocks [first, last) of a chain that `rule` needs for a usable run of n blocks.
struct NeededBlocks {
  std::size_t first = 0;
  std::size_t last = 0;
};
[[nodiscard]] inline NeededBlocks needed_blocks(MatchRule rule, std::size_t n) {
  if (n == 0) return {};
  switch (rule.kind) {
    case MatchRule::Kind::kPrefix: return {0, n};
    case MatchRule::Kind::kLast: return {n > rule.arg ? n - rule.arg : 0, n};
    case MatchRule::Kind::kExact: return {n - 1, n};
  }
  return {};
}

/// A view: the namespace and the keys must outlive the call the chain is passed to. Passing several chains to one
/// call (ranks, layer groups) asks for their common run: the largest n that every chain's rule accepts.
struct Chain {
  const Namespace* ns = nullptr;
  std::span<const BlockKey> keys;
  MatchRule rule;

  Chain() = default;
  Chain(const Namespace& space, std::span<const BlockKey> block_keys, MatchRule match_rule = {})
      : ns(&space), keys(block_keys), rule(match_rule) {}
  [[nodiscard]] std::size_t size() const { return keys.size(); }
};

}  // namespace reprise
