// How a batch of blocks is read: neighbours on disk in one request, into the callers' memory where it can take it.
// Pure.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/env.h"
#include "reprise/store.h"
#include "store/disk/catalog.h"

namespace reprise::disk {

struct PlannedRead {
  std::size_t op = 0;  ///< Index into the caller's ops.
  Place place;
  std::byte* bounced = nullptr;  ///< Where the bytes arrive, if not in the op's own memory.
};

/// Ordered by place; owns the memory that unaligned buffers go through. Not movable once built: requests point inside.
struct ReadPlan {
  std::vector<PlannedRead> reads;
  std::vector<MutableBytes> pieces;   ///< One per read, same order.
  std::vector<ReadRequest> requests;  ///< Each covers a run of reads.
  std::vector<std::size_t> first;     ///< First read of each request, and the end.
  std::vector<AlignedBuffer> bounces;

  /// Fills all but `reads`, which it sorts.
  void build(std::span<ReadOp> ops);
};

}  // namespace reprise::disk
