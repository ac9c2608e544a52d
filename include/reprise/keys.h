// From tokens, or from an engine's own block hashes, to block keys.
//
// The formulas and golden vectors are in docs/identity.md.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "reprise/block.h"
#include "reprise/status.h"

namespace reprise {

/// How token lists become keys.
enum class KeyScheme : std::uint8_t {
  kSha256,       ///< Default: SHA-256 chain, the one SGLang's page hashes use. Safe against forged collisions.
  kXxh3,         ///< XXH3-128 chain: faster, for trusted callers only.
  kFarmRolling,  ///< FarmHash Fingerprint128 chain: for trusted callers who need these very keys.
  kFarmSimple,   ///< FarmHash Fingerprint128 of all tokens up to the block's end: likewise, and its time is quadratic.
};

/// Hashes a growing token list block by block. Not thread-safe; keep one per prompt.
class KeyChain {
 public:
  /// `block_tokens` must be at least 1.
  KeyChain(KeyScheme scheme, std::uint32_t block_tokens);

  /// Appends tokens; every block that became complete adds one key. An incomplete last block waits.
  void append(std::span<const std::uint32_t> tokens);
  /// Keys of the complete blocks so far, in order.
  [[nodiscard]] const std::vector<BlockKey>& keys() const { return keys_; }
  /// Tokens of the incomplete last block.
  [[nodiscard]] std::span<const std::uint32_t> tail() const { return tail_; }

 private:
  void close_block(std::span<const std::uint32_t> block);

  KeyScheme scheme_;
  std::uint32_t block_tokens_;
  std::array<std::uint8_t, 32> digest_{};  // of the last complete block; used from the second block on
  std::vector<std::uint32_t> tail_;
  std::vector<std::uint32_t> all_;  // the tokens of complete blocks; for kFarmSimple alone
  std::vector<BlockKey> keys_;
};

/// Keys of all complete blocks of `tokens`. Fails with kInvalid when block_tokens is 0.
[[nodiscard]] Result<std::vector<BlockKey>> block_keys(std::span<const std::uint32_t> tokens,
                                                       std::uint32_t block_tokens,
                                                       KeyScheme scheme = KeyScheme::kSha256);

/// Key of a block an engine has already hashed. `algorithm` names the engine's hash ("sha256", "sha256_cbor", ...).
/// Longer than 16 bytes: SHA-256 over algorithm and hash, first 16 bytes. 16 bytes or shorter, or an algorithm that
/// is not cryptographic: kDenied unless `trust_hashes`, since such hashes can be made to collide on purpose.
[[nodiscard]] Result<BlockKey> key_from_hash(std::string_view algorithm, Bytes hash, bool trust_hashes = false);

/// One key per `group` consecutive hashes: that of their bytes one after the other. Hashes of an incomplete last group
/// have no key. What key_from_hash refuses of one hash is refused here, with its position; without `trust_hashes` also
/// hashes of different lengths in one group, whose borders could be moved. kInvalid when group is 0.
[[nodiscard]] Result<std::vector<BlockKey>> keys_from_hashes(std::string_view algorithm, std::span<const Bytes> hashes,
                                                             std::size_t group = 1, bool trust_hashes = false);

}  // namespace reprise
