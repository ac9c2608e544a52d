#include "cli/kv_size.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <string_view>

#include "base/options_values.h"

namespace reprise::cli {
namespace {

struct ElementType {
  std::string_view name;
  std::uint64_t bytes;
};
// Names of model files and of vLLM's --kv-cache-dtype. Read, never written.
constexpr std::array<ElementType, 11> kElementTypes{{{"bfloat16", 2},
                                                     {"float16", 2},
                                                     {"half", 2},
                                                     {"float32", 4},
                                                     {"float", 4},
                                                     {"fp8", 1},
                                                     {"fp8_e4m3", 1},
                                                     {"fp8_e5m2", 1},
                                                     {"fp8_inc", 1},
                                                     {"int8", 1},
                                                     {"uint8", 1}}};

Result<std::uint64_t> product(std::initializer_list<std::uint64_t> factors) {
  std::uint64_t out = 1;
  for (const std::uint64_t factor : factors) {
    if (__builtin_mul_overflow(out, factor, &out) || out > (1ULL << 62)) {
      return fail(ErrorCode::kInvalid, "that is more bytes than can be counted");
    }
  }
  return out;
}

// What "auto" means: the model's, but engines compute float32 models in two bytes unless told otherwise.
std::string dtype_of(const ModelShape& shape, const std::string& asked) {
  if (asked != "auto") return asked;
  return shape.dtype.empty() || shape.dtype == "float32" || shape.dtype == "float" ? "bfloat16" : shape.dtype;
}

Result<std::uint64_t> element_bytes(const std::string& dtype) {
  const auto* const found = std::find_if(kElementTypes.begin(), kElementTypes.end(),
                                         [&](const ElementType& each) { return each.name == dtype; });
  if (found != kElementTypes.end()) return found->bytes;
  std::string known;
  for (const ElementType& each : kElementTypes) known += ", " + std::string(each.name);
  return fail(ErrorCode::kInvalid, "the dtype '" + dtype + "' is not known: auto" + known);
}

// Ranks share the heads out; where there are more ranks than heads, several have the same one.
Result<void> share_heads(const ModelShape& shape, std::uint64_t tp, KvSize& out) {
  const std::uint64_t heads = shape.kv_heads;
  if (shape.latent || (tp > heads && tp % heads == 0)) {
    out.heads = 1;
    out.copies = shape.latent ? tp : tp / heads;
    return {};
  }
  if (heads % tp != 0) {
    return fail(ErrorCode::kInvalid, std::to_string(heads) + " KV heads cannot be shared out to " + std::to_string(tp) +
                                         " tensor parallel ranks: one must divide the other");
  }
  out.heads = heads / tp;
  return {};
}

}  // namespace

Result<KvSize> kv_size(const ModelShape& shape, const Deployment& deployment) {
  KvSize out;
  out.dtype = dtype_of(shape, deployment.dtype);
  const auto element = element_bytes(out.dtype);
  if (!element) return std::unexpected(element.error());
  if (deployment.tp == 0 || deployment.pp == 0 || deployment.block_tokens == 0) {
    return fail(ErrorCode::kInvalid, "ranks and tokens of a block are 1 or more");
  }
  const std::uint64_t all = shape.full_layers + shape.window_layers + shape.state_layers;
  if (deployment.pp > all) {
    return fail(ErrorCode::kInvalid, std::to_string(all) + " layers are too few for " + std::to_string(deployment.pp) +
                                         " pipeline parallel ranks");
  }
  if (auto shared = share_heads(shape, deployment.tp, out); !shared) return std::unexpected(shared.error());
  const std::uint64_t layers = shape.full_layers + shape.window_layers;
  // Layers without KV are spread like the others, as far as a file can tell.
  const std::uint64_t most = (layers + deployment.pp - 1) / deployment.pp;
  const auto layer = product({out.heads, shape.head_width, *element});
  if (!layer) return std::unexpected(layer.error());
  const auto token = product({layers, *layer, deployment.tp});
  if (!token) return std::unexpected(token.error());
  const auto block = product({*token, deployment.block_tokens});
  if (!block) return std::unexpected(block.error());
  out.token_bytes = *token;
  out.rank_token_bytes = most * *layer;
  out.window_token_bytes = shape.window_layers * *layer * deployment.tp;
  out.block_bytes = *block;
  out.rank_block_bytes = out.rank_token_bytes * deployment.block_tokens;
  return out;
}

Result<Capacity> capacity_for(const KvSize& size, const ModelShape& shape, const Deployment& deployment,
                              std::uint64_t tokens, std::uint64_t requests) {
  const std::uint64_t block = deployment.block_tokens;
  const std::uint64_t blocks = tokens / block + (tokens % block == 0 ? 0 : 1);
  const std::uint64_t windowed = std::min(blocks, (shape.window + block - 1) / block);
  const auto all = product({blocks, requests});
  if (!all) return std::unexpected(all.error());
  const auto bytes = product({*all, size.block_bytes});
  if (!bytes) return std::unexpected(bytes.error());
  const std::uint64_t unread = (blocks - windowed) * requests * block * size.window_token_bytes;
  return Capacity{*all, *bytes, *bytes - unread};
}

Result<std::uint64_t> rank_capacity(std::uint64_t pod_bytes, std::uint64_t tp, std::uint64_t engine_bytes) {
  const std::uint64_t share = pod_bytes / tp;
  if (share > engine_bytes) return share - engine_bytes;
  return fail(ErrorCode::kInvalid, "the pod's memory for each rank, " + size_text(share) +
                                       ", is no more than what the engine takes, " + size_text(engine_bytes) +
                                       ": nothing is left for the cache");
}

}  // namespace reprise::cli
