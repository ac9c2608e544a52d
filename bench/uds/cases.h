// The cases of bench_uds, by what they ask. Each starts its daemon when it runs and ends it afterwards.
#pragma once

#include "bench/harness/harness.h"

namespace reprise::bench {

/// Acquire + release, a small get and match, beside round trips on a bare socket, awake and after a gap.
void add_latency_cases(Harness& harness);
/// Copying get and put by block size and batch, warm and cold, beside the best plain copy.
void add_copy_cases(Harness& harness);

}  // namespace reprise::bench
