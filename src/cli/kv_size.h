// How many bytes the KV of a model takes: a token, a block, a number of tokens; on each rank and on all. Pure
// functions.
#pragma once

#include <cstdint>
#include <string>

#include "cli/model_config.h"

namespace reprise::cli {

/// How an engine runs the model.
struct Deployment {
  std::uint64_t tp = 1;        ///< Tensor parallel ranks.
  std::uint64_t pp = 1;        ///< Pipeline parallel ranks.
  std::string dtype = "auto";  ///< Of the KV cache.
  std::uint64_t block_tokens = 16;
};

struct KvSize {
  std::string dtype;                     ///< What "auto" came to.
  std::uint64_t heads = 0;               ///< KV heads of one rank.
  std::uint64_t copies = 1;              ///< Tensor parallel ranks that have the same heads.
  std::uint64_t token_bytes = 0;         ///< Of all ranks.
  std::uint64_t rank_token_bytes = 0;    ///< Of the rank that has the most.
  std::uint64_t window_token_bytes = 0;  ///< The part of `token_bytes` that a hit reads only for the last tokens.
  std::uint64_t block_bytes = 0;         ///< Of all ranks.
  std::uint64_t rank_block_bytes = 0;    ///< Of the rank that has the most.
};

/// Fails with kInvalid where heads or layers cannot be divided so, the dtype is unknown, or a figure is beyond 2^62.
[[nodiscard]] Result<KvSize> kv_size(const ModelShape& shape, const Deployment& deployment);

struct Capacity {
  std::uint64_t blocks = 0;      ///< Of all ranks together one.
  std::uint64_t bytes = 0;       ///< Of all ranks.
  std::uint64_t read_bytes = 0;  ///< Of all ranks, what hits on all of it read.
};

/// What `requests` prompts of `tokens` tokens take, that have nothing in common. Fails with kInvalid beyond 2^62.
[[nodiscard]] Result<Capacity> capacity_for(const KvSize& size, const ModelShape& shape, const Deployment& deployment,
                                            std::uint64_t tokens, std::uint64_t requests);

/// P / TP - E: what a pod of `pod_bytes` leaves each of `tp` ranks for memory of a cache, where the engine takes
/// `engine_bytes` of the host's memory for each. Fails with kInvalid where nothing is left.
[[nodiscard]] Result<std::uint64_t> rank_capacity(std::uint64_t pod_bytes, std::uint64_t tp,
                                                  std::uint64_t engine_bytes);

}  // namespace reprise::cli
