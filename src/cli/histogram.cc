#include "cli/histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace reprise::cli {

// Values below 16 have a bucket each; above, the four bits after the leading one choose within the octave.
int Histogram::index_of(std::uint64_t ns) {
  if (ns < kSub) return static_cast<int>(ns);
  const int octave = std::bit_width(ns) - 5;  // 16..31 -> 0
  return kSub + octave * kSub + static_cast<int>((ns >> octave) & (kSub - 1));
}

std::uint64_t Histogram::low_of(int index) {
  if (index < kSub) return static_cast<std::uint64_t>(index);
  const int octave = index / kSub - 1;
  return static_cast<std::uint64_t>(kSub + index % kSub) << octave;
}

void Histogram::add(std::chrono::nanoseconds span) {
  const auto ns = static_cast<std::uint64_t>(std::max<std::int64_t>(span.count(), 0));
  ++counts_[static_cast<std::size_t>(index_of(ns))];
  ++count_;
  sum_ += ns;
  max_ = std::max(max_, ns);
}

void Histogram::add(const Histogram& other) {
  for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
  count_ += other.count_;
  sum_ += other.sum_;
  max_ = std::max(max_, other.max_);
}

double Histogram::quantile_us(double q) const {
  if (count_ == 0) return 0;
  const auto rank = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(std::ceil(q * static_cast<double>(count_))));
  std::uint64_t seen = 0;
  for (int i = 0; i < kBuckets; ++i) {
    seen += counts_[static_cast<std::size_t>(i)];
    if (seen >= rank) return static_cast<double>(std::min(low_of(i + 1), max_)) / 1000;
  }
  return max_us();
}

double Histogram::mean_us() const {
  return count_ == 0 ? 0 : static_cast<double>(sum_) / static_cast<double>(count_) / 1000;
}

std::vector<Histogram::Bucket> Histogram::buckets() const {
  std::vector<Bucket> out;
  for (int i = 0; i < kBuckets; ++i) {
    if (const std::uint64_t n = counts_[static_cast<std::size_t>(i)]; n > 0) {
      out.push_back({static_cast<double>(low_of(i)) / 1000, static_cast<double>(low_of(i + 1)) / 1000, n});
    }
  }
  return out;
}

}  // namespace reprise::cli
