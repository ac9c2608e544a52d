#include "bench/layout/paged_rig.h"

#include <algorithm>
#include <span>
#include <utility>

#include "bench/harness/machine.h"
#include "layout/moves.h"

namespace reprise::bench {

std::string PagedShape::text() const {
  std::string text = gather ? "gather " : "scatter ";
  text += std::to_string(piece >> 10) + " KiB x " + std::to_string(layers) + " layers, " + std::to_string(batch) +
          (batch == 1 ? " block a call" : " blocks a call");
  return threads == 1 ? text : text + ", " + std::to_string(threads) + " threads";
}

Result<std::unique_ptr<PagedRig>> PagedRig::create(const PagedShape& shape) {
  const std::size_t block = shape.piece * shape.layers;
  const std::size_t side = shape.quick ? 8ULL << 20 : 4 * llc_bytes();
  const std::size_t batches = std::max<std::size_t>(2, side / (block * shape.batch));
  const std::size_t blocks = batches * shape.batch;
  auto tensors = std::make_unique<Buffer>(blocks * block);
  std::vector<TensorView> layers;
  const auto count = static_cast<std::int64_t>(blocks);
  const auto bytes = static_cast<std::int64_t>(shape.piece);
  for (std::size_t l = 0; l < shape.layers; ++l) {
    layers.push_back({tensors->data() + l * blocks * shape.piece, 1, {count, bytes}, {bytes, 1}, 0});
  }
  Result<BlockPieces> pieces = BlockPieces::of(layers);
  if (!pieces) return std::unexpected(pieces.error());
  std::unique_ptr<PagedRig> rig(new PagedRig(shape, blocks, std::move(tensors), *std::move(pieces)));
  if (Result<void> done = rig->pass(nullptr); !done) return std::unexpected(done.error());
  if (Result<void> good = rig->check(); !good) return std::unexpected(good.error());
  return rig;
}

PagedRig::PagedRig(const PagedShape& shape, std::size_t blocks, std::unique_ptr<Buffer> tensors, BlockPieces pieces)
    : shape_(shape),
      blocks_(blocks),
      tensors_(std::move(tensors)),
      pieces_(std::move(pieces)),
      cache_(blocks * pieces_.block_bytes()) {
  const std::size_t block = pieces_.block_bytes();
  for (const std::size_t id : shuffled(blocks, 3)) ids_.push_back(static_cast<std::uint32_t>(id));
  for (const std::size_t place : shuffled(blocks, 4)) {
    writable_.push_back(cache_.slice(place, block));
    readable_.push_back(writable_.back());
  }
  for (std::size_t i = 0; i < blocks; ++i) {
    std::byte* cached = writable_[i].data();
    std::byte* whole = tensors_->data() + ids_[i] * block;
    whole_ops_.push_back(shape.gather ? CopyOp{cached, whole, block} : CopyOp{whole, cached, block});
    for (const BlockPieces::Piece& piece : pieces_.pieces()) {
      std::byte* paged = piece.of_block(ids_[i]);
      ops_.push_back(shape.gather ? CopyOp{cached, paged, piece.bytes} : CopyOp{paged, cached, piece.bytes});
      cached += piece.bytes;
    }
  }
  for (std::size_t i = 0; i < ops_.size(); ++i) {
    auto* from = const_cast<std::byte*>(ops_[i].from);  // NOLINT: both sides are ours
    write_pattern({from, ops_[i].size}, i);
  }
}

Result<void> PagedRig::check() {
  for (std::size_t i = 0; i < ops_.size(); ++i) {
    if (!has_pattern({ops_[i].to, ops_[i].size}, i)) return fail(ErrorCode::kInternal, "a piece came with wrong bytes");
  }
  return {};
}

Result<void> PagedRig::pass(std::vector<double>* latency_us) {
  for (std::size_t first = 0; first < blocks_; first += shape_.batch) {
    const auto ids = std::span(ids_).subspan(first, shape_.batch);
    const double start = latency_us ? seconds() : 0;
    const Result<std::size_t> moved =
        shape_.gather ? gather(pieces_, ids, std::span(writable_).subspan(first, shape_.batch), shape_.threads)
                      : scatter(pieces_, ids, std::span(readable_).subspan(first, shape_.batch), shape_.threads);
    if (latency_us) latency_us->push_back((seconds() - start) * 1e6);
    if (!moved) return std::unexpected(moved.error());
  }
  return {};
}

}  // namespace reprise::bench
