#include "cli/size_command.h"

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>

#include "base/options_values.h"
#include "cli/text_table.h"

namespace reprise::cli {
namespace {

using Json = nlohmann::ordered_json;

// Everything that is told.
struct Told {
  ModelShape shape;
  KvSize size;
  std::optional<Capacity> needed;              // For --tokens.
  std::optional<std::uint64_t> rank_capacity;  // Of memory that is given or left.
  std::uint64_t fitting_tokens = 0;            // In that, on all ranks.
};

Result<std::string> read_config(std::string path) {
  constexpr std::size_t kLongest = 16 << 20;
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) path += "/config.json";
  std::ifstream file(path, std::ios::binary);
  std::string text(kLongest + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.empty())
    return fail(ErrorCode::kIo,
                "cannot read " + path + ", or it is empty: give a model's folder on this machine, or its config.json");
  if (text.size() > kLongest) return fail(ErrorCode::kInvalid, path + " is larger than 16 MiB: that is no config.json");
  return text;
}

Result<std::uint64_t> size_of(const char* flag, const std::string& text) {
  const auto read = read_size(text);
  if (!read) return fail(read.error().code, std::string(flag) + ": " + read.error().message);
  return *read;
}

// nullopt: neither a capacity nor a pod was given.
Result<std::optional<std::uint64_t>> given_capacity(const SizeArguments& arguments) {
  if (arguments.pod_memory.empty()) {
    if (!arguments.engine_memory.empty()) return fail(ErrorCode::kInvalid, "--engine-memory needs --pod-memory");
    if (arguments.capacity.empty()) return std::nullopt;
    const auto capacity = size_of("--capacity", arguments.capacity);
    if (!capacity) return std::unexpected(capacity.error());
    return *capacity;
  }
  if (!arguments.capacity.empty()) return fail(ErrorCode::kInvalid, "give --capacity or --pod-memory, not both");
  const auto pod = size_of("--pod-memory", arguments.pod_memory);
  if (!pod) return std::unexpected(pod.error());
  const auto engine = size_of("--engine-memory", arguments.engine_memory.empty() ? "0" : arguments.engine_memory);
  if (!engine) return std::unexpected(engine.error());
  const auto left = rank_capacity(*pod, arguments.deployment.tp, *engine);
  if (!left) return std::unexpected(left.error());
  return *left;
}

Result<Told> tell(const SizeArguments& arguments) {
  const auto text = read_config(arguments.model);
  if (!text) return std::unexpected(text.error());
  const auto shape = read_model_config(*text);
  if (!shape) return fail(shape.error().code, arguments.model + ": " + shape.error().message);
  const auto size = kv_size(*shape, arguments.deployment);
  if (!size) return std::unexpected(size.error());
  Told told{*shape, *size, std::nullopt, std::nullopt, 0};
  if (arguments.tokens > 0) {
    const auto needed = capacity_for(*size, *shape, arguments.deployment, arguments.tokens, arguments.requests);
    if (!needed) return std::unexpected(needed.error());
    told.needed = *needed;
  }
  const auto capacity = given_capacity(arguments);
  if (!capacity) return std::unexpected(capacity.error());
  told.rank_capacity = *capacity;
  if (told.rank_capacity && size->rank_block_bytes > 0) {
    told.fitting_tokens = *told.rank_capacity / size->rank_block_bytes * arguments.deployment.block_tokens;
    if (told.fitting_tokens == 0) {
      return fail(ErrorCode::kInvalid, std::to_string(*told.rank_capacity) + " bytes for each rank hold no block of " +
                                           std::to_string(size->rank_block_bytes) +
                                           "; a size without a unit is in bytes, 400GiB is one with a unit");
    }
  }
  return told;
}

// In whole MiB, upwards: what one would write as an option.
std::string option_text_of(std::uint64_t bytes) {
  constexpr std::uint64_t kMiB = 1 << 20;
  return size_text((bytes + kMiB - 1) / kMiB * kMiB);
}

std::string bytes_text(std::uint64_t bytes) {
  return approximate_size(static_cast<double>(bytes));
}

std::string layers_text(const ModelShape& shape) {
  std::string out = with_commas(shape.full_layers + shape.window_layers) + " layers";
  if (shape.window_layers > 0) {
    out += " (" + with_commas(shape.window_layers) + " with a window of " + with_commas(shape.window) + " tokens)";
  }
  return out;
}

std::string model_text(const Told& told) {
  const ModelShape& shape = told.shape;
  const std::string heads = shape.latent ? "a latent vector of " + with_commas(shape.head_width) + " elements"
                                         : with_commas(shape.kv_heads) + " KV heads with " +
                                               with_commas(shape.head_width) + " elements (key and value)";
  return (shape.type.empty() ? "" : shape.type + ", ") + layers_text(shape) + ", " + heads + ", " + told.size.dtype;
}

// What the reader of the figures should know about them.
std::string notes_text(const Told& told, const Deployment& deployment) {
  std::string out;
  if (told.size.copies > 1 && told.shape.latent) {
    out +=
        "Every tensor parallel rank has the whole vector. Under vLLM each stores it; under SGLang one does, for all.\n";
  } else if (told.size.copies > 1) {
    out += "Each KV head is on " + std::to_string(told.size.copies) + " ranks, and stored as often.\n";
  }
  if (told.shape.window_layers > 0) {
    out += "Layers with a window are stored like the others; a hit reads their last " + with_commas(told.shape.window) +
           " tokens.\n";
  }
  if (told.shape.state_layers > 0) {
    out += "Not counted: the states of " + with_commas(told.shape.state_layers) + " layers without KV.\n";
  }
  const std::uint64_t layers = told.shape.full_layers + told.shape.window_layers;
  if (layers % deployment.pp != 0)
    out += "The ranks have unlike numbers of layers: figures of a rank are of the largest.\n";
  return out;
}

std::string plain_text(const Told& told, const SizeArguments& arguments) {
  const Deployment& deployment = arguments.deployment;
  const std::uint64_t ranks = deployment.tp * deployment.pp;
  const auto row = [&](const std::string& what, std::uint64_t all, std::uint64_t rank) {
    std::string out = "  " + what + std::string(what.size() < 24 ? 24 - what.size() : 1, ' ') + bytes_text(all);
    if (ranks > 1) out += ", " + bytes_text(rank) + " on each of " + std::to_string(ranks) + " ranks";
    return out + "\n";
  };
  std::string out = model_text(told) + "\n\n";
  out += row("a token", told.size.token_bytes, told.size.rank_token_bytes);
  out += row("a block of " + with_commas(deployment.block_tokens), told.size.block_bytes, told.size.rank_block_bytes);
  if (told.needed) {
    const std::string times = arguments.requests == 1 ? "" : with_commas(arguments.requests) + " times ";
    const std::uint64_t rank = told.needed->blocks * told.size.rank_block_bytes;
    out += row(times + with_commas(arguments.tokens) + " tokens", told.needed->bytes, rank);
    out += "\nTo keep that: --l1-capacity " + option_text_of(told.needed->bytes) + " for memory that all ranks share";
    out += ranks > 1 ? ", or " + option_text_of(rank) + " for each rank.\n" : ".\n";
  }
  if (told.rank_capacity) {
    out +=
        "\n" + bytes_text(*told.rank_capacity) + " for each rank hold " + with_commas(told.fitting_tokens) + " tokens";
    out += ranks > 1
               ? "; memory that all ranks share: " +
                     approximate_size(static_cast<double>(*told.rank_capacity) * static_cast<double>(ranks)) + ".\n"
               : ".\n";
  }
  const std::string notes = notes_text(told, deployment);
  return out + (notes.empty() ? "" : "\n") + notes;
}

std::string json_text(const Told& told, const SizeArguments& arguments) {
  const ModelShape& shape = told.shape;
  const KvSize& size = told.size;
  Json out;
  out["model"] = {{"type", shape.type},
                  {"full_layers", shape.full_layers},
                  {"window_layers", shape.window_layers},
                  {"window_tokens", shape.window},
                  {"state_layers", shape.state_layers},
                  {"kv_heads", shape.kv_heads},
                  {"head_width", shape.head_width},
                  {"latent", shape.latent}};
  out["tp"] = arguments.deployment.tp;
  out["pp"] = arguments.deployment.pp;
  out["dtype"] = size.dtype;
  out["block_tokens"] = arguments.deployment.block_tokens;
  out["head_copies"] = size.copies;
  out["token_bytes"] = size.token_bytes;
  out["rank_token_bytes"] = size.rank_token_bytes;
  out["block_bytes"] = size.block_bytes;
  out["rank_block_bytes"] = size.rank_block_bytes;
  if (told.needed) {
    out["needed"] = {{"tokens", arguments.tokens},
                     {"requests", arguments.requests},
                     {"blocks", told.needed->blocks},
                     {"bytes", told.needed->bytes},
                     {"rank_bytes", told.needed->blocks * size.rank_block_bytes},
                     {"read_bytes", told.needed->read_bytes}};
  }
  if (told.rank_capacity) {
    out["fitting"] = {{"rank_capacity_bytes", *told.rank_capacity}, {"tokens", told.fitting_tokens}};
  }
  return out.dump() + "\n";
}

}  // namespace

int size_command(const SizeArguments& arguments, Terminal& terminal) {
  const auto told = tell(arguments);
  if (!told) {
    terminal.err << "reprise size: " << told.error().message << "\n";
    return kUsage;
  }
  terminal.out << (arguments.json ? json_text(*told, arguments) : plain_text(*told, arguments));
  return kOk;
}

}  // namespace reprise::cli
