// A small random generator whose numbers are the same with every standard library, so that a seed names a workload.
#pragma once

#include <cmath>
#include <cstdint>

namespace reprise::sim {

/// splitmix64 (Steele, Lea, Flood 2014). Not thread-safe.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9E3779B97F4A7C15ULL);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
  }
  /// Uniform in [0, 1).
  double unit() { return static_cast<double>(next() >> 11) * 0x1p-53; }
  /// Uniform in [0, n); n > 0.
  std::uint64_t below(std::uint64_t n) { return static_cast<std::uint64_t>(unit() * static_cast<double>(n)); }
  /// Uniform in [low, high].
  std::uint64_t between(std::uint64_t low, std::uint64_t high) { return low + below(high - low + 1); }
  bool chance(double p) { return unit() < p; }
  /// Exponential with this mean.
  double exponential(double mean) { return -mean * std::log1p(-unit()); }

 private:
  std::uint64_t state_;
};

}  // namespace reprise::sim
