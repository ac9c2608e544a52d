#include "wire/auth.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/random.h>

#include <algorithm>

namespace reprise::wire {

Result<Nonce> make_nonce() {
  Nonce nonce;
  if (::getrandom(nonce.data(), nonce.size(), 0) != static_cast<ssize_t>(nonce.size())) {
    return fail(ErrorCode::kIo, "the kernel gave no random bytes for a nonce");
  }
  return nonce;
}

Proof prove(Side side, std::string_view secret, std::string_view key_id, const Nonce& client, const Nonce& server) {
  std::string message(side == Side::kClient ? "reprise-1 client" : "reprise-1 server");
  message += static_cast<char>(std::min<std::size_t>(key_id.size(), 255));
  message += key_id;
  message.append(client.begin(), client.end());
  message.append(server.begin(), server.end());
  Proof proof{};
  unsigned int length = proof.size();
  HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
       reinterpret_cast<const unsigned char*>(message.data()), message.size(), proof.data(), &length);
  return proof;
}

bool same_proof(const Proof& expected, Bytes shown) {
  return shown.size() == expected.size() && CRYPTO_memcmp(expected.data(), shown.data(), expected.size()) == 0;
}

Result<Credential> parse_credential(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const std::size_t first = std::min(text.find_first_not_of(kSpace), text.size());
  text.remove_prefix(first);
  text = text.substr(0, text.find_last_not_of(kSpace) + 1);
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos || colon == 0 || colon > 255) {
    return fail(ErrorCode::kConfig, "a token is written ID:SECRET, with an ID of 1 to 255 characters");
  }
  if (text.size() - colon - 1 < kMinSecret) {
    return fail(ErrorCode::kConfig, "the token's secret is shorter than " + std::to_string(kMinSecret) +
                                        " characters; make one with 'openssl rand -hex 32'");
  }
  return Credential{std::string(text.substr(0, colon)), std::string(text.substr(colon + 1))};
}

}  // namespace reprise::wire
