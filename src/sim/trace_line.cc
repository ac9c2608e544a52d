// The decoder of one trace line. The only file of this room that knows the JSON library.
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "sim/trace_reader.h"

namespace reprise::sim {
namespace {

using Json = nlohmann::json;

std::unexpected<Error> bad(std::string message) {
  return fail(ErrorCode::kInvalid, std::move(message));
}

Result<std::uint32_t> length_of(const Json& object, const char* key, bool required) {
  const auto found = object.find(key);
  if (found == object.end()) {
    if (required) return bad(std::string(key) + " is missing");
    return 0;
  }
  if (!found->is_number_unsigned() || found->get<std::uint64_t>() > std::numeric_limits<std::uint32_t>::max()) {
    return bad(std::string(key) + " must be a whole number from 0 to 4294967295");
  }
  return static_cast<std::uint32_t>(found->get<std::uint64_t>());
}

Result<double> timestamp_of(const Json& object) {
  const auto found = object.find("timestamp");
  if (found == object.end()) return bad("timestamp is missing");
  if (!found->is_number()) return bad("timestamp must be a number of milliseconds");
  const double value = found->get<double>();
  if (!std::isfinite(value) || value < 0) return bad("timestamp must not be negative");
  return value;
}

Result<std::vector<std::uint64_t>> ids_of(const Json& object, std::uint32_t input_length, const TraceLimits& limits) {
  const auto found = object.find("hash_ids");
  if (found == object.end()) return bad("hash_ids is missing");
  if (!found->is_array()) return bad("hash_ids must be a list");
  if (found->size() > limits.ids) {
    return bad("hash_ids holds " + std::to_string(found->size()) + " ids, more than " + std::to_string(limits.ids));
  }
  const std::uint64_t expected = (std::uint64_t{input_length} + limits.block_tokens - 1) / limits.block_tokens;
  if (found->size() != expected) {
    return bad("input_length " + std::to_string(input_length) + " needs " + std::to_string(expected) + " blocks of " +
               std::to_string(limits.block_tokens) + " tokens, but there are " + std::to_string(found->size()) +
               " hash_ids");
  }
  std::vector<std::uint64_t> ids;
  ids.reserve(found->size());
  for (const Json& id : *found) {
    if (!id.is_number_unsigned()) return bad("hash_ids must hold whole numbers from 0 on");
    ids.push_back(id.get<std::uint64_t>());
  }
  return ids;
}

}  // namespace

Result<Request> parse_trace_line(std::string_view line, const TraceLimits& limits) {
  if (line.size() > limits.line_bytes) return bad("longer than " + std::to_string(limits.line_bytes) + " bytes");
  const Json object = Json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
  if (object.is_discarded()) return bad("not JSON");
  if (!object.is_object()) return bad("not a JSON object");
  Request request;
  const auto timestamp = timestamp_of(object);
  if (!timestamp) return std::unexpected(timestamp.error());
  const auto input = length_of(object, "input_length", true);
  if (!input) return std::unexpected(input.error());
  const auto output = length_of(object, "output_length", false);
  if (!output) return std::unexpected(output.error());
  auto ids = ids_of(object, *input, limits);
  if (!ids) return std::unexpected(ids.error());
  return Request{*timestamp, *input, *output, std::move(*ids)};
}

}  // namespace reprise::sim
