// The bytes a replayed block must hold: a function of its key alone, so that every byte that comes back can be checked
// without keeping a copy. Made and checked at several GB/s. Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "reprise/block.h"

namespace reprise::cli {

/// Key of the block a trace calls `hash_id`: the first 16 bytes of SHA-256 over the id as 8 little-endian bytes. The
/// ids of a trace already name whole prefixes, so nothing needs chaining.
[[nodiscard]] BlockKey trace_block_key(std::uint64_t hash_id);

/// Fills a block with what `key` says it holds.
void fill_block(const BlockKey& key, MutableBytes block);

/// The offset of the first byte that differs from what `key` says, nullopt if all is right.
[[nodiscard]] std::optional<std::size_t> first_wrong_byte(const BlockKey& key, Bytes block);

}  // namespace reprise::cli
