#include "layout/moves.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

namespace reprise {
namespace {

constexpr std::byte kUntouched{0xEE};

std::vector<std::byte> numbered(std::size_t size, unsigned seed) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>((i * 7 + i / 251 + seed) % 251);
  return bytes;
}

// Layers [2, blocks, length] of bytes: two pieces a layer.
struct Layers {
  Layers(std::size_t count, std::size_t blocks_each, std::size_t bytes) : blocks(blocks_each), length(bytes) {
    std::vector<TensorView> views;
    for (std::size_t l = 0; l < count; ++l) {
      memory.push_back(numbered(2 * blocks * length, static_cast<unsigned>(l)));
      const auto n = static_cast<std::int64_t>(blocks);
      const auto size = static_cast<std::int64_t>(length);
      views.push_back({memory.back().data(), 1, {2, n, size}, {n * size, size, 1}, 1});
    }
    pieces.emplace(BlockPieces::of(views).value());
  }

  // What the recipe should give, computed another way.
  [[nodiscard]] std::vector<std::byte> block(std::size_t id) const {
    std::vector<std::byte> out;
    for (const auto& layer : memory) {
      for (std::size_t half = 0; half < 2; ++half) {
        const auto from = layer.begin() + static_cast<std::ptrdiff_t>((half * blocks + id) * length);
        out.insert(out.end(), from, from + static_cast<std::ptrdiff_t>(length));
      }
    }
    return out;
  }

  std::size_t blocks, length;
  std::vector<std::vector<std::byte>> memory;
  std::optional<BlockPieces> pieces;
};

// Blocks in one buffer with untouchable bytes around each: what is written outside shows.
struct Fenced {
  static constexpr std::size_t kFence = 67;  // so that blocks are not aligned
  Fenced(std::size_t count, std::size_t each) : size(each), bytes(count * (each + kFence) + kFence, kUntouched) {
    for (std::size_t i = 0; i < count; ++i) blocks.emplace_back(bytes.data() + kFence + i * (size + kFence), size);
  }
  [[nodiscard]] bool fences_hold() const {
    for (std::size_t at = 0; at < bytes.size(); at += size + kFence) {
      for (std::size_t i = 0; i < kFence; ++i) {
        if (bytes[at + i] != kUntouched) return false;
      }
    }
    return true;
  }
  std::size_t size;
  std::vector<std::byte> bytes;
  std::vector<MutableBytes> blocks;
};

std::vector<Bytes> readable(const std::vector<MutableBytes>& blocks) {
  return {blocks.begin(), blocks.end()};
}

bool equal(Bytes a, const std::vector<std::byte>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), b.size()) == 0;
}

class Moves : public testing::TestWithParam<std::size_t> {};  // the length of a piece

TEST_P(Moves, GatherGivesEachBlockInOrder) {
  const Layers layers(3, 6, GetParam());
  Fenced out(4, layers.pieces->block_bytes());
  const std::vector<std::uint32_t> ids{5, 0, 3, 0};
  ASSERT_EQ(gather(*layers.pieces, ids, out.blocks).value(), 4);
  for (std::size_t i = 0; i < ids.size(); ++i) EXPECT_TRUE(equal(out.blocks[i], layers.block(ids[i]))) << i;
  EXPECT_TRUE(out.fences_hold());
}

TEST_P(Moves, ScatterWritesThoseBlocksAndNoOthers) {
  Layers layers(3, 6, GetParam());
  const Layers before(3, 6, GetParam());
  Fenced in(2, layers.pieces->block_bytes());
  const std::vector<std::uint32_t> ids{4, 1};
  std::vector<std::vector<std::byte>> wanted;
  for (unsigned i = 0; i < 2; ++i) {
    wanted.push_back(numbered(in.size, 100 + i));
    std::memcpy(in.blocks[i].data(), wanted[i].data(), in.size);
  }
  ASSERT_EQ(scatter(*layers.pieces, ids, readable(in.blocks)).value(), 2);
  for (std::size_t id = 0; id < 6; ++id) {
    const auto expected = id == 4 ? wanted[0] : id == 1 ? wanted[1] : before.block(id);
    EXPECT_EQ(layers.block(id), expected) << id;
  }
}

// Odd ones, and both sides of where copies bypass the cache.
INSTANTIATE_TEST_SUITE_P(Lengths, Moves, testing::Values(1, 3, 64, 4096, 16383, 16384, 20001));

