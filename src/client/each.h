// Blocks of one chain, each by itself: a missing one says nothing about those behind it. What a store asks for, where
// a cache asks for runs.
//
// Functions; thread-safe. Each is one round trip. A server that does not know such questions answers with a run, and
// what is behind it is not found. Destinations are written to by the calling thread alone, before the call returns.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "client/link_pool.h"
#include "reprise/chain.h"
#include "reprise/status.h"

namespace reprise {

/// What became of one block.
struct EachRead {
  Reason result = Reason::kMiss;
  std::uint64_t checksum = 0;  ///< XXH3-64 of its bytes, with kNone.
};

/// Which blocks are there, or why nothing is known: kUnavailable, kTimeout, kBusy.
[[nodiscard]] std::expected<std::vector<bool>, Reason> find_each(LinkPool& pool, const Chain& chain, Deadline deadline);
/// Copies what is there out of a daemon's memory; the pool's sessions have a mapping.
[[nodiscard]] std::vector<EachRead> copy_each(const std::shared_ptr<LinkPool>& pool, const Chain& chain,
                                              std::span<const MutableBytes> into, Deadline deadline);
/// Receives what is there, verified as it arrives. REQUIRES: all blocks fit one payload.
[[nodiscard]] std::vector<EachRead> receive_each(LinkPool& pool, const Chain& chain, std::span<const MutableBytes> into,
                                                 Deadline deadline);
/// Forgets the blocks in every tier of the server; how many there were, or why it was not done.
[[nodiscard]] std::expected<std::size_t, Reason> erase_each(LinkPool& pool, const Chain& chain, Deadline deadline);

/// Which of `count` blocks the answer names; nullopt when it cannot be one about so many.
[[nodiscard]] std::optional<std::vector<bool>> found_of(const wire::Matched* message, std::size_t count);

}  // namespace reprise
