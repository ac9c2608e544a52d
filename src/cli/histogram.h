// Latencies in buckets of 1/16 octave: quantiles to within 3 %, in 8 KiB, whatever the number of samples. A value; one
// thread at a time.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <vector>

namespace reprise::cli {

class Histogram {
 public:
  void add(std::chrono::nanoseconds span);
  void add(const Histogram& other);

  [[nodiscard]] std::uint64_t count() const { return count_; }
  /// The upper end of the bucket that holds the q-quantile, in microseconds; 0 when empty. 0 <= q <= 1.
  [[nodiscard]] double quantile_us(double q) const;
  [[nodiscard]] double mean_us() const;
  [[nodiscard]] double max_us() const { return static_cast<double>(max_) / 1000; }

  struct Bucket {
    double low_us;
    double high_us;
    std::uint64_t count;
  };
  /// The buckets that hold anything, ascending.
  [[nodiscard]] std::vector<Bucket> buckets() const;

 private:
  static constexpr int kSub = 16;
  static constexpr int kBuckets = 61 * kSub;
  [[nodiscard]] static int index_of(std::uint64_t ns);
  [[nodiscard]] static std::uint64_t low_of(int index);

  std::array<std::uint64_t, kBuckets> counts_{};
  std::uint64_t count_ = 0;
  std::uint64_t sum_ = 0;
  std::uint64_t max_ = 0;
};

}  // namespace reprise::cli
