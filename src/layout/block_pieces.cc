#include "layout/block_pieces.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <utility>

#include "base/kernels.h"

namespace reprise {
namespace {

// Far beyond any memory, and far from where sums of a few of them overflow.
constexpr std::int64_t kMaxExtent = std::int64_t{1} << 56;
constexpr std::uint64_t kMaxBlockBytes = std::uint64_t{1} << 56;
// So that a namespace takes it for an extra.
constexpr std::size_t kMaxSignature = 4096;

struct Dim {
  std::int64_t size;
  std::int64_t stride;  // bytes
};

// A tensor without its block dimension and without dimensions of size 1, in the order of the block's bytes.
struct Inner {
  std::byte* base;
  std::int64_t block_stride;
  std::vector<Dim> dims;
  std::string signature;
};

std::string name_of(std::size_t tensor) {
  return "tensor " + std::to_string(tensor) + ": ";
}

// a * b, or kMaxExtent where it is more.
std::int64_t bounded_product(std::int64_t a, std::int64_t b) {
  std::int64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) || product > kMaxExtent ? kMaxExtent : product;
}

Result<void> check_shape(const TensorView& tensor, const std::string& name) {
  if (tensor.data == nullptr) return fail(ErrorCode::kInvalid, name + "has no memory");
  if (tensor.item_bytes == 0 || tensor.item_bytes > 64) {
    return fail(ErrorCode::kInvalid,
                name + "an element of " + std::to_string(tensor.item_bytes) + " bytes; must be 1 to 64");
  }
  if (tensor.shape.size() != tensor.stride.size()) {
    return fail(ErrorCode::kInvalid, name + std::to_string(tensor.shape.size()) + " sizes but " +
                                         std::to_string(tensor.stride.size()) + " strides");
  }
  if (tensor.block_dim >= tensor.shape.size()) {
    return fail(ErrorCode::kInvalid, name + "the block dimension is " + std::to_string(tensor.block_dim) + " of " +
                                         std::to_string(tensor.shape.size()) + " dimensions");
  }
  for (const std::int64_t size : tensor.shape) {
    if (size < 1) return fail(ErrorCode::kInvalid, name + "a dimension of size " + std::to_string(size));
  }
  if (tensor.shape[tensor.block_dim] > std::numeric_limits<std::uint32_t>::max()) {
    return fail(ErrorCode::kInvalid, name + "more than 2^32 - 1 blocks");
  }
  return {};
}

// Each element has memory of its own, as far as nested strides show it: every dimension steps over all that is below
// it. Others (two blocks that share bytes, dimensions that interleave) are no engine's.
Result<void> check_strides(const TensorView& tensor, const std::string& name) {
  std::vector<Dim> dims;
  for (std::size_t d = 0; d < tensor.shape.size(); ++d) {
    const std::int64_t stride = tensor.stride[d];
    if (stride < -kMaxExtent || stride > kMaxExtent) return fail(ErrorCode::kInvalid, name + "a stride is too large");
    if (tensor.shape[d] > 1) {
      const auto item = static_cast<std::int64_t>(tensor.item_bytes);
      dims.push_back({tensor.shape[d], bounded_product(std::abs(stride), item)});
    }
  }
  std::ranges::sort(dims, {}, &Dim::stride);
  auto extent = static_cast<std::int64_t>(tensor.item_bytes);
  for (const Dim& dim : dims) {
    if (dim.stride < extent) {
      return fail(ErrorCode::kInvalid, name + "elements overlap: a dimension of size " + std::to_string(dim.size) +
                                           " steps " + std::to_string(dim.stride) + " bytes over " +
                                           std::to_string(extent));
    }
    extent += bounded_product(dim.size - 1, dim.stride);
    if (extent >= kMaxExtent) return fail(ErrorCode::kInvalid, name + "reaches over more memory than there is");
  }
  return {};
}

// By descending stride, all of them ascending in memory. Tells the signature where that is not the logical order.
void order_by_memory(std::vector<std::pair<std::size_t, Dim>>& dims, Inner& inner) {
  for (auto& [number, dim] : dims) {
    if (dim.stride >= 0) continue;
    inner.base += (dim.size - 1) * dim.stride;
    dim.stride = -dim.stride;
    inner.signature += "~" + std::to_string(number);
  }
  const auto longer = [](const auto& a, const auto& b) { return a.second.stride > b.second.stride; };
  if (std::ranges::is_sorted(dims, longer)) return;
  std::ranges::sort(dims, longer);  // No two are equal: elements do not overlap.
  inner.signature += "@";
  for (const auto& [number, dim] : dims) inner.signature += std::to_string(number) + ".";
  inner.signature.pop_back();
}

Inner inner_of(const TensorView& tensor, PieceOrder order) {
  const auto item = static_cast<std::int64_t>(tensor.item_bytes);
  Inner inner{tensor.data, tensor.stride[tensor.block_dim] * item, {}, "["};
  std::vector<std::pair<std::size_t, Dim>> dims;  // with the number each has in the signature
  for (std::size_t d = 0; d < tensor.shape.size(); ++d) {
    if (d == tensor.block_dim || tensor.shape[d] == 1) continue;
    inner.signature += (dims.empty() ? "" : ",") + std::to_string(tensor.shape[d]);
    dims.push_back({dims.size(), {tensor.shape[d], tensor.stride[d] * item}});
  }
  inner.signature += "]*" + std::to_string(item);
  if (order == PieceOrder::kMemory) order_by_memory(dims, inner);
  for (const auto& [number, dim] : dims) inner.dims.push_back(dim);
  // Dimensions that follow each other without a gap are one.
  for (std::size_t d = inner.dims.size(); d-- > 1;) {
    Dim& outer = inner.dims[d - 1];
    if (outer.stride != inner.dims[d].stride * inner.dims[d].size) continue;
    outer = {outer.size * inner.dims[d].size, inner.dims[d].stride};
    inner.dims.erase(inner.dims.begin() + static_cast<std::ptrdiff_t>(d));
  }
  return inner;
}

void append(std::vector<BlockPieces::Piece>& pieces, const BlockPieces::Piece& piece) {
  if (!pieces.empty()) {
    BlockPieces::Piece& last = pieces.back();
    if (last.stride == piece.stride && last.base + last.bytes == piece.base) {
      last.bytes += piece.bytes;
      return;
    }
  }
  pieces.push_back(piece);
}

// False when there would be more than `room` of them.
bool append_all(std::vector<BlockPieces::Piece>& pieces, Inner inner, std::int64_t item, std::size_t room) {
  std::int64_t bytes = item;
  if (!inner.dims.empty() && inner.dims.back().stride == item) {
    bytes *= inner.dims.back().size;
    inner.dims.pop_back();
  }
  std::int64_t count = 1;
  for (const Dim& dim : inner.dims) count = bounded_product(count, dim.size);
  if (std::cmp_greater(count, room)) return false;
  std::vector<std::int64_t> index(inner.dims.size(), 0);
  std::byte* at = inner.base;
  for (std::int64_t n = 0; n < count; ++n) {
    append(pieces, {at, static_cast<std::ptrdiff_t>(inner.block_stride), static_cast<std::size_t>(bytes)});
    for (std::size_t d = index.size(); d-- > 0;) {
      at += inner.dims[d].stride;
      if (++index[d] < inner.dims[d].size) break;
      at -= inner.dims[d].stride * inner.dims[d].size;
      index[d] = 0;
    }
  }
  return true;
}

// "2xA+1xB" for A, A, B: layers are alike.
std::string joined(const std::vector<std::string>& signatures) {
  std::string text;
  for (std::size_t i = 0; i < signatures.size();) {
    std::size_t end = i;
    while (end < signatures.size() && signatures[end] == signatures[i]) ++end;
    text += (i == 0 ? "" : "+") + std::to_string(end - i) + "x" + signatures[i];
    i = end;
  }
  if (text.size() <= kMaxSignature) return text;
  return std::to_string(signatures.size()) + " tensors, XXH3 " +
         std::to_string(checksum(std::as_bytes(std::span(text.data(), text.size()))));
}

}  // namespace

