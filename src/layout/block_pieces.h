// Where the bytes of one engine block lie: the recipe by which a block is gathered from an engine's paged KV tensors
// and scattered back into them.
//
// An engine keeps a block's KV in several tensors (one a layer, often), each with one dimension that counts blocks.
// What is contiguous in them is one piece; a piece lies at the same place of every block. Immutable once made: any
// thread. The tensors' memory belongs to the caller and outlives this.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "reprise/status.h"

namespace reprise {

/// A tensor in memory of this process, with the dimension that counts blocks.
struct TensorView {
  std::byte* data = nullptr;         ///< Of the element at index 0 of every dimension.
  std::size_t item_bytes = 0;        ///< Of one element.
  std::vector<std::int64_t> shape;   ///< One size a dimension.
  std::vector<std::int64_t> stride;  ///< In elements, one a dimension; may be negative.
  std::size_t block_dim = 0;         ///< Which dimension counts blocks.
};

/// The order of a tensor's bytes within a block.
enum class PieceOrder : std::uint8_t {
  kLogical,  ///< Index by index, the last dimension fastest, whatever the strides are.
  kMemory,   ///< As they lie in memory: fewer and longer pieces where dimensions are permuted.
};

class BlockPieces {
 public:
  struct Piece {
    std::byte* base = nullptr;  ///< In block 0.
    std::ptrdiff_t stride = 0;  ///< Bytes from a block to the next.
    std::size_t bytes = 0;      ///< Length.
    [[nodiscard]] std::byte* of_block(std::uint32_t id) const {
      return base + static_cast<std::ptrdiff_t>(id) * stride;
    }
  };

  /// More than these a block would be copied a few bytes at a time, and the recipe itself would be large.
  static constexpr std::size_t kMaxPieces = 1 << 16;

  /// The tensors' pieces one tensor after the other; what is adjacent is merged, across tensors too. kInvalid, with the
  /// tensor's number, for tensors that disagree on how many blocks there are, that are empty, whose elements overlap,
  /// or that are cut into more than kMaxPieces.
  static Result<BlockPieces> of(std::span<const TensorView> tensors, PieceOrder order = PieceOrder::kLogical);

  [[nodiscard]] std::span<const Piece> pieces() const { return pieces_; }
  /// Of one block over all tensors.
  [[nodiscard]] std::uint64_t block_bytes() const { return block_bytes_; }
  [[nodiscard]] std::uint32_t num_blocks() const { return num_blocks_; }
  /// What the order of the bytes in a block follows from, as text: two recipes of the same signature may exchange
  /// blocks if their tensors mean the same. Independent of addresses and of how many blocks there are; at most 4096
  /// bytes, the value of a namespace's extra.
  [[nodiscard]] const std::string& signature() const { return signature_; }

 private:
  BlockPieces() = default;

  std::vector<Piece> pieces_;
  std::uint64_t block_bytes_ = 0;
  std::uint32_t num_blocks_ = 0;
  std::string signature_;
};

}  // namespace reprise
