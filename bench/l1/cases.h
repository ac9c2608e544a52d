// The cases of bench_l1, by what they ask. Each adds its rows to the harness and builds its caches when it runs.
#pragma once

#include "bench/harness/harness.h"

namespace reprise::bench {

/// Acquire + release by residency and chain length, and match with a hole, beside a bare probe-and-touch loop.
void add_lookup_cases(Harness& harness);
/// Copying get and put by block size, batch and checksum mode, beside the best plain copy.
void add_copy_cases(Harness& harness);
/// Two threads on disjoint chains.
void add_thread_cases(Harness& harness);
/// Metadata per resident block.
void add_memory_cases(Harness& harness);

}  // namespace reprise::bench
