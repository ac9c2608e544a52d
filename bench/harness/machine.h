// What a figure was measured on. Reads /proc and /sys; any thread.
#pragma once

#include <cstdint>
#include <string>

namespace reprise::bench {

struct Machine {
  std::string cpu;
  unsigned cores = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t llc_bytes = 0;  ///< Largest cache of core 0; 0 if unknown.
  std::string kernel;
  std::string card = "none";
};

[[nodiscard]] Machine this_machine();
/// Size of the last-level cache, or 32 MiB where the kernel does not say.
[[nodiscard]] std::uint64_t llc_bytes();

}  // namespace reprise::bench
