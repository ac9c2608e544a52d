// bench_uds: a cache in a daemon on the same host, through shared memory, beside two processes on a bare Unix socket
// and beside plain copying.
#include "bench/attached/process.h"
#include "bench/attached/raw_peer.h"
#include "bench/harness/harness.h"
#include "bench/uds/cases.h"

int main(int argc, char** argv) {
  using namespace reprise::bench;
  if (is_raw_peer(argc, argv)) return run_raw_peer(argc, argv);
  const auto options = parse_options("uds", argc, argv);
  if (!options) return usage_error(options.error());
  Harness harness("uds", *options);
  harness.note("placement", place_apart());
  add_latency_cases(harness);
  add_copy_cases(harness);
  return harness.run();
}
