// bench_tcp: a cache in a daemon over TCP on loopback, beside two processes on a bare TCP connection.
#include "bench/attached/process.h"
#include "bench/attached/raw_peer.h"
#include "bench/attached/visit.h"
#include "bench/harness/harness.h"
#include "bench/tcp/cases.h"

int main(int argc, char** argv) {
  using namespace reprise::bench;
  if (is_raw_peer(argc, argv)) return run_raw_peer(argc, argv);
  const auto options = parse_options("tcp", argc, argv);
  if (!options) return usage_error(options.error());
  Harness harness("tcp", *options);
  harness.note("placement", place_apart());
  add_transfer_cases(harness);
  for (const double gap_us : {0.0, 500.0}) add_match(harness, Wire::kTcp, gap_us, Goal::limit_plus(1.5, 60));
  return harness.run();
}
