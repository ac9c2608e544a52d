// Reading blocks over the network: requests, and the payload straight to where it belongs, verified on the way.
//
// A function; thread-safe. Destinations belong to the calling thread, which alone writes to them, within the call.
#pragma once

#include <cstdint>
#include <span>

#include "client/link_pool.h"
#include "reprise/cache.h"

namespace reprise {

/// Where blocks go.
class Destination {
 public:
  virtual ~Destination() = default;
  /// The next blocks have so many bytes in all.
  virtual void expect(std::uint64_t /*bytes*/) {}
  /// Memory for the block at `position` of a chain, of exactly its length. Asked for in the order of arrival: chain
  /// after chain, perhaps in several rounds; once for each block.
  [[nodiscard]] virtual MutableBytes block(std::size_t chain, std::size_t position) = 0;
};

/// The needed blocks of the chains' common run. Blocks that fail their checksum, or did not come in time, and what
/// depends on them, are not counted; their destinations may have been written to.
[[nodiscard]] Result<Match> get_blocks(LinkPool& pool, std::span<const Chain> chains, Destination& into,
                                       Deadline deadline);

/// How many blocks of each chain fit in one frame; 0 when not even one does.
[[nodiscard]] std::size_t blocks_a_frame(std::span<const Chain> chains);
[[nodiscard]] bool all_prefix(std::span<const Chain> chains);

}  // namespace reprise
