#include "bench/harness/machine.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <thread>

namespace reprise::bench {
namespace {

std::string cpu_model() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

std::uint64_t largest_cache() {
  std::uint64_t largest = 0;
  for (int i = 0; i < 8; ++i) {
    std::ifstream in("/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(i) + "/size");
    std::uint64_t size = 0;
    char suffix = 0;
    if (!(in >> size)) continue;
    in >> suffix;
    if (suffix == 'K') size <<= 10;
    if (suffix == 'M') size <<= 20;
    largest = std::max(largest, size);
  }
  return largest;
}

}  // namespace

Machine this_machine() {
  Machine machine;
  machine.cpu = cpu_model();
  machine.cores = std::thread::hardware_concurrency();
  machine.memory_bytes =
      static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  machine.llc_bytes = largest_cache();
  utsname names{};
  if (uname(&names) == 0) machine.kernel = std::string(names.sysname) + " " + names.release;
  return machine;
}

std::uint64_t llc_bytes() {
  const std::uint64_t size = largest_cache();
  return size != 0 ? size : 32ULL << 20;
}

}  // namespace reprise::bench
