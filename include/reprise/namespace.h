// Who may share blocks with whom.
//
// Two engines share a block only if everything that shapes its bytes agrees: that is a namespace. All fields are
// mandatory; leaving one out is an error, because a default that differs between two engines serves wrong bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "reprise/block.h"
#include "reprise/status.h"

namespace reprise {

/// A half-open range [first, first + count) of layers or heads.
struct IndexRange {
  std::uint32_t first = 0;
  std::uint32_t count = 0;
  friend bool operator==(const IndexRange&, const IndexRange&) = default;
};

struct NamespaceSpec {
  std::string model;                 ///< Model name or path, as the engine knows it.
  std::string revision;              ///< Weights revision; engines without one pass "none".
  std::string dtype;                 ///< Element type of the KV tensors, e.g. "bfloat16".
  std::string layout;                ///< How a block's bytes are arranged, e.g. "vllm-flash", "canonical".
  std::uint32_t block_tokens = 0;    ///< Tokens per block.
  std::uint64_t block_bytes = 0;     ///< Bytes per block; every block of the namespace has exactly this size.
  std::optional<IndexRange> layers;  ///< Layers this shard holds.
  std::optional<IndexRange> heads;   ///< KV heads this shard holds.
  std::optional<std::string> salt;   ///< Tenant's salt; "" is a choice (shared by all), absent is an error.
  /// Whatever else shapes the bytes: RoPE scaling, LoRA, quantisation, instruction set, engine. Order is irrelevant.
  std::vector<std::pair<std::string, std::string>> extras;
};

/// A checked NamespaceSpec with its digest. Cheap to keep, immutable, thread-safe.
class Namespace {
 public:
  /// Fails with kInvalid, naming the field, when one is missing, out of range, or an extra is given twice.
  [[nodiscard]] static Result<Namespace> create(NamespaceSpec spec);

  [[nodiscard]] const NamespaceId& id() const { return id_; }
  [[nodiscard]] const NamespaceSpec& spec() const { return spec_; }
  [[nodiscard]] std::uint64_t block_bytes() const { return spec_.block_bytes; }
  [[nodiscard]] std::uint32_t block_tokens() const { return spec_.block_tokens; }

 private:
  Namespace(NamespaceSpec spec, NamespaceId id) : spec_(std::move(spec)), id_(id) {}
  NamespaceSpec spec_;
  NamespaceId id_;
};

}  // namespace reprise
