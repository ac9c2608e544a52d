#include "cli/histogram.h"

#include <gtest/gtest.h>

namespace reprise::cli {
namespace {

using std::chrono::nanoseconds;

TEST(Histogram, QuantilesAreWithinABucketOfTheExactOnes) {
  Histogram histogram;
  for (int us = 1; us <= 10'000; ++us) histogram.add(std::chrono::microseconds(us));
  EXPECT_NEAR(histogram.quantile_us(0.5), 5000, 5000 * 0.07);
  EXPECT_NEAR(histogram.quantile_us(0.99), 9900, 9900 * 0.07);
  EXPECT_DOUBLE_EQ(histogram.quantile_us(1), 10'000);
  EXPECT_DOUBLE_EQ(histogram.max_us(), 10'000);
  EXPECT_NEAR(histogram.mean_us(), 5000.5, 0.001);
}

TEST(Histogram, TakesTheExtremes) {
  Histogram histogram;
  histogram.add(nanoseconds(0));
  histogram.add(nanoseconds(-5));
  histogram.add(nanoseconds::max());
  EXPECT_EQ(histogram.count(), 3U);
  EXPECT_DOUBLE_EQ(histogram.quantile_us(0.5), 0.001);
  EXPECT_EQ(Histogram().quantile_us(0.5), 0);
}

TEST(Histogram, BucketsAreContiguousAndHoldTheirValues) {
  Histogram histogram;
  std::uint64_t added = 0;
  for (std::int64_t ns = 1; ns < 100'000'000; ns += 1 + ns / 50) {
    histogram.add(nanoseconds(ns));
    ++added;
  }
  std::uint64_t counted = 0;
  double previous_high = 0;
  for (const Histogram::Bucket& bucket : histogram.buckets()) {
    EXPECT_GE(bucket.low_us, previous_high);
    EXPECT_GT(bucket.high_us, bucket.low_us);
    if (bucket.low_us > 0.1) {
      EXPECT_LE(bucket.high_us, bucket.low_us * 1.0626);
    }
    previous_high = bucket.high_us;
    counted += bucket.count;
  }
  EXPECT_EQ(counted, added);
}

}  // namespace
}  // namespace reprise::cli
