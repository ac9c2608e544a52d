#include "layout/block_pieces.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

namespace reprise {
namespace {

// Never dereferenced here: a recipe only computes addresses.
std::byte* at(std::uintptr_t address) {
  return reinterpret_cast<std::byte*>(address);
}

TensorView contiguous(std::vector<std::int64_t> shape, std::size_t block_dim, std::size_t item = 2,
                      std::uintptr_t address = 0x10000) {
  std::vector<std::int64_t> stride(shape.size());
  std::int64_t step = 1;
  for (std::size_t d = shape.size(); d-- > 0; step *= shape[d]) stride[d] = step;
  return {at(address), item, std::move(shape), std::move(stride), block_dim};
}

// "offset+length/stride" of each piece, offsets from 0x10000.
std::string text_of(const Result<BlockPieces>& pieces) {
  if (!pieces) return pieces.error().message;
  std::string text;
  for (const auto& piece : pieces->pieces()) {
    text += (text.empty() ? "" : " ") + std::to_string(piece.base - at(0x10000)) + "+" + std::to_string(piece.bytes) +
            "/" + std::to_string(piece.stride);
  }
  return text;
}

Result<BlockPieces> pieces_of(std::vector<TensorView> tensors, PieceOrder order = PieceOrder::kLogical) {
  return BlockPieces::of(tensors, order);
}

TEST(BlockPieces, ABlockOfAContiguousLayerIsOnePiece) {
  const auto pieces = pieces_of({contiguous({512, 2, 32, 64}, 0, 4)});
  ASSERT_TRUE(pieces) << pieces.error().message;
  EXPECT_EQ(text_of(pieces), "0+16384/16384");
  EXPECT_EQ(pieces->block_bytes(), 16384);
  EXPECT_EQ(pieces->num_blocks(), 512);
  EXPECT_EQ(pieces->pieces()[0].of_block(3), at(0x10000 + 3 * 16384));
}

TEST(BlockPieces, KeysAndValuesApartAreTwo) {
  EXPECT_EQ(text_of(pieces_of({contiguous({2, 10, 4, 8}, 1)})), "0+64/64 640+64/64");
}

TEST(BlockPieces, LayersBetweenBlocksMergeIntoOne) {
  // [blocks 10, layers 3, 8] of 2 bytes, as three layers.
  std::vector<TensorView> layers;
  for (std::uintptr_t l = 0; l < 3; ++l) layers.push_back({at(0x10000 + 16 * l), 2, {10, 8}, {24, 1}, 0});
  EXPECT_EQ(text_of(pieces_of(layers)), "0+48/48");
  std::swap(layers[0], layers[1]);
  EXPECT_EQ(text_of(pieces_of(layers)), "16+16/48 0+16/48 32+16/48") << "the order is the caller's";
}

TEST(BlockPieces, LayersOneAfterTheOtherDoNot) {
  const auto pieces = pieces_of({contiguous({10, 8}, 0), contiguous({10, 8}, 0, 2, 0x10000 + 160)});
  EXPECT_EQ(text_of(pieces), "0+16/16 160+16/16");
  EXPECT_EQ(pieces->block_bytes(), 32);
}

TEST(BlockPieces, NeighboursInOneBlockThatPartInTheNextStayApart) {
  const TensorView left{at(0x10000), 2, {4, 8}, {16, 1}, 0};
  const TensorView right{at(0x10000 + 16), 2, {4, 8}, {32, 1}, 0};
  EXPECT_EQ(text_of(pieces_of({left, right})), "0+16/32 16+16/64");
}

TEST(BlockPieces, PermutedDimensionsAreManyInLogicalOrderAndOneInMemoryOrder) {
  // Shape [blocks 5, tokens 4, heads 2, 8], in memory [blocks, heads, tokens, 8].
  const TensorView view{at(0x10000), 2, {5, 4, 2, 8}, {64, 8, 32, 1}, 0};
  EXPECT_EQ(text_of(pieces_of({view})),
            "0+16/128 64+16/128 16+16/128 80+16/128 32+16/128 96+16/128 48+16/128 112+16/128");
  EXPECT_EQ(text_of(pieces_of({view}, PieceOrder::kMemory)), "0+128/128");
}

TEST(BlockPieces, GapsAndBackwardStrides) {
  // Every second row of 8 items, backwards.
  const TensorView rows{at(0x10000 + 96), 1, {3, 4, 8}, {128, -32, 1}, 0};
  EXPECT_EQ(text_of(pieces_of({rows})), "96+8/128 64+8/128 32+8/128 0+8/128");
  EXPECT_EQ(text_of(pieces_of({rows}, PieceOrder::kMemory)), "0+8/128 32+8/128 64+8/128 96+8/128");
  // The blocks themselves backwards.
  const TensorView blocks{at(0x10000 + 160), 1, {3, 8}, {-80, 1}, 0};
  const auto pieces = pieces_of({blocks});
  EXPECT_EQ(text_of(pieces), "160+8/-80");
  EXPECT_EQ(pieces->pieces()[0].of_block(2), at(0x10000));
}

TEST(BlockPieces, TheInnermostDimensionMayBeTheBlocks) {
  EXPECT_EQ(text_of(pieces_of({contiguous({3, 7}, 1, 4)})), "0+4/4 28+4/4 56+4/4");
}

TEST(BlockPieces, SizesOfOneDoNotMatter) {
  const TensorView view{at(0x10000), 2, {5, 1, 4, 1, 8}, {32, 12345, 8, -7, 1}, 0};
  EXPECT_EQ(text_of(pieces_of({view})), "0+64/64");
  EXPECT_EQ(text_of(pieces_of({contiguous({7}, 0, 2)})), "0+2/2") << "an element a block";
}

TEST(BlockPieces, SignatureSaysTheOrderAndNothingElse) {
  const auto signature = [](std::vector<TensorView> tensors, PieceOrder order) {
    return pieces_of(std::move(tensors), order).value().signature();
  };
  const auto logical = PieceOrder::kLogical;
  const auto memory = PieceOrder::kMemory;
  EXPECT_EQ(signature({contiguous({9, 4, 2, 8}, 0)}, logical), "1x[4,2,8]*2");
  EXPECT_EQ(signature({contiguous({5, 4, 2, 8}, 0), contiguous({5, 4, 2, 8}, 0), contiguous({5, 8}, 0)}, memory),
            "2x[4,2,8]*2+1x[8]*2");
  const TensorView permuted{at(0x10000), 2, {5, 4, 2, 8}, {64, 8, 32, 1}, 0};
  EXPECT_EQ(signature({permuted}, logical), "1x[4,2,8]*2") << "the same bytes as the contiguous one";
  EXPECT_EQ(signature({permuted}, memory), "1x[4,2,8]*2@1.0.2");
  const TensorView backwards{at(0x10000 + 96), 1, {3, 4, 8}, {128, -32, 1}, 0};
  EXPECT_EQ(signature({backwards}, memory), "1x[4,8]*1~0");
}

TEST(BlockPieces, SignaturesOfManyTensorsStayShort) {
  std::vector<TensorView> tensors;
  for (std::int64_t i = 0; i < 1000; ++i) tensors.push_back(contiguous({4, 8 + i % 2}, 0));
  const std::string many = pieces_of(tensors).value().signature();
  EXPECT_EQ(many.substr(0, 19), "1000 tensors, XXH3 ");
  EXPECT_EQ(pieces_of(tensors).value().signature(), many);
  tensors.back() = contiguous({4, 10}, 0);
  EXPECT_NE(pieces_of(tensors).value().signature(), many);
}

TEST(BlockPieces, RefusesWhatCannotBe) {
  const auto refused = [](const TensorView& view) { return text_of(pieces_of({contiguous({8, 4}, 0), view})); };
  EXPECT_EQ(text_of(pieces_of({})), "there are no tensors");
  EXPECT_EQ(refused(contiguous({9, 4}, 0)), "tensor 1: 9 blocks; those before it have 8");
  EXPECT_EQ(refused(contiguous({8, 4}, 2)), "tensor 1: the block dimension is 2 of 2 dimensions");
  EXPECT_EQ(refused(contiguous({8, 0}, 0)), "tensor 1: a dimension of size 0");
  EXPECT_EQ(refused(contiguous({8, 4}, 0, 0)), "tensor 1: an element of 0 bytes; must be 1 to 64");
  EXPECT_EQ(refused({at(0x10000), 2, {8, 4}, {4}, 0}), "tensor 1: 2 sizes but 1 strides");
  EXPECT_EQ(refused({nullptr, 2, {8, 4}, {4, 1}, 0}), "tensor 1: has no memory");
}

TEST(BlockPieces, RefusesElementsThatOverlap) {
  const auto refused = [](std::vector<std::int64_t> shape, std::vector<std::int64_t> stride) {
    const auto pieces = pieces_of({{at(0x10000), 1, std::move(shape), std::move(stride), 0}});
    return !pieces && pieces.error().message.find("overlap") != std::string::npos;
  };
  EXPECT_TRUE(refused({8, 4}, {0, 1})) << "all blocks are one";
  EXPECT_TRUE(refused({8, 4}, {3, 1})) << "a block ends in the next";
  EXPECT_TRUE(refused({8, 4}, {-3, 1}));
  EXPECT_TRUE(refused({8, 4, 4}, {16, 0, 1}));
  EXPECT_FALSE(refused({8, 4}, {4, 1}));
  EXPECT_FALSE(refused({1, 4}, {0, 1}));
}

TEST(BlockPieces, RefusesSizesThatOverflow) {
  const std::int64_t huge = std::int64_t{1} << 40;
  EXPECT_FALSE(pieces_of({contiguous({2, huge, 1 << 16}, 0)}));
  EXPECT_FALSE(pieces_of({contiguous({huge, 2}, 0)})) << "more blocks than ids";
  EXPECT_FALSE(pieces_of({{at(0x10000), 8, {2, 2}, {INT64_MAX, 1}, 0}}));
  EXPECT_FALSE(pieces_of({{at(0x10000), 8, {2, 2}, {INT64_MIN, 1}, 0}}));
  EXPECT_FALSE(pieces_of({{at(0x10000), 8, {2, INT64_MAX}, {1, 2}, 0}}));
}

TEST(BlockPieces, RefusesMorePiecesThanTheLimit) {
  const auto limit = static_cast<std::int64_t>(BlockPieces::kMaxPieces);
  EXPECT_EQ(pieces_of({contiguous({limit, 3}, 1)}).value().pieces().size(), BlockPieces::kMaxPieces);
  const auto refused = pieces_of({contiguous({limit + 1, 3}, 1)});
  EXPECT_NE(text_of(refused).find("more than 65536 pieces"), std::string::npos);
  EXPECT_FALSE(pieces_of({contiguous({limit / 2, 3}, 1), contiguous({limit, 3}, 1, 2, 0x90000000)}))
      << "of all tensors together";
}

}  // namespace
}  // namespace reprise
