// The limit for copying: what one core can do over given addresses. Pure functions, any thread.
#pragma once

#include <cstddef>
#include <span>

namespace reprise::bench {

/// One block to copy.
struct CopyOp {
  std::byte* to = nullptr;
  const std::byte* from = nullptr;
  std::size_t size = 0;
};

/// std::memcpy of each, in order.
void copy_plain(std::span<const CopyOp> ops);
/// Stores that bypass the cache, with AVX2 where the CPU has it; memcpy where `to` is not
/// aligned for them. REQUIRES: sizes are multiples of 64.
void copy_non_temporal(std::span<const CopyOp> ops);

/// Seconds for the faster of the two over the same operations; which one goes first alternates with `round`.
[[nodiscard]] double best_copy_seconds(std::span<const CopyOp> ops, std::size_t round);

}  // namespace reprise::bench
