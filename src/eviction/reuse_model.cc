#include "eviction/reuse_model.h"

#include <algorithm>
#include <cmath>

namespace reprise::eviction {
namespace {

// splitmix64's finisher.
std::uint64_t mix(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

double width_of(unsigned bucket) {
  return bucket == 0 ? 16.0 : std::ldexp(1.0, static_cast<int>(bucket) + 3);
}

}  // namespace

ReuseModel::ReuseModel(std::uint64_t salt) : multiplier_(mix(salt) | 1U), samples_(kSamples) {}

void ReuseModel::set_horizon(std::uint64_t blocks) {
  // One key in 2^shift is followed: the sample spans the horizon once.
  const std::uint64_t spans = (std::max<std::uint64_t>(blocks, 1) + kSamples - 1) / kSamples;
  const auto shift = static_cast<unsigned>(std::bit_width(spans - 1));
  limit_ = ~std::uint64_t{0} >> shift;
  period_ = std::max<std::uint64_t>(1024, blocks / 64);
  for (Sample& sample : samples_) {
    if (sample.key > limit_) sample = Sample{};
  }
}

void ReuseModel::sample(std::uint64_t mixed, unsigned cls, std::uint64_t now) {
  // The high bits chose the key, others choose its place, so that a new horizon leaves the rest where it is.
  Sample& sample = samples_[(mixed >> 20) & (kSamples - 1)];
  if (sample.used != 0) {
    Table& ended = sample.key == mixed ? hit_ : cut_;
    ended[sample.cls][bucket_of(now - sample.last)] += 1;
  }
  sample.key = mixed;
  sample.last = now;
  sample.cls = cls & 3U;
  sample.used = 1;
}

// How many followed intervals reached the middle of each bucket: all that ended or stand later, and half of those
// within.
ReuseModel::Table ReuseModel::at_risk(std::uint64_t now) const {
  std::array<std::array<std::uint32_t, kBuckets>, kClasses> open{};
  for (const Sample& sample : samples_) open[sample.cls][bucket_of(now - sample.last)] += sample.used;
  Table risk;
  for (unsigned c = 0; c < kClasses; ++c) {
    double later_hits = 0;
    double later_others = 0;
    for (unsigned b = kBuckets; b-- > 0;) {
      const double others = cut_[c][b] + open[c][b];
      later_hits += hit_[c][b];
      risk[c][b] = later_hits + later_others + others / 2;
      later_others += others;
    }
  }
  return risk;
}

void ReuseModel::refit(std::uint64_t now) {
  const Table risk = at_risk(now);
  std::array<std::array<double, kBuckets>, kClasses> chance;
  for (unsigned b = 0; b < kBuckets; ++b) {
    // A class with little evidence of its own follows all classes together, and these the prior.
    double all_hits = kPriorWeight * kPriorChance;
    double all_risk = kPriorWeight;
    for (unsigned c = 0; c < kClasses; ++c) {
      all_hits += hit_[c][b];
      all_risk += risk[c][b];
    }
    const double pooled = all_hits / all_risk;
    for (unsigned c = 0; c < kClasses; ++c) {
      chance[c][b] = (hit_[c][b] + kPriorWeight * pooled) / (risk[c][b] + kPriorWeight);
    }
  }
  for (unsigned c = 0; c < kClasses; ++c) set_index(chance[c], index_[c]);

  // Ended intervals fade, once for every period that went by. Open ones do not: the sample is the long memory.
  const std::uint64_t periods = next_refit_ == 0 ? 1 : 1 + (now - std::min(now, next_refit_)) / period_;
  const double fade = std::pow(kDecay, static_cast<double>(std::min<std::uint64_t>(periods, 64)));
  for (Table* table : {&hit_, &cut_}) {
    for (auto& row : *table) {
      for (double& cell : row) cell *= fade;
    }
  }
  next_refit_ = now + period_;
}

// index[b] = max over j >= b of (expected hits in b..j) / (expected time kept in b..j), given the block reached b. From
// the last bucket backwards, each bucket takes in the stretch after it for as long as that raises its own ratio; what
// remains on the stack falls in ratio from top to bottom, so this finds the maximum in linear time.
void ReuseModel::set_index(const std::array<double, kBuckets>& chance, std::array<double, kBuckets>& index) const {
  struct Stretch {
    double hits;
    double time;
    double survival;
  };
  std::array<Stretch, kBuckets> stack;
  unsigned depth = 0;
  for (unsigned b = kBuckets; b-- > 0;) {
    Stretch stretch{chance[b], width_of(b) * (1 - chance[b] / 2), 1 - chance[b]};
    while (depth > 0 && stack[depth - 1].hits * stretch.time > stretch.hits * stack[depth - 1].time) {
      const Stretch& next = stack[--depth];
      stretch.hits += stretch.survival * next.hits;
      stretch.time += stretch.survival * next.time;
      stretch.survival *= next.survival;
    }
    stack[depth++] = stretch;
    index[b] = stretch.hits / stretch.time;
  }
}

}  // namespace reprise::eviction
