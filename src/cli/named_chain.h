// What `put` and `get` call their blocks: a namespace, and keys that follow from a text or are those of token ids.
// Values; one thread at a time.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "reprise/keys.h"
#include "reprise/namespace.h"

namespace reprise::cli {

/// As typed. The defaults are for trying things out: a real engine's namespace has to be given field by field.
struct ChainArguments {
  std::string model = "example";
  std::string revision = "none";
  std::string dtype = "uint8";
  std::string layout = "file";
  std::uint32_t block_tokens = 16;
  std::string block_bytes = "64KiB";
  std::uint32_t layers = 1;  ///< Layers [0, layers).
  std::uint32_t heads = 1;
  std::string salt;
  std::vector<std::string> extras;  ///< "name=value".
  std::string prompt = "example";   ///< Names a chain of any length.
  std::string tokens;               ///< "1,2,3" or "@FILE": a chain of exactly the complete blocks; "" = use `prompt`.
};

/// Fails with kConfig, naming the flag.
[[nodiscard]] Result<Namespace> make_namespace(const ChainArguments& arguments);

class BlockNames {
 public:
  /// Fails with kConfig, naming the flag.
  [[nodiscard]] static Result<BlockNames> create(const ChainArguments& arguments);

  /// True for token ids: there are `size()` blocks. A text names as many as are asked for.
  [[nodiscard]] bool is_fixed() const { return fixed_; }
  [[nodiscard]] std::size_t size() const { return keys_.size(); }
  /// The keys of the first n blocks. REQUIRES: n <= size() if is_fixed(). Valid until the next call.
  [[nodiscard]] std::span<const BlockKey> first(std::size_t n);

 private:
  BlockNames() : chain_(KeyScheme::kSha256, kTokens) {}
  static constexpr std::uint32_t kTokens = 4;  // a block of a text's chain

  bool fixed_ = false;
  KeyChain chain_;               // over the text, then a number for each block; unused for token ids
  std::size_t text_blocks_ = 0;  // at the front of `chain_`
  std::vector<BlockKey> keys_;
};

}  // namespace reprise::cli