TEST(MovesChecks, RefusesBeforeItCopies) {
  Layers layers(1, 6, 64);
  Fenced out(2, layers.pieces->block_bytes());
  const auto refused = [&](std::vector<std::uint32_t> ids, std::vector<MutableBytes> blocks) {
    const auto gathered = gather(*layers.pieces, ids, blocks);
    const auto scattered = scatter(*layers.pieces, ids, readable(blocks));
    if (gathered || scattered) return std::string("not refused");
    EXPECT_EQ(gathered.error().code, ErrorCode::kInvalid);
    EXPECT_EQ(gathered.error().message, scattered.error().message);
    return gathered.error().message;
  };
  EXPECT_EQ(refused({0, 6}, out.blocks), "block_ids[1] is 6; there are 6 blocks");
  EXPECT_EQ(refused({0, UINT32_MAX}, out.blocks), "block_ids[1] is 4294967295; there are 6 blocks");
  EXPECT_EQ(refused({0}, out.blocks), "1 block ids but 2 blocks");
  EXPECT_EQ(refused({0, 1}, {out.blocks[0], out.blocks[1].first(127)}),
            "block 1 has 127 bytes; one of these tensors has 128");
  EXPECT_EQ(refused({0, 6}, {out.blocks[0], {}}), "block_ids[1] is 6; there are 6 blocks");
  EXPECT_EQ(out.bytes, std::vector<std::byte>(out.bytes.size(), kUntouched));
  EXPECT_EQ(layers.block(0), Layers(1, 6, 64).block(0));
}

TEST(MovesChecks, EmptyBlocksArePassedOver) {
  const Layers layers(1, 6, 64);
  Fenced out(3, layers.pieces->block_bytes());
  const std::vector<std::uint32_t> ids{1, 2, 3};
  ASSERT_EQ(gather(*layers.pieces, ids, std::vector<MutableBytes>{out.blocks[0], {}, out.blocks[2]}).value(), 2);
  EXPECT_TRUE(equal(out.blocks[0], layers.block(1)));
  EXPECT_EQ(out.blocks[1][0], kUntouched);
  EXPECT_TRUE(equal(out.blocks[2], layers.block(3)));
  EXPECT_EQ(gather(*layers.pieces, {}, {}).value(), 0);
}

TEST(MovesChecks, TheSameTensorTwiceIsTwoPieces) {
  std::vector<std::byte> memory = numbered(64, 0);
  const TensorView view{memory.data(), 1, {4, 16}, {16, 1}, 0};
  const std::vector<TensorView> twice{view, view};
  const BlockPieces pieces = BlockPieces::of(twice).value();
  ASSERT_EQ(pieces.block_bytes(), 32);
  std::vector<std::byte> block(32);
  const std::vector<std::uint32_t> ids{2};
  ASSERT_TRUE(gather(pieces, ids, std::vector<MutableBytes>{block}));
  EXPECT_EQ(std::memcmp(block.data(), block.data() + 16, 16), 0);
  EXPECT_EQ(std::memcmp(block.data(), memory.data() + 32, 16), 0);
  block = numbered(32, 9);
  ASSERT_TRUE(scatter(pieces, ids, std::vector<Bytes>{block}));
  EXPECT_EQ(std::memcmp(memory.data() + 32, block.data() + 16, 16), 0) << "the later piece stays";
}

TEST(MovesThreads, ManyThreadsMoveWhatOneDoes) {
  // 36 MiB: enough for four threads to have something to do.
  Layers layers(2, 40, 256 << 10);
  const std::size_t count = 36;
  Fenced out(count, layers.pieces->block_bytes());
  std::vector<std::uint32_t> ids(count);
  std::iota(ids.rbegin(), ids.rend(), 2);
  ASSERT_EQ(gather(*layers.pieces, ids, out.blocks, 4).value(), count);
  for (std::size_t i = 0; i < count; ++i) ASSERT_TRUE(equal(out.blocks[i], layers.block(ids[i]))) << i;
  EXPECT_TRUE(out.fences_hold());
  for (auto& layer : layers.memory) std::memset(layer.data(), 0, layer.size());
  ASSERT_EQ(scatter(*layers.pieces, ids, readable(out.blocks), 1000).value(), count);
  for (std::size_t i = 0; i < count; ++i) ASSERT_TRUE(equal(out.blocks[i], layers.block(ids[i]))) << i;
}

TEST(MovesThreads, AnIdThatIsThereTwiceKeepsTheLaterBlock) {
  Layers layers(1, 4, 8 << 20);
  std::vector<std::byte> first(layers.pieces->block_bytes(), std::byte{1});
  std::vector<std::byte> second(layers.pieces->block_bytes(), std::byte{2});
  const std::vector<std::uint32_t> ids{3, 3};
  ASSERT_TRUE(scatter(*layers.pieces, ids, std::vector<Bytes>{first, second}, 2));
  EXPECT_EQ(layers.block(3), second);
}

}  // namespace
}  // namespace reprise
