// `reprise size`: how much memory the KV of a model takes, told from its config.json.
#pragma once

#include <cstdint>
#include <string>

#include "cli/kv_size.h"
#include "cli/services.h"

namespace reprise::cli {

struct SizeArguments {
  std::string model;  ///< config.json, or the folder that holds it.
  Deployment deployment;
  std::uint64_t tokens = 0;  ///< Of one prompt; 0: not asked.
  std::uint64_t requests = 1;
  std::string capacity;       ///< A size; "" = not asked how much fits in.
  std::string pod_memory;     ///< A size; "" = no pod.
  std::string engine_memory;  ///< A size; of the host's memory for each rank. "" = 0.
  bool json = false;          ///< One object, on one line.
};

/// kOk, or kUsage when the file cannot be read or something given cannot be.
[[nodiscard]] int size_command(const SizeArguments& arguments, Terminal& terminal);

}  // namespace reprise::cli