Result<BlockPieces> BlockPieces::of(std::span<const TensorView> tensors, PieceOrder order) {
  if (tensors.empty()) return fail(ErrorCode::kInvalid, "there are no tensors");
  BlockPieces out;
  std::vector<std::string> signatures;
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    const TensorView& tensor = tensors[t];
    const std::string name = name_of(t);
    if (auto good = check_shape(tensor, name); !good) return std::unexpected(good.error());
    if (auto good = check_strides(tensor, name); !good) return std::unexpected(good.error());
    const auto blocks = static_cast<std::uint32_t>(tensor.shape[tensor.block_dim]);
    if (t != 0 && blocks != out.num_blocks_) {
      return fail(ErrorCode::kInvalid,
                  name + std::to_string(blocks) + " blocks; those before it have " + std::to_string(out.num_blocks_));
    }
    out.num_blocks_ = blocks;
    Inner inner = inner_of(tensor, order);
    signatures.push_back(std::move(inner.signature));
    if (!append_all(out.pieces_, std::move(inner), static_cast<std::int64_t>(tensor.item_bytes),
                    kMaxPieces - out.pieces_.size())) {
      return fail(ErrorCode::kInvalid, name + "a block would be cut into more than " + std::to_string(kMaxPieces) +
                                           " pieces: too much of it is not contiguous");
    }
  }
  for (const Piece& piece : out.pieces_) {
    out.block_bytes_ += piece.bytes;
    if (out.block_bytes_ > kMaxBlockBytes) return fail(ErrorCode::kInvalid, "a block would be larger than any memory");
  }
  out.signature_ = joined(signatures);
  return out;
}

}  // namespace reprise
