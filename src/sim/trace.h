// One request of a trace: what a replay feeds on, whoever read or generated it. A plain value.
#pragma once

#include <cstdint>
#include <vector>

namespace reprise::sim {

struct Request {
  double timestamp_ms = 0;          ///< Arrival, from the start of the trace.
  std::uint32_t input_length = 0;   ///< Tokens of the prompt.
  std::uint32_t output_length = 0;  ///< Tokens generated.
  /// The prompt's blocks in order. Equal ids mean equal prefixes up to and including that block, so the list is a
  /// chain. The last block may be partial.
  std::vector<std::uint64_t> hash_ids;
};

}  // namespace reprise::sim
