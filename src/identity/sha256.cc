// The low-level calls are deprecated in favour of EVP, not scheduled for removal; EVP costs 0.5 us more a block.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "identity/sha256.h"

#include <openssl/sha.h>

#include <new>

namespace reprise {
namespace {

SHA256_CTX* context(std::byte* storage) {
  return std::launder(reinterpret_cast<SHA256_CTX*>(storage));
}

}  // namespace

Sha256::Sha256() {
  static_assert(sizeof(SHA256_CTX) <= sizeof(context_) && alignof(SHA256_CTX) <= 8);
  SHA256_Init(new (context_.data()) SHA256_CTX);
}

Sha256& Sha256::add(const void* data, std::size_t size) {
  SHA256_Update(context(context_.data()), data, size);
  return *this;
}

Sha256Digest Sha256::finish() {
  Sha256Digest digest;
  SHA256_Final(digest.data(), context(context_.data()));
  return digest;
}

}  // namespace reprise
