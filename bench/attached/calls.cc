#include "bench/attached/calls.h"

#include <chrono>
#include <thread>

namespace reprise::bench {

Result<Sample> time_calls(const Pace& pace, const std::function<Result<void>()>& call) {
  Sample sample;
  sample.latency_us.reserve(pace.calls);
  for (std::size_t i = 0; i < pace.calls; ++i) {
    if (pace.gap_us > 0) std::this_thread::sleep_for(std::chrono::duration<double, std::micro>(pace.gap_us));
    const double start = seconds();
    if (Result<void> done = call(); !done) return std::unexpected(done.error());
    sample.latency_us.push_back((seconds() - start) * 1e6);
  }
  sample.value = quantile(sample.latency_us, 0.5);
  return sample;
}

}  // namespace reprise::bench
