// Random chains acquired and released, by a cache and by the limit. Each Walk belongs to one thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/l1/resident.h"

namespace reprise::bench {

/// Which chains a walk draws from, and how many calls it makes.
struct WalkPlan {
  std::size_t first_chain = 0, chains = 0, calls = 0;
};

/// A plan over all chains with about `blocks` blocks acquired in total.
[[nodiscard]] inline WalkPlan plan_for(const Resident& resident, std::size_t blocks) {
  const std::size_t chains = resident.keys.chains();
  return {0, chains, std::max<std::size_t>(4, blocks / resident.keys.length())};
}

/// Acquires and releases; appends each call's microseconds to `latency_us` unless it is null.
[[nodiscard]] inline Result<void> walk_cache(Resident& resident, const WalkPlan& plan, std::uint64_t seed,
                                             std::vector<double>* latency_us) {
  Random random(seed);
  for (std::size_t i = 0; i < plan.calls; ++i) {
    const Chain chain(resident.ns, resident.keys.chain(plan.first_chain + random.below(plan.chains)));
    const double start = latency_us ? seconds() : 0;
    {
      const Result<Acquired> got = resident.cache->acquire(chain);
      if (!got) return std::unexpected(got.error());
      if (got->match.blocks != chain.size()) {
        return fail(ErrorCode::kInternal, "acquired " + std::to_string(got->match.blocks) + " of " +
                                              std::to_string(chain.size()) + " resident blocks");
      }
    }
    if (latency_us) latency_us->push_back((seconds() - start) * 1e6);
  }
  return {};
}

[[nodiscard]] inline Result<void> walk_limit(Resident& resident, const WalkPlan& plan, std::uint64_t seed) {
  Random random(seed);
  std::vector<std::uint32_t> slots;
  for (std::size_t i = 0; i < plan.calls; ++i) {
    const auto chain = resident.keys.chain(plan.first_chain + random.below(plan.chains));
    if (resident.limit->acquire_release(chain, slots) != chain.size()) {
      return fail(ErrorCode::kInternal, "the limit lost a block");
    }
  }
  return {};
}

}  // namespace reprise::bench
