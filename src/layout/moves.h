// Copies blocks between an engine's paged KV tensors and blocks of contiguous, opaque bytes.
//
// Any thread; the caller sees to it that nobody writes what is read meanwhile, or reads what is written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "layout/block_pieces.h"
#include "reprise/block.h"

namespace reprise {

/// How many threads a move may use, the calling one included. More are used only where each has work for about a
/// millisecond: waking one costs 30 to 50 us.
inline constexpr std::size_t kMaxMoveThreads = 16;

/// Copies engine block ids[i] into out[i], which is block_bytes long, or empty: then it is passed over. Returns how
/// many were copied. kInvalid, before anything is copied, for an id that is not below num_blocks, or where a length is
/// wrong.
[[nodiscard]] Result<std::size_t> gather(const BlockPieces& pieces, std::span<const std::uint32_t> ids,
                                         std::span<const MutableBytes> out, std::size_t threads = 1);

/// Copies in[i] into engine block ids[i]; otherwise as gather. Of an id that is there twice, the later one stays.
[[nodiscard]] Result<std::size_t> scatter(const BlockPieces& pieces, std::span<const std::uint32_t> ids,
                                          std::span<const Bytes> in, std::size_t threads = 1);

}  // namespace reprise
