// An engine's paged tensors and a cache's blocks, both several times the last-level cache, every page touched.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bench/fixture/copy_limit.h"
#include "bench/fixture/fixture.h"
#include "layout/block_pieces.h"

namespace reprise::bench {

struct PagedShape {
  std::size_t piece = 0;   ///< Bytes: a layer's part of a block.
  std::size_t layers = 0;  ///< Pieces a block.
  std::size_t batch = 0;   ///< Blocks a call.
  bool gather = true;      ///< Else scatter.
  std::size_t threads = 1;
  bool quick = false;
  [[nodiscard]] std::string text() const;  ///< "gather 32 KiB x 32 layers, 8 blocks a call".
};

/// One thread drives it. Blocks are moved in a shuffled order, from and to places that have nothing to do with each
/// other, as after an engine has run for a while.
class PagedRig {
 public:
  static Result<std::unique_ptr<PagedRig>> create(const PagedShape& shape);

  /// Moves every block once, `batch` a call. The time of each call is noted where `latency_us` is not null.
  [[nodiscard]] Result<void> pass(std::vector<double>* latency_us);
  /// The copies a pass makes, in its order.
  [[nodiscard]] const std::vector<CopyOp>& ops() const { return ops_; }
  /// The same bytes, whole blocks at a time, contiguous on both sides.
  [[nodiscard]] const std::vector<CopyOp>& whole_ops() const { return whole_ops_; }
  [[nodiscard]] std::size_t bytes() const { return blocks_ * pieces_.block_bytes(); }

 private:
  PagedRig(const PagedShape& shape, std::size_t blocks, std::unique_ptr<Buffer> tensors, BlockPieces pieces);
  [[nodiscard]] Result<void> check();

  PagedShape shape_;
  std::size_t blocks_;
  std::unique_ptr<Buffer> tensors_;
  BlockPieces pieces_;
  Buffer cache_;
  std::vector<std::uint32_t> ids_;      // of engine blocks, shuffled
  std::vector<MutableBytes> writable_;  // of the cache, shuffled otherwise
  std::vector<Bytes> readable_;
  std::vector<CopyOp> ops_, whole_ops_;
};

}  // namespace reprise::bench
