// Proofs of a shared secret that never show it: HMAC-SHA256 over both sides' nonces. See docs/protocol.md.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "reprise/block.h"
#include "reprise/status.h"

namespace reprise::wire {

inline constexpr std::size_t kNonceBytes = 32;
inline constexpr std::size_t kProofBytes = 32;
inline constexpr std::size_t kMinSecret = 16;  ///< Shorter secrets are refused: they can be guessed offline.
using Nonce = std::array<std::uint8_t, kNonceBytes>;
using Proof = std::array<std::uint8_t, kProofBytes>;

/// Fresh random bytes; kIo when the kernel has none.
[[nodiscard]] Result<Nonce> make_nonce();

enum class Side : std::uint8_t { kClient, kServer };
/// HMAC-SHA256(secret, "reprise-1 client" or "reprise-1 server" | key id's length as a byte | key id | client's nonce |
/// server's nonce).
[[nodiscard]] Proof prove(Side side, std::string_view secret, std::string_view key_id, const Nonce& client,
                          const Nonce& server);
/// Compares in constant time; false for a wrong length.
[[nodiscard]] bool same_proof(const Proof& expected, Bytes shown);

/// A client's credential, "ID:SECRET".
struct Credential {
  std::string key_id;
  std::string secret;
  [[nodiscard]] bool empty() const { return key_id.empty(); }
};
/// kConfig when it is not of that form, or the secret is short. White space around it is ignored.
[[nodiscard]] Result<Credential> parse_credential(std::string_view text);

}  // namespace reprise::wire
