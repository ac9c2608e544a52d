// Copy and checksum kernels against memcpy, in the same run.
//
//   kernels_bench [pairs=11] [size ...]
//
// Every figure is a ratio of throughputs against memcpy over the same blocks: the median of `pairs` adjacent pairs in
// both orders, next to memcpy against itself (A/A, with quartiles), which says what this machine can tell apart. "cold"
// walks a working set of 2 x 192 MiB in a shuffled order, so that neither side is in a cache; "hot" uses one block.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/kernels_impl.h"

namespace {

using reprise::kernels::KernelSet;
using Copy = std::function<void(std::byte*, const std::byte*, std::size_t)>;

constexpr std::size_t kWorkingSet = 192 << 20;

std::uint64_t g_sink = 0;  // keeps the checksums from being optimised away

struct Arena {
  std::byte* data = static_cast<std::byte*>(std::aligned_alloc(2 << 20, kWorkingSet));
  explicit Arena(int fill) { std::memset(data, fill, kWorkingSet); }
};

double seconds(const Copy& copy, Arena& to, const Arena& from, std::size_t size,
               const std::vector<std::size_t>& order) {
  const auto start = std::chrono::steady_clock::now();
  for (const std::size_t block : order) copy(to.data + block * size, from.data + block * size, size);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(q * static_cast<double>(values.size() - 1) + 0.5)];
}

}  // namespace

int main(int argc, char** argv) {
  const int pairs = argc > 1 ? std::atoi(argv[1]) : 11;
  std::vector<std::size_t> sizes;
  for (int i = 2; i < argc; ++i) sizes.push_back(std::strtoull(argv[i], nullptr, 0));
  if (sizes.empty()) sizes = {4 << 10, 32 << 10, 64 << 10, 128 << 10, 256 << 10, 512 << 10, 1 << 20, 4 << 20};

  Arena from(1);
  Arena to(2);
  std::mt19937_64 random(1);
  const Copy baseline = [](std::byte* t, const std::byte* f, std::size_t n) { std::memcpy(t, f, n); };
  std::size_t count = 0;
  const KernelSet* const* sets = reprise::kernels::supported_kernels(&count);

  std::printf("%9s %-5s %9s %-14s %6s  (q1 .. q3)\n", "bytes", "data", "memcpy", "kernel", "ratio");
  for (const std::size_t size : sizes) {
    for (const bool cold : {true, false}) {
      std::vector<std::size_t> order(cold ? kWorkingSet / size : (64 << 20) / size);
      if (cold) {
        std::iota(order.begin(), order.end(), 0);
        std::shuffle(order.begin(), order.end(), random);
      }
      std::vector<std::pair<std::string, Copy>> candidates{{"memcpy (A/A)", baseline}};
      for (std::size_t i = 0; i < count; ++i) {
        const KernelSet* set = sets[i];
        candidates.emplace_back(std::string(set->name) + " copy", set->copy);
        candidates.emplace_back(
            std::string(set->name) + " copy+sum",
            [set](std::byte* t, const std::byte* f, std::size_t n) { g_sink += set->copy_checksum(t, f, n); });
        candidates.emplace_back(std::string(set->name) + " sum", [set](std::byte*, const std::byte* f, std::size_t n) {
          g_sink += set->checksum(f, n);
        });
      }
      for (const auto& [name, copy] : candidates) {
        std::vector<double> ratios;
        std::vector<double> rates;
        for (int p = 0; p < pairs; ++p) {
          double base = 0;
          double other = 0;
          if (p % 2 == 0) {
            base = seconds(baseline, to, from, size, order);
            other = seconds(copy, to, from, size, order);
          } else {
            other = seconds(copy, to, from, size, order);
            base = seconds(baseline, to, from, size, order);
          }
          ratios.push_back(base / other);
          rates.push_back(static_cast<double>(order.size() * size) / base / 1e6);
        }
        std::printf("%9zu %-5s %9.0f %-14s %6.2f  (%.2f .. %.2f)\n", size, cold ? "cold" : "hot", quantile(rates, .5),
                    name.c_str(), quantile(ratios, .5), quantile(ratios, .25), quantile(ratios, .75));
      }
    }
  }
  std::fprintf(stderr, "# %llx\n", static_cast<unsigned long long>(g_sink));
}
