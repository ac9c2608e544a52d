// The cases of bench_tcp that move bytes. Each starts its daemon when it runs and ends it afterwards.
#pragma once

#include "bench/harness/harness.h"

namespace reprise::bench {

/// Get and put by block size, small blocks with many in flight, processor time per byte, and TLS.
void add_transfer_cases(Harness& harness);

}  // namespace reprise::bench
