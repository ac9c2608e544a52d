#include "cli/replay_result.h"

namespace reprise::cli {
namespace {

double share(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

void HitCounts::add(const HitCounts& other) {
  requests += other.requests;
  blocks += other.blocks;
  l1_blocks += other.l1_blocks;
  l2_blocks += other.l2_blocks;
  tokens += other.tokens;
  l1_tokens += other.l1_tokens;
  l2_tokens += other.l2_tokens;
}

double HitCounts::block_ratio() const {
  return share(l1_blocks + l2_blocks, blocks);
}

double HitCounts::token_ratio() const {
  return share(l1_tokens + l2_tokens, tokens);
}

void Series::add(double timestamp_ms, const HitCounts& request) {
  if (points_.empty() || points_.back().counts.requests >= per_point_) {
    if (points_.size() == kMost) {
      for (std::size_t i = 0; i < kMost / 2; ++i) {
        SeriesPoint merged = points_[2 * i];
        merged.counts.add(points_[2 * i + 1].counts);
        merged.end_ms = points_[2 * i + 1].end_ms;
        points_[i] = merged;
      }
      points_.resize(kMost / 2);
      per_point_ *= 2;
    }
    points_.emplace_back();
  }
  points_.back().end_ms = timestamp_ms;
  points_.back().counts.add(request);
}

std::vector<SeriesPoint> Series::points() const {
  return points_;
}

}  // namespace reprise::cli
