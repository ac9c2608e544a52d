// What a model's config.json, as Hugging Face has them, says about its KV cache. A pure function of the text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "reprise/status.h"

namespace reprise::cli {

struct ModelShape {
  std::string type;                 ///< "llama", "qwen3", ...; "" where the file does not say.
  std::string dtype;                ///< "bfloat16", ...; "" where the file does not say.
  std::uint64_t full_layers = 0;    ///< Layers that need every token.
  std::uint64_t window_layers = 0;  ///< Layers that need the last `window` tokens.
  std::uint64_t window = 0;         ///< 0 without such layers.
  std::uint64_t state_layers = 0;   ///< Layers that keep a state instead (Mamba, linear attention): nothing a token.
  std::uint64_t kv_heads = 0;
  std::uint64_t head_width = 0;  ///< Elements a token of one head: of its key and its value.
  bool latent = false;           ///< One compressed vector stands for all heads (MLA); every rank has all of it.
};

/// Understands the families of Llama, Qwen, Mistral, Gemma and DeepSeek, and what names things as they do, also nested
/// within a multi-modal model. Layers that use the KV of others, and layers of draft models, do not count. Fails with
/// kInvalid, naming the key, on a file that lacks what is needed or has no sensible number there.
[[nodiscard]] Result<ModelShape> read_model_config(std::string_view json);

}  // namespace reprise::cli
