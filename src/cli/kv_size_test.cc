#include "cli/kv_size.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace reprise::cli {
namespace {

using ::testing::HasSubstr;

constexpr std::uint64_t kKiB = 1024;

// 32 layers, 8 KV heads of 128: a model of 8 billion parameters.
ModelShape grouped() {
  ModelShape shape;
  shape.dtype = "bfloat16";
  shape.full_layers = 32;
  shape.kv_heads = 8;
  shape.head_width = 256;
  return shape;
}

KvSize size_of(const ModelShape& shape, const Deployment& deployment) {
  const auto size = kv_size(shape, deployment);
  EXPECT_TRUE(size) << size.error().message;
  return size.value_or(KvSize{});
}

TEST(KvSize, OfOneRank) {
  const KvSize size = size_of(grouped(), {});
  EXPECT_EQ(size.token_bytes, 128 * kKiB);
  EXPECT_EQ(size.rank_token_bytes, 128 * kKiB);
  EXPECT_EQ(size.block_bytes, 2048 * kKiB);
  EXPECT_EQ(size.dtype, "bfloat16");
}

TEST(KvSize, RanksShareHeadsAndLayers) {
  const KvSize tensor = size_of(grouped(), {.tp = 4});
  EXPECT_EQ(tensor.token_bytes, 128 * kKiB);
  EXPECT_EQ(tensor.rank_token_bytes, 32 * kKiB);
  const KvSize pipeline = size_of(grouped(), {.tp = 2, .pp = 3});
  EXPECT_EQ(pipeline.token_bytes, 128 * kKiB);
  EXPECT_EQ(pipeline.rank_token_bytes, 11 * 2 * kKiB) << "the largest has 11 of 32 layers";
}

TEST(KvSize, MoreRanksThanHeadsKeepTheSameHeads) {
  const KvSize size = size_of(grouped(), {.tp = 16});
  EXPECT_EQ(size.copies, 2U);
  EXPECT_EQ(size.rank_token_bytes, 16 * kKiB);
  EXPECT_EQ(size.token_bytes, 256 * kKiB);
}

TEST(KvSize, CompressedKvIsOnEveryRank) {
  ModelShape shape;
  shape.full_layers = 61;
  shape.kv_heads = 1;
  shape.head_width = 576;
  shape.latent = true;
  EXPECT_EQ(size_of(shape, {}).token_bytes, 70'272U);
  const KvSize size = size_of(shape, {.tp = 8, .dtype = "fp8"});
  EXPECT_EQ(size.rank_token_bytes, 35'136U);
  EXPECT_EQ(size.token_bytes, 8 * 35'136U);
  EXPECT_EQ(size.copies, 8U);
}

TEST(KvSize, TheDtypeIsTheModelsUnlessGiven) {
  EXPECT_EQ(size_of(grouped(), {.dtype = "fp8_e4m3"}).token_bytes, 64 * kKiB);
  EXPECT_EQ(size_of(grouped(), {.dtype = "float32"}).token_bytes, 256 * kKiB);
  ModelShape wide = grouped();
  wide.dtype = "float32";
  EXPECT_EQ(size_of(wide, {}).token_bytes, 128 * kKiB) << "engines compute it in two bytes";
}

TEST(KvSize, RefusesWhatCannotBeSharedOut) {
  EXPECT_THAT(kv_size(grouped(), {.tp = 3}).error().message, HasSubstr("8 KV heads cannot be shared out to 3"));
  EXPECT_THAT(kv_size(grouped(), {.tp = 12}).error().message, HasSubstr("to 12"));
  EXPECT_THAT(kv_size(grouped(), {.pp = 33}).error().message, HasSubstr("32 layers are too few"));
  EXPECT_THAT(kv_size(grouped(), {.dtype = "fp7"}).error().message, HasSubstr("'fp7' is not known: auto, bfloat16"));
  EXPECT_FALSE(kv_size(grouped(), {.tp = 0}));
  EXPECT_THAT(kv_size(grouped(), {.block_tokens = 1ULL << 60}).error().message, HasSubstr("more bytes"));
}

TEST(KvSize, CapacityIsInWholeBlocks) {
  const Deployment deployment{.tp = 2};
  const KvSize size = size_of(grouped(), deployment);
  const auto capacity = capacity_for(size, grouped(), deployment, 1000, 3);
  ASSERT_TRUE(capacity);
  EXPECT_EQ(capacity->blocks, 3 * 63U);
  EXPECT_EQ(capacity->bytes, 3 * 63U * 2048 * kKiB);
  EXPECT_EQ(capacity->read_bytes, capacity->bytes);
  EXPECT_FALSE(capacity_for(size, grouped(), deployment, 1ULL << 60, 1ULL << 60));
}

TEST(KvSize, AHitReadsTheWindowOfLayersThatHaveOne) {
  ModelShape shape = grouped();
  shape.full_layers = 8;
  shape.window_layers = 24;
  shape.window = 100;
  const KvSize size = size_of(shape, {});
  EXPECT_EQ(size.window_token_bytes, 96 * kKiB);
  const auto capacity = capacity_for(size, shape, {}, 1600, 2);
  ASSERT_TRUE(capacity);
  EXPECT_EQ(capacity->bytes, 2 * 1600U * 128 * kKiB);
  EXPECT_EQ(capacity->read_bytes, 2 * (1600U * 32 + 112U * 96) * kKiB) << "7 blocks hold a window of 100 tokens";
  EXPECT_EQ(capacity_for(size, shape, {}, 32, 1)->read_bytes, 32U * 128 * kKiB) << "shorter than the window";
}

TEST(KvSize, APodLeavesItsShareLessTheEngine) {
  constexpr std::uint64_t kGiB = 1ULL << 30;
  EXPECT_EQ(rank_capacity(400 * kGiB, 4, 30 * kGiB).value_or(0), 70 * kGiB);
  EXPECT_THAT(rank_capacity(100 * kGiB, 4, 25 * kGiB).error().message, HasSubstr("nothing is left"));
}

}  // namespace
}  // namespace reprise::cli
