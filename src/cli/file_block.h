// How `put` keeps a file of any length in blocks: each says which it is, of which writing, how much it holds, and
// whether it is the last. Pure functions.
//
// A block: "RPRF" (4 bytes), flags (4; 1 = last), index (8), the writing's number (8), bytes used (8), XXH3-64 of those
// (8), the bytes, zeros. Little-endian.
#pragma once

#include <cstdint>
#include <optional>

#include "reprise/block.h"

namespace reprise::cli {

inline constexpr std::size_t kFileBlockHeader = 40;

struct FileBlock {
  std::uint64_t index = 0;
  std::uint64_t writing = 0;  ///< The same in all blocks of one `put`.
  bool last = false;
  Bytes content;  ///< Views the block.
};

/// Fills the header and the zeros around content that lies at `block` + kFileBlockHeader already.
/// REQUIRES: kFileBlockHeader + used <= block.size().
void seal_file_block(MutableBytes block, std::uint64_t index, std::uint64_t writing, std::size_t used, bool last);

/// nullopt when the block is none of these, or its content is not what was put.
[[nodiscard]] std::optional<FileBlock> read_file_block(Bytes block);

}  // namespace reprise::cli
