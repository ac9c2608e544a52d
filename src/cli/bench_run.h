// One case of `reprise bench`: the threads, and what they found together.
#pragma once

#include <functional>

#include "cli/bench_worker.h"

namespace reprise::cli {

struct BenchResult {
  BenchCase plan;
  BenchCounts counts;
  double seconds = 0;  ///< Of the calls' phase, by the wall.
  bool interrupted = false;
};

/// Bytes of memory that run_bench takes beside the cache.
[[nodiscard]] std::uint64_t bench_scratch_bytes(const BenchCase& plan);

/// Fills the cache, measures memcpy, calls, measures memcpy again, and erases what it put. `tick` is called from this
/// thread a few times a second with the share that is done. Fails as the cache's calls do, and with kInternal when
/// threads or memory are refused.
[[nodiscard]] Result<BenchResult> run_bench(Cache& cache, const BenchCase& plan, const StopFlag& stop,
                                            const std::function<void(double share)>& tick);

}  // namespace reprise::cli
