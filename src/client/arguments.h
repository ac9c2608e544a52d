// What an attached cache checks before it asks anybody, and how it counts what comes back. Pure functions.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "reprise/cache.h"
#include "wire/messages.h"

namespace reprise {

/// kInvalid when the chains cannot be asked about, or are too long for one request.
[[nodiscard]] Result<void> check_request(std::span<const Chain> chains);
/// Blocks of each chain that [from, from + k) with these buffers means; kInvalid when they contradict the chains.
[[nodiscard]] Result<std::size_t> blocks_each(std::span<const Chain> chains, std::size_t from,
                                              std::span<const Bytes> blocks);
[[nodiscard]] Result<std::size_t> blocks_each(std::span<const Chain> chains, std::size_t from,
                                              std::span<const MutableBytes> buffers);

/// The chains' blocks [from, from + each) as chains of their own, with the rules moved along.
[[nodiscard]] std::vector<Chain> parts_of(std::span<const Chain> chains, std::size_t from, std::size_t each);
/// The longest run that the chains can have in common.
[[nodiscard]] std::size_t longest_run(std::span<const Chain> chains);
/// The blocks all chains together need for a run of n.
[[nodiscard]] std::size_t needed_total(std::span<const Chain> chains, std::size_t n);

/// nullopt when it cannot be an answer about these chains.
[[nodiscard]] std::optional<Match> match_of(const wire::Matched* message, std::span<const Chain> chains);

}  // namespace reprise
