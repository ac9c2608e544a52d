#define XXH_INLINE_ALL
#include "reprise/keys.h"

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>
#include <string>

#include "identity/sha256.h"

namespace reprise {
namespace {

static_assert(std::endian::native == std::endian::little, "tokens are hashed as they lie in memory");

constexpr std::size_t kXxh3Digest = 16;
constexpr std::size_t kMaxHash = 1024;
constexpr std::size_t kMaxAlgorithm = 64;
constexpr std::string_view kHashDomain = "reprise-engine-hash-1";
// What engines call hashes nobody can make collide on purpose, as far as is known.
constexpr std::string_view kCryptographic[] = {
    "sha224",   "sha256",   "sha256_cbor", "sha384",  "sha512",  "sha512_256", "sha3_224",
    "sha3_256", "sha3_384", "sha3_512",    "blake2b", "blake2s", "blake3",
};

BlockKey truncated(const std::uint8_t* digest) {
  BlockKey key;
  std::memcpy(key.bytes.data(), digest, key.bytes.size());
  return key;
}

bool is_cryptographic(std::string_view algorithm) {
  return std::find(std::begin(kCryptographic), std::end(kCryptographic), algorithm) != std::end(kCryptographic);
}

/// One spelling only: "SHA256" and "sha256" would be two different keys.
bool is_plain_name(std::string_view name) {
  return !name.empty() && name.size() <= kMaxAlgorithm && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
  });
}

Sha256Digest link_sha256(const Sha256Digest& parent, bool first, std::span<const std::uint32_t> block) {
  Sha256 hash;
  if (!first) hash.add(parent.data(), parent.size());
  return hash.add(block.data(), block.size_bytes()).finish();
}

XXH128_hash_t xxh3_of(const Sha256Digest& parent, bool first, std::span<const std::uint32_t> block) {
  if (first) return XXH3_128bits(block.data(), block.size_bytes());
  // XXH3's streaming form costs more than it hashes for the usual 16 tokens: join the two in one buffer.
  std::array<std::uint8_t, 1024> joined;
  if (kXxh3Digest + block.size_bytes() <= joined.size()) {
    std::memcpy(joined.data(), parent.data(), kXxh3Digest);
    std::memcpy(joined.data() + kXxh3Digest, block.data(), block.size_bytes());
    return XXH3_128bits(joined.data(), kXxh3Digest + block.size_bytes());
  }
  XXH3_state_t state;
  XXH3_128bits_reset(&state);
  XXH3_128bits_update(&state, parent.data(), kXxh3Digest);
  XXH3_128bits_update(&state, block.data(), block.size_bytes());
  return XXH3_128bits_digest(&state);
}

/// The canonical (big-endian) form of XXH3-128, as xxh128sum prints it, in the first 16 bytes.
Sha256Digest link_xxh3(const Sha256Digest& parent, bool first, std::span<const std::uint32_t> block) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, xxh3_of(parent, first, block));
  Sha256Digest digest{};
  std::memcpy(digest.data(), canonical.digest, kXxh3Digest);
  return digest;
}

}  // namespace

KeyChain::KeyChain(KeyScheme scheme, std::uint32_t block_tokens)
    : scheme_(scheme), block_tokens_(std::max(block_tokens, 1U)) {
  assert(block_tokens >= 1);
}

void KeyChain::append(std::span<const std::uint32_t> tokens) {
  keys_.reserve(std::max(keys_.capacity(), keys_.size() + (tail_.size() + tokens.size()) / block_tokens_));
  if (!tail_.empty()) {
    const std::size_t missing = std::min<std::size_t>(block_tokens_ - tail_.size(), tokens.size());
    tail_.insert(tail_.end(), tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(missing));
    tokens = tokens.subspan(missing);
    if (tail_.size() < block_tokens_) return;
    close_block(tail_);
    tail_.clear();
  }
  while (tokens.size() >= block_tokens_) {
    close_block(tokens.first(block_tokens_));
    tokens = tokens.subspan(block_tokens_);
  }
  tail_.assign(tokens.begin(), tokens.end());
}

void KeyChain::close_block(std::span<const std::uint32_t> block) {
  digest_ = scheme_ == KeyScheme::kSha256 ? link_sha256(digest_, keys_.empty(), block)
                                          : link_xxh3(digest_, keys_.empty(), block);
  keys_.push_back(truncated(digest_.data()));
}

Result<std::vector<BlockKey>> block_keys(std::span<const std::uint32_t> tokens, std::uint32_t block_tokens,
                                         KeyScheme scheme) {
  if (block_tokens == 0) return fail(ErrorCode::kInvalid, "block_tokens is 0; must be at least 1");
  KeyChain chain(scheme, block_tokens);
  chain.append(tokens.first(tokens.size() / block_tokens * block_tokens));
  return chain.keys();
}

Result<BlockKey> key_from_hash(std::string_view algorithm, Bytes hash, bool trust_hashes) {
  const std::string name(algorithm.substr(0, kMaxAlgorithm));
  if (!is_plain_name(algorithm)) {
    return fail(ErrorCode::kInvalid, "hash algorithm '" + name + "': 1 to 64 of a-z, 0-9, '_', '-', '.'");
  }
  if (hash.empty() || hash.size() > kMaxHash) {
    return fail(ErrorCode::kInvalid, name + " hash of " + std::to_string(hash.size()) + " bytes: must have 1 to " +
                                         std::to_string(kMaxHash));
  }
  if (!trust_hashes && (hash.size() <= sizeof(BlockKey) || !is_cryptographic(algorithm))) {
    return fail(ErrorCode::kDenied, name + " hash of " + std::to_string(hash.size()) +
                                        " bytes can be made to collide, which would serve one user another's blocks: "
                                        "use a cryptographic hash of more than 16 bytes, or trust_hashes if all "
                                        "users are trusted");
  }
  const auto length = static_cast<std::uint8_t>(name.size());
  const Sha256Digest digest = Sha256()
                                  .add(kHashDomain.data(), kHashDomain.size())
                                  .add(&length, 1)
                                  .add(name.data(), name.size())
                                  .add(hash.data(), hash.size())
                                  .finish();
  return truncated(digest.data());
}

}  // namespace reprise
