// The trace decoder on arbitrary bytes: plain lines, and zstd when they start with its magic number. Whatever comes
// back must keep to the limits.
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <variant>

#include "sim/trace_reader.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace reprise::sim;
  // Small limits, so that small inputs reach them.
  const TraceLimits limits{.line_bytes = 4096, .ids = 64, .block_tokens = 16, .window_log = 16};
  TraceReader reader = TraceReader::over({reinterpret_cast<const char*>(data), size}, limits);
  std::uint64_t last_line = 0;
  for (;;) {
    const auto item = reader.next();
    if (!item || std::holds_alternative<EndOfTrace>(*item)) return 0;
    if (reader.line() <= last_line) std::abort();
    last_line = reader.line();
    if (const auto* request = std::get_if<Request>(&*item)) {
      if (request->hash_ids.size() > limits.ids) std::abort();
      if (request->hash_ids.size() != (std::uint64_t{request->input_length} + 15) / 16) std::abort();
      if (!(request->timestamp_ms >= 0)) std::abort();
    } else if (std::get<BadLine>(*item).message.empty() || std::get<BadLine>(*item).number != last_line) {
      std::abort();
    }
  }
}
