#include "cli/model_config.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

namespace reprise::cli {
namespace {

using Json = nlohmann::json;
using Names = std::initializer_list<const char*>;

constexpr std::uint64_t kLargest = 1'000'000;  // Of any number here; no model comes near.

constexpr Names kLayers{"num_hidden_layers", "n_layer", "num_layers", "n_layers"};
constexpr Names kHeads{"num_attention_heads", "n_head", "n_heads"};
constexpr Names kKvHeads{"num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num"};
constexpr Names kHidden{"hidden_size", "n_embd", "d_model"};
constexpr Names kHeadDim{"head_dim", "kv_channels"};
// Where a multi-modal model keeps what its language model is.
constexpr Names kNested{"text_config", "llm_config", "language_config", "thinker_config"};
// Of models in which layers without KV lie between the others.
constexpr Names kHybrid{"mamba_d_state", "ssm_state_size", "linear_num_value_heads", "hybrid_override_pattern"};

const Json* value_of(const Json& config, Names names) {
  for (const char* name : names) {
    const auto found = config.find(name);
    if (found != config.end() && !found->is_null()) return &*found;
  }
  return nullptr;
}

// nullopt: none of the names is there.
Result<std::optional<std::uint64_t>> number(const Json& config, Names names) {
  for (const char* name : names) {
    const Json* value = value_of(config, {name});
    if (value == nullptr) continue;
    if (!value->is_number_unsigned() || value->get<std::uint64_t>() > kLargest) {
      return fail(ErrorCode::kInvalid, std::string("'") + name + "' is " + value->dump().substr(0, 40) +
                                           ", no number from 0 to " + std::to_string(kLargest));
    }
    return value->get<std::uint64_t>();
  }
  return std::nullopt;
}

Result<std::uint64_t> needed(const Json& config, Names names) {
  const auto found = number(config, names);
  if (!found) return std::unexpected(found.error());
  if (!*found) return fail(ErrorCode::kInvalid, std::string("there is no '") + *names.begin() + "'");
  if (**found == 0) return fail(ErrorCode::kInvalid, std::string("'") + *names.begin() + "' is 0");
  return **found;
}

bool is_true(const Json& config, const char* name) {
  const Json* value = value_of(config, {name});
  return value != nullptr && value->is_boolean() && value->get<bool>();
}

bool is_false(const Json& config, const char* name) {
  const Json* value = value_of(config, {name});
  return value != nullptr && value->is_boolean() && !value->get<bool>();
}

std::string text(const Json& config, Names names) {
  const Json* value = value_of(config, names);
  return value != nullptr && value->is_string() ? value->get<std::string>() : "";
}

// The part that describes the language model: three nestings at most.
const Json& language_part(const Json& config) {
  const Json* part = &config;
  for (int depth = 0; depth < 3 && value_of(*part, kLayers) == nullptr; ++depth) {
    const Json* inner = value_of(*part, kNested);
    if (inner == nullptr || !inner->is_object()) break;
    part = inner;
  }
  return *part;
}

bool contains_any(const std::string& name, Names parts) {
  return std::any_of(parts.begin(), parts.end(),
                     [&](const char* part) { return name.find(part) != std::string::npos; });
}

// From a list with the kind of each layer.
Result<void> count_listed(const Json& kinds, std::uint64_t layers, ModelShape& shape) {
  if (!kinds.is_array() || kinds.size() < layers) {
    return fail(ErrorCode::kInvalid, "the list of layer types has fewer entries than there are layers");
  }
  for (std::uint64_t i = 0; i < layers; ++i) {
    const std::string kind = kinds[i].is_string() ? kinds[i].get<std::string>() : "";
    if (contains_any(kind, {"sliding", "chunked", "local"})) {
      ++shape.window_layers;
    } else if (contains_any(kind, {"linear", "mamba", "recurrent", "conv", "ssm"})) {
      ++shape.state_layers;
    } else if (contains_any(kind, {"attention"})) {
      ++shape.full_layers;
    } else {
      return fail(ErrorCode::kInvalid, "layer " + std::to_string(i) + " is of type '" + kind + "', which is not known");
    }
  }
  return {};
}

// Of each so many layers one needs every token; 0 where all are alike.
Result<std::uint64_t> pattern_of(const Json& config, const std::string& type) {
  const auto given = number(config, {"sliding_window_pattern"});
  if (!given) return std::unexpected(given.error());
  if (*given) return **given;
  if (type.starts_with("gemma2")) return 2;
  if (type.starts_with("llama4")) return 4;
  return type.starts_with("gemma3") ? 6 : 0;
}

// From the window that some or all layers have.
Result<void> count_windows(const Json& config, std::uint64_t layers, ModelShape& shape) {
  if (shape.window == 0 || is_false(config, "use_sliding_window")) {
    shape.full_layers = layers;
    return {};
  }
  const auto pattern = pattern_of(config, shape.type);
  if (!pattern) return std::unexpected(pattern.error());
  const auto first = number(config, {"max_window_layers"});
  if (!first) return std::unexpected(first.error());
  if (*pattern > 0) {
    shape.full_layers = layers / *pattern;
  } else if (*first && is_true(config, "use_sliding_window")) {
    shape.full_layers = std::min(**first, layers);
  }
  shape.window_layers = layers - shape.full_layers;
  return {};
}

Result<void> count_layers(const Json& config, ModelShape& shape) {
  const auto layers = needed(config, kLayers);
  if (!layers) return std::unexpected(layers.error());
  const auto shared = number(config, {"num_kv_shared_layers"});
  if (!shared) return std::unexpected(shared.error());
  const auto window = number(config, {"sliding_window", "attention_chunk_size"});
  if (!window) return std::unexpected(window.error());
  shape.window = window->value_or(0);
  const std::uint64_t own = *layers - std::min(shared->value_or(0), *layers);
  if (const Json* kinds = value_of(config, {"layer_types", "layers_block_type"})) {
    if (auto counted = count_listed(*kinds, own, shape); !counted) return counted;
  } else if (value_of(config, kHybrid) != nullptr) {
    return fail(ErrorCode::kInvalid, "a hybrid model without 'layer_types': which of its layers have KV is not said");
  } else if (auto counted = count_windows(config, own, shape); !counted) {
    return counted;
  }
  if (shape.window_layers == 0) shape.window = 0;
  if (shape.window_layers > 0 && shape.window == 0) {
    return fail(ErrorCode::kInvalid, "there are layers with a window, but no 'sliding_window'");
  }
  return {};
}

Result<void> read_heads(const Json& config, ModelShape& shape) {
  const auto heads = needed(config, kHeads);
  if (!heads) return std::unexpected(heads.error());
  const auto kv_heads = number(config, kKvHeads);
  if (!kv_heads) return std::unexpected(kv_heads.error());
  const bool one = is_true(config, "multi_query") && !is_true(config, "new_decoder_architecture");
  shape.kv_heads = *kv_heads ? **kv_heads : one ? 1 : *heads;
  if (shape.kv_heads == 0) return fail(ErrorCode::kInvalid, "there are 0 KV heads");
  auto key = number(config, kHeadDim);
  if (!key) return std::unexpected(key.error());
  if (!*key) {
    const auto hidden = needed(config, kHidden);
    if (!hidden) return std::unexpected(hidden.error());
    key = *hidden / *heads;
  }
  const auto value = number(config, {"v_head_dim"});
  if (!value) return std::unexpected(value.error());
  shape.head_width = **key + value->value_or(**key);
  if (**key == 0) return fail(ErrorCode::kInvalid, "a head has no width");
  return {};
}

// Multi-head latent attention: what is kept is the compressed vector and the part that carries positions.
Result<bool> read_latent(const Json& config, ModelShape& shape) {
  const auto rank = number(config, {"kv_lora_rank"});
  if (!rank) return std::unexpected(rank.error());
  if (rank->value_or(0) == 0) return false;
  const auto rope = needed(config, {"qk_rope_head_dim"});
  if (!rope) return std::unexpected(rope.error());
  shape.latent = true;
  shape.kv_heads = 1;
  shape.head_width = **rank + *rope;
  return true;
}

}  // namespace

Result<ModelShape> read_model_config(std::string_view json) {
  const Json config = Json::parse(json, nullptr, false);
  if (!config.is_object()) return fail(ErrorCode::kInvalid, "it is no JSON object");
  const Json& part = language_part(config);
  ModelShape shape;
  shape.type = text(part, {"model_type"});
  shape.dtype = text(part, {"torch_dtype", "dtype"});
  if (shape.dtype.empty()) shape.dtype = text(config, {"torch_dtype", "dtype"});
  if (auto counted = count_layers(part, shape); !counted) return std::unexpected(counted.error());
  const auto latent = read_latent(part, shape);
  if (!latent) return std::unexpected(latent.error());
  if (!*latent) {
    if (auto read = read_heads(part, shape); !read) return std::unexpected(read.error());
  }
  return shape;
}

}  // namespace reprise::cli
