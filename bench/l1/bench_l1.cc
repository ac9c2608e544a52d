// bench_l1: the memory cache through the public interface, beside what the machine could do.
#include "bench/harness/harness.h"
#include "bench/l1/cases.h"

int main(int argc, char** argv) {
  using namespace reprise::bench;
  const auto options = parse_options("l1", argc, argv);
  if (!options) return usage_error(options.error());
  Harness harness("l1", *options);
  add_lookup_cases(harness);
  add_thread_cases(harness);
  add_memory_cases(harness);
  add_copy_cases(harness);
  return harness.run();
}
