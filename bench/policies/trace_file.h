// Reads the conversation trace of bench/traces for tests and tables: just enough JSON for that file, no error handling
// beyond an empty answer. The command line has the real reader.
#pragma once

#include <zstd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "sim/trace.h"

namespace reprise::bench {

inline std::string decompress(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string packed((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  std::string text;
  ZSTD_DStream* stream = ZSTD_createDStream();
  std::vector<char> piece(ZSTD_DStreamOutSize());
  ZSTD_inBuffer in{packed.data(), packed.size(), 0};
  while (in.pos < in.size) {
    ZSTD_outBuffer out{piece.data(), piece.size(), 0};
    if (ZSTD_isError(ZSTD_decompressStream(stream, &out, &in)) != 0) break;
    text.append(piece.data(), out.pos);
  }
  ZSTD_freeDStream(stream);
  return text;
}

/// All requests of the file, none if it cannot be read.
inline std::vector<sim::Request> read_trace(const std::string& path) {
  const std::string text = decompress(path);
  std::vector<sim::Request> requests;
  const auto number = [&text](std::size_t from, const char* field, std::size_t& after) {
    const std::size_t at = text.find(field, from);
    if (at == std::string::npos) return 0.0;
    char* end = nullptr;
    const double value = std::strtod(text.data() + text.find(':', at) + 1, &end);
    after = static_cast<std::size_t>(end - text.data());
    return value;
  };
  for (std::size_t at = text.find('{'); at != std::string::npos; at = text.find('{', at)) {
    sim::Request request;
    request.timestamp_ms = number(at, "\"timestamp\"", at);
    request.input_length = static_cast<std::uint32_t>(number(at, "\"input_length\"", at));
    request.output_length = static_cast<std::uint32_t>(number(at, "\"output_length\"", at));
    at = text.find('[', at);
    while (at != std::string::npos && text[at] != ']') {
      char* end = nullptr;
      request.hash_ids.push_back(std::strtoull(text.data() + at + 1, &end, 10));
      at = static_cast<std::size_t>(end - text.data());
    }
    requests.push_back(std::move(request));
  }
  return requests;
}

}  // namespace reprise::bench
