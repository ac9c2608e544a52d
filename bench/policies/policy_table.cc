// Prints the tables of docs/policies.md as Markdown: prefix-hit ratios of every built-in policy on the conversation
// trace, of `adaptive` over salts 0..7, its distance from LRU on the generated workloads (seeds 1..5), and what a touch
// and an insertion cost. `policy_table [trace.jsonl.zst]`
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <numeric>

#include "bench/policies/trace_file.h"
#include "sim/random.h"
#include "sim/replay.h"
#include "sim/workloads.h"

namespace {

using namespace reprise;

constexpr std::array<std::uint64_t, 8> kCapacities{500, 1'000, 2'000, 5'000, 10'000, 20'000, 30'000, 50'000};
constexpr std::array<double, 8> kBar{.060, .077, .110, .171, .228, .297, .328, .354};
constexpr std::uint64_t kSalts = 8;

double ratio(std::span<const sim::Request> requests, const char* policy, std::uint64_t capacity, std::uint64_t salt) {
  sim::ReplayOptions options;
  options.policy = policy;
  options.capacity_blocks = capacity;
  options.salt = salt;
  const auto result = sim::replay(requests, options, PolicyRegistry::with_builtins());
  if (!result) {
    std::fprintf(stderr, "%s\n", result.error().message.c_str());
    return 0;
  }
  return result->hit_ratio();
}

double mean_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

template <typename Cell>
void row(const char* name, Cell cell) {
  std::printf("| %s |", name);
  for (std::size_t i = 0; i < kCapacities.size(); ++i) std::printf(" %.4f |", cell(i));
  std::printf("\n");
  std::fflush(stdout);
}

void print_trace(std::span<const sim::Request> trace) {
  std::printf("| capacity (blocks) |");
  for (const std::uint64_t capacity : kCapacities) std::printf(" %llu |", static_cast<unsigned long long>(capacity));
  std::printf("\n|---|---|---|---|---|---|---|---|---|\n");
  for (const char* policy : {"fifo", "lru", "s3fifo"}) {
    row(policy, [&](std::size_t i) { return ratio(trace, policy, kCapacities[i], 1); });
  }
  std::array<std::vector<double>, kCapacities.size()> adaptive;
  for (std::size_t i = 0; i < kCapacities.size(); ++i) {
    for (std::uint64_t salt = 0; salt < kSalts; ++salt) {
      adaptive[i].push_back(ratio(trace, "adaptive", kCapacities[i], salt));
    }
  }
  row("**adaptive, mean of salts 0..7**", [&](std::size_t i) { return mean_of(adaptive[i]); });
  row("worst salt", [&](std::size_t i) { return std::ranges::min(adaptive[i]); });
  row("best salt", [&](std::size_t i) { return std::ranges::max(adaptive[i]); });
  row("bar for the mean", [&](std::size_t i) { return kBar[i]; });
}

void print_workloads() {
  std::printf("\n| workload | capacity | lru | fifo | s3fifo | adaptive | adaptive - lru (points) | worst seed |\n");
  std::printf("|---|---|---|---|---|---|---|---|\n");
  for (const sim::Workload& workload : sim::workloads()) {
    for (const std::uint64_t capacity : workload.capacities) {
      std::vector<double> lru;
      std::vector<double> fifo;
      std::vector<double> s3fifo;
      std::vector<double> adaptive;
      std::vector<double> gain;
      for (std::uint64_t seed = 1; seed <= 5; ++seed) {
        const auto requests = workload.generate(seed);
        lru.push_back(ratio(requests, "lru", capacity, seed));
        fifo.push_back(ratio(requests, "fifo", capacity, seed));
        s3fifo.push_back(ratio(requests, "s3fifo", capacity, seed));
        adaptive.push_back(ratio(requests, "adaptive", capacity, seed));
        gain.push_back(100 * (adaptive.back() - lru.back()));
      }
      std::printf("| %s | %llu | %.4f | %.4f | %.4f | %.4f | %+.2f | %+.2f |\n", workload.name.data(),
                  static_cast<unsigned long long>(capacity), mean_of(lru), mean_of(fifo), mean_of(s3fifo),
                  mean_of(adaptive), mean_of(gain), std::ranges::min(gain));
      std::fflush(stdout);
    }
  }
}

double ns_each(std::chrono::steady_clock::duration time, std::uint64_t count) {
  return std::chrono::duration<double, std::nano>(time).count() / static_cast<double>(count);
}

// A cache of `chains` chains of 2,048 blocks: first random chains touched, then each round one chain replaced.
void print_cost(const char* name, std::uint32_t chains) {
  class AcceptAll final : public VictimFilter {
    bool accept(BlockSlot /*slot*/) override { return true; }
  } all;
  constexpr std::uint32_t kLength = 2'048;
  const std::uint32_t blocks = chains * kLength;
  PolicyConfig config{blocks + kLength, blocks, 131'072, 1};
  const auto policy = PolicyRegistry::with_builtins().make(name, config);
  if (!policy) return;
  sim::Random random(1);
  std::vector<BlockSlot> free(config.slots);
  std::iota(free.begin(), free.end(), 0);
  std::vector<BlockSlot> hot;
  std::vector<std::vector<BlockSlot>> slots;
  const auto insert = [&] {
    std::vector<NewBlock> fresh(kLength);
    slots.emplace_back();
    for (NewBlock& block : fresh) {
      block = {free.back(), random.next(), 131'072};
      slots.back().push_back(block.slot);
      free.pop_back();
    }
    const auto start = std::chrono::steady_clock::now();
    (*policy)->insert({}, fresh, hot);
    while (free.size() < kLength) free.push_back(*(*policy)->victim(all));
    return std::chrono::steady_clock::now() - start;
  };
  for (std::uint32_t i = 0; i < chains; ++i) insert();
  std::vector<double> touch;
  for (int round = 0; round < 9; ++round) {
    hot.clear();
    const auto start = std::chrono::steady_clock::now();
    for (std::uint32_t i = 0; i < 512; ++i) (*policy)->touch(slots[random.below(chains)], hot);
    touch.push_back(ns_each(std::chrono::steady_clock::now() - start, 512 * kLength));
  }
  std::vector<double> replace;
  for (int round = 0; round < 9; ++round) {
    std::chrono::steady_clock::duration time{};
    for (int i = 0; i < 16; ++i) time += insert();
    replace.push_back(ns_each(time, 16 * kLength));
  }
  std::ranges::nth_element(touch, touch.begin() + 4);
  std::ranges::nth_element(replace, replace.begin() + 4);
  const auto footprint = (*policy)->footprint();
  std::printf("| %s | %u | %.1f | %.1f | %.1f | %llu |\n", name, blocks, touch[4], replace[4],
              double(footprint.scaling) / double(blocks), static_cast<unsigned long long>(footprint.fixed / 1024));
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  const auto trace = bench::read_trace(argc > 1 ? argv[1] : REPRISE_TRACES "/conversation_trace.jsonl.zst");
  if (trace.empty()) {
    std::fprintf(stderr, "cannot read the trace\n");
    return 1;
  }
  print_trace(trace);
  print_workloads();
  std::printf("\n| policy | blocks | touch, ns a block | insert + evict, ns a block | bytes a block | fixed KiB |\n");
  std::printf("|---|---|---|---|---|---|\n");
  for (const std::uint32_t chains : {8U, 512U}) {
    for (const char* policy : {"fifo", "lru", "s3fifo", "adaptive"}) print_cost(policy, chains);
  }
  return 0;
}
