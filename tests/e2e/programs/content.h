// The blocks these programs put: key and bytes follow from a chain's number, so every byte that comes back is checked.
//
// `flavour` changes the bytes but not the keys: two tenants that use the same keys must each see their own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "cli/block_content.h"
#include "reprise/block.h"

namespace reprise::e2e {

/// Keys of blocks [0, count) of chain `number`. Two chains have no block in common.
[[nodiscard]] inline std::vector<BlockKey> keys_of(std::uint64_t number, std::size_t count) {
  std::vector<BlockKey> keys;
  keys.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    std::uint64_t x = (number << 20 | i) + 0x9E3779B97F4A7C15ULL;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
    keys.push_back(BlockKey::from_words(x ^ (x >> 31), number << 20 | i));
  }
  return keys;
}

class Content {
 public:
  explicit Content(std::uint64_t flavour) : flavour_(flavour) {}

  void fill(const BlockKey& key, MutableBytes block) const { cli::fill_block(flavoured(key), block); }
  [[nodiscard]] bool right(const BlockKey& key, Bytes block) const {
    return !cli::first_wrong_byte(flavoured(key), block);
  }
  /// How many of the blocks are not what their keys say.
  template <typename Block>
  [[nodiscard]] std::size_t wrong(std::span<const BlockKey> keys, std::span<const Block> blocks) const {
    std::size_t count = 0;
    for (std::size_t i = 0; i < blocks.size(); ++i) count += right(keys[i], blocks[i]) ? 0 : 1;
    return count;
  }

 private:
  [[nodiscard]] BlockKey flavoured(const BlockKey& key) const {
    return BlockKey::from_words(key.word(0) ^ flavour_ << 32, key.word(1) + flavour_);
  }
  std::uint64_t flavour_;
};

/// `count` blocks of memory in one piece that starts at a page.
class Blocks {
 public:
  Blocks(std::size_t count, std::size_t block_bytes) : memory_(count * block_bytes) {
    for (std::size_t i = 0; i < count; ++i) {
      views_.push_back(memory_.span().subspan(i * block_bytes, block_bytes));
      const_views_.push_back(views_.back());
    }
  }
  [[nodiscard]] std::span<const MutableBytes> views() const { return views_; }
  [[nodiscard]] std::span<const Bytes> bytes() const { return const_views_; }

 private:
  AlignedBuffer memory_;
  std::vector<MutableBytes> views_;
  std::vector<Bytes> const_views_;
};

}  // namespace reprise::e2e
