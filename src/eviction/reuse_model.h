// What `adaptive` believes about reuse: for a block used so many times and so long ago, what is it worth to keep it?
//
// A fixed sample of keys (chosen by hash and salt) is followed whether or not the blocks are resident, so the model
// never depends on what was evicted. Intervals between touches, ended (hits), abandoned (cut) and open, feed a
// Kaplan-Meier estimate of the chance of a hit per octave of age and class of count; the index is the best ratio of
// expected hits to expected time kept over all lengths of keeping on (Gittins). Time is counted in blocks touched.
// Fixed size (about 256 KiB), no randomness beyond the salt, not thread-safe; owned by one policy.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <vector>

namespace reprise::eviction {

class ReuseModel {
 public:
  static constexpr unsigned kClasses = 4;   // Seen 1, 2, 3-4, 5+ times.
  static constexpr unsigned kBuckets = 32;  // Ages [0,16), then one bucket an octave.

  explicit ReuseModel(std::uint64_t salt);

  [[nodiscard]] static unsigned class_of(unsigned count) {
    return count < 3 ? (count < 2 ? 0 : 1) : (count < 5 ? 2 : 3);
  }
  [[nodiscard]] static unsigned bucket_of(std::uint64_t age) {
    const unsigned octave = static_cast<unsigned>(std::bit_width(age | 15U)) - 4U;
    return octave < kBuckets ? octave : kBuckets - 1;
  }

  /// The longest reuse distance worth learning about, in blocks touched. Sizes the sample: forgets keys that are not in
  /// the new one.
  void set_horizon(std::uint64_t blocks);

  /// A block was touched (or inserted) and is now of this class. For most keys one multiplication and one comparison.
  void observe(std::uint64_t hash, unsigned cls, std::uint64_t now) {
    const std::uint64_t mixed = hash * multiplier_;
    if (mixed <= limit_) sample(mixed, cls, now);
  }

  [[nodiscard]] bool due(std::uint64_t now) const { return now >= next_refit_; }
  /// Learns the index anew from what was observed; about the cost of reading the sample once.
  void refit(std::uint64_t now);

  /// Expected hits per block and tick of keeping a block of this class and age.
  [[nodiscard]] double index(unsigned cls, std::uint64_t age) const { return index_[cls][bucket_of(age)]; }

  [[nodiscard]] std::uint64_t bytes() const { return sizeof(*this) + samples_.capacity() * sizeof(Sample); }

 private:
  static constexpr unsigned kSampleBits = 14;
  static constexpr std::uint64_t kSamples = 1U << kSampleBits;
  static constexpr double kPriorWeight = 30;
  // An equal chance for every octave of age makes the index fall as 1/age: without evidence the policy is LRU.
  static constexpr double kPriorChance = 0.1;
  static constexpr double kDecay = 0.8;

  using Table = std::array<std::array<double, kBuckets>, kClasses>;
  struct Sample {
    std::uint64_t key = 0;  // The mixed hash; a bijection of the hash.
    std::uint64_t last : 61 = 0;
    std::uint64_t cls : 2 = 0;
    std::uint64_t used : 1 = 0;
  };

  void sample(std::uint64_t mixed, unsigned cls, std::uint64_t now);
  [[nodiscard]] Table at_risk(std::uint64_t now) const;
  void set_index(const std::array<double, kBuckets>& chance, std::array<double, kBuckets>& index) const;

  std::uint64_t multiplier_;
  std::uint64_t limit_ = 0;  // Keys whose mixed hash is at most this are followed.
  std::uint64_t period_ = 1;
  std::uint64_t next_refit_ = 0;
  Table hit_{};
  Table cut_{};
  Table index_{};
  std::vector<Sample> samples_;
};

}  // namespace reprise::eviction
