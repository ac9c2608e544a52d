#include "eviction/reuse_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace reprise::eviction {
namespace {

TEST(ReuseModel, BucketsAndClasses) {
  EXPECT_EQ(ReuseModel::bucket_of(0), 0U);
  EXPECT_EQ(ReuseModel::bucket_of(15), 0U);
  EXPECT_EQ(ReuseModel::bucket_of(16), 1U);
  EXPECT_EQ(ReuseModel::bucket_of(31), 1U);
  EXPECT_EQ(ReuseModel::bucket_of(32), 2U);
  EXPECT_EQ(ReuseModel::bucket_of(~0ULL), ReuseModel::kBuckets - 1);
  const unsigned classes[] = {0, 0, 1, 2, 2, 3, 3, 3};
  for (unsigned count = 1; count < 8; ++count) EXPECT_EQ(ReuseModel::class_of(count), classes[count]);
}

// Equal chances per octave: worth falls with age, in every class alike. That is LRU.
TEST(ReuseModel, KnowsNothingIsLru) {
  ReuseModel model(1);
  model.set_horizon(131'072);
  model.refit(0);
  for (unsigned c = 0; c < ReuseModel::kClasses; ++c) {
    for (std::uint64_t age = 32; age < (1ULL << 30); age *= 2) {
      EXPECT_LT(model.index(c, age), model.index(c, age / 2)) << age;
      EXPECT_EQ(model.index(c, age), model.index(0, age));
    }
  }
}

TEST(ReuseModel, TheIndexIsTheBestRatioOverAllLengths) {
  ReuseModel model(1);
  model.set_horizon(1);  // Follows every key.
  model.refit(0);
  // The prior by itself: chance .1 in each bucket; the index of bucket b by its definition.
  for (unsigned b = 0; b < ReuseModel::kBuckets; ++b) {
    double alive = 1;
    double hits = 0;
    double time = 0;
    double best = 0;
    for (unsigned j = b; j < ReuseModel::kBuckets; ++j) {
      const double width = j == 0 ? 16 : std::ldexp(1.0, static_cast<int>(j) + 3);
      hits += alive * .1;
      time += alive * width * (1 - .05);
      alive *= .9;
      best = std::max(best, hits / time);
    }
    EXPECT_NEAR(model.index(0, b == 0 ? 0 : 8ULL << b), best, best * 1e-12);
  }
}

// Blocks of one class always return after 1,000 ticks, those of another never: worth peaks just before the return.
TEST(ReuseModel, LearnsWhenBlocksReturn) {
  ReuseModel model(3);
  model.set_horizon(10'000);
  std::mt19937_64 random(1);
  std::uint64_t now = 0;
  std::vector<std::uint64_t> loyal(500);
  for (std::uint64_t& hash : loyal) hash = random();
  for (int round = 0; round < 40; ++round) {
    for (const std::uint64_t hash : loyal) {
      model.observe(hash, 3, ++now);
      model.observe(random(), 0, ++now);
    }
    if (model.due(now)) model.refit(now);
  }
  EXPECT_GT(model.index(3, 600), 20 * model.index(0, 600));
  EXPECT_GT(model.index(3, 600), model.index(3, 20)) << "worth more the nearer the return";
  EXPECT_GT(model.index(3, 600), 5 * model.index(3, 3'000)) << "and little once it did not come";
}

TEST(ReuseModel, SaltsChooseOtherSamples) {
  std::mt19937_64 random(1);
  ReuseModel one(1);
  ReuseModel two(2);
  ReuseModel same(1);
  for (ReuseModel* model : {&one, &two, &same}) model->set_horizon(1'000'000);
  std::uint64_t now = 0;
  std::vector<std::uint64_t> hashes(20'000);
  for (std::uint64_t& hash : hashes) hash = random();
  for (int round = 0; round < 3; ++round) {
    for (const std::uint64_t hash : hashes) {
      ++now;
      for (ReuseModel* model : {&one, &two, &same}) model->observe(hash, 1, now);
    }
  }
  for (ReuseModel* model : {&one, &two, &same}) model->refit(now);
  EXPECT_NE(one.index(1, 20'000), two.index(1, 20'000));
  EXPECT_EQ(one.index(1, 20'000), same.index(1, 20'000));
}

}  // namespace
}  // namespace reprise::eviction
