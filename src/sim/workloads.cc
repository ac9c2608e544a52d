#include "sim/workloads.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <queue>

#include "sim/random.h"

namespace reprise::sim {
namespace {

// Ids of a prompt's blocks: unique to the prompt, in order.
void append(std::vector<std::uint64_t>& ids, std::uint64_t prompt, std::uint64_t blocks, std::uint64_t first = 0) {
  for (std::uint64_t i = 0; i < blocks; ++i) ids.push_back((prompt << 20) | (first + i));
}

Request request_of(std::vector<std::uint64_t> ids, double timestamp_ms) {
  Request request;
  request.timestamp_ms = timestamp_ms;
  request.input_length = static_cast<std::uint32_t>(ids.size()) * kWorkloadBlockTokens;
  request.output_length = kWorkloadBlockTokens / 2;
  request.hash_ids = std::move(ids);
  return request;
}

constexpr std::uint64_t kFresh = 1ULL << 32;  // Prompts from here on are numbered as they come.

// Draws ranks 0..n-1 with probability proportional to 1 / (rank + 1)^exponent.
class Zipf {
 public:
  Zipf(std::size_t n, double exponent) : cumulative_(n) {
    double sum = 0;
    for (std::size_t rank = 0; rank < n; ++rank) {
      sum += std::pow(static_cast<double>(rank + 1), -exponent);
      cumulative_[rank] = sum;
    }
  }
  std::size_t draw(Random& random) const {
    const double at = random.unit() * cumulative_.back();
    return static_cast<std::size_t>(std::ranges::upper_bound(cumulative_, at) - cumulative_.begin());
  }

 private:
  std::vector<double> cumulative_;
};

constexpr std::array<std::uint64_t, 3> kScanCapacities{1'000, 2'500, 5'000};
constexpr std::array<std::uint64_t, 3> kLoopCapacities{2'500, 5'000, 8'000};
constexpr std::array<std::uint64_t, 3> kZipfCapacities{2'000, 8'000, 20'000};
constexpr std::array<std::uint64_t, 3> kSessionCapacities{2'000, 8'000, 20'000};
constexpr std::array<std::uint64_t, 3> kDriftCapacities{1'000, 4'000, 10'000};
constexpr std::array<Workload, 5> kWorkloads{{
    {"scan_and_hot_set", scan_and_hot_set, kScanCapacities},
    {"loop", loop, kLoopCapacities},
    {"shifting_zipf", shifting_zipf, kZipfCapacities},
    {"two_session_classes", two_session_classes, kSessionCapacities},
    {"drift", drift, kDriftCapacities},
}};

}  // namespace

std::vector<Request> scan_and_hot_set(std::uint64_t seed) {
  Random random(seed);
  std::vector<Request> requests;
  for (std::uint64_t i = 0; i < 20'000; ++i) {
    std::vector<std::uint64_t> ids;
    if (random.chance(0.5)) {
      append(ids, random.below(200), 10);
      append(ids, kFresh + i, 2);
    } else {
      append(ids, kFresh + i, 12);
    }
    requests.push_back(request_of(std::move(ids), static_cast<double>(i) * 100));
  }
  return requests;
}

std::vector<Request> loop(std::uint64_t seed) {
  Random random(seed);
  std::vector<std::uint64_t> lengths(1'000);
  for (std::uint64_t& length : lengths) length = random.between(8, 12);
  std::vector<Request> requests;
  for (std::uint64_t i = 0; i < 25'000; ++i) {
    std::vector<std::uint64_t> ids;
    append(ids, i % lengths.size(), lengths[i % lengths.size()]);
    requests.push_back(request_of(std::move(ids), static_cast<double>(i) * 100));
  }
  return requests;
}

std::vector<Request> shifting_zipf(std::uint64_t seed) {
  Random random(seed);
  constexpr std::size_t kPrompts = 10'000;
  const Zipf zipf(kPrompts, 0.9);
  std::vector<std::uint64_t> prompt_of_rank(kPrompts);
  std::iota(prompt_of_rank.begin(), prompt_of_rank.end(), 0);
  std::vector<Request> requests;
  for (std::uint64_t i = 0; i < 30'000; ++i) {
    if (i % 2'000 == 1'999) {
      for (std::size_t swaps = 0; swaps < kPrompts / 20; ++swaps) {
        std::swap(prompt_of_rank[random.below(kPrompts)], prompt_of_rank[random.below(kPrompts)]);
      }
    }
    std::vector<std::uint64_t> ids;
    append(ids, prompt_of_rank[zipf.draw(random)], 8);
    requests.push_back(request_of(std::move(ids), static_cast<double>(i) * 100));
  }
  return requests;
}

std::vector<Request> two_session_classes(std::uint64_t seed) {
  Random random(seed);
  struct Turn {
    double at_ms;
    std::uint64_t prompt;
    std::uint64_t system;
    std::uint64_t blocks;
    std::uint64_t left;
    bool operator>(const Turn& other) const { return at_ms > other.at_ms; }
  };
  std::priority_queue<Turn, std::vector<Turn>, std::greater<>> pending;
  std::vector<Request> requests;
  std::uint64_t prompts = kFresh;
  double arrival_ms = 0;
  while (requests.size() < 20'000) {
    // A new session every 0.5 s: a third of them chats, which account for most requests.
    arrival_ms += random.exponential(500);
    while (!pending.empty() && pending.top().at_ms < arrival_ms) {
      Turn turn = pending.top();
      pending.pop();
      std::vector<std::uint64_t> ids;
      append(ids, turn.system, 2);
      append(ids, turn.prompt, turn.blocks);
      requests.push_back(request_of(std::move(ids), turn.at_ms));
      turn.blocks += random.between(1, 3);
      turn.at_ms += 5'000 + random.exponential(120'000);
      if (turn.left-- > 1) pending.push(turn);
    }
    const bool chat = random.chance(1.0 / 3);
    pending.push({arrival_ms, prompts++, random.below(4), chat ? random.between(1, 4) : random.between(10, 30),
                  chat ? random.between(2, 12) : 1});
  }
  requests.resize(20'000);
  return requests;
}

std::vector<Request> drift(std::uint64_t seed) {
  Random random(seed);
  std::vector<Request> requests;
  for (std::uint64_t i = 0; i < 30'000; ++i) {
    // One new prompt every 4 requests; the chance to be asked for falls with age, to 1/e after 1,000 prompts.
    const auto newest = static_cast<double>(1'000 + i / 4);
    const double prompt = std::max(0.0, newest - random.exponential(1'000));
    std::vector<std::uint64_t> ids;
    append(ids, static_cast<std::uint64_t>(prompt), 8);
    requests.push_back(request_of(std::move(ids), static_cast<double>(i) * 100));
  }
  return requests;
}

std::span<const Workload> workloads() {
  return kWorkloads;
}

}  // namespace reprise::sim
