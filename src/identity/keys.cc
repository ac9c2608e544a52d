#define XXH_INLINE_ALL
#include "reprise/keys.h"

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>
#include <string>

#include "identity/fingerprint128.h"
#include "identity/sha256.h"

namespace reprise {
namespace {

static_assert(std::endian::native == std::endian::little, "tokens are hashed as they lie in memory");

constexpr std::size_t kXxh3Digest = 16;

BlockKey truncated(const std::uint8_t* digest) {
  BlockKey key;
  std::memcpy(key.bytes.data(), digest, key.bytes.size());
  return key;
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

Sha256Digest digest_of(Fingerprint print) {
  Sha256Digest digest{};
  for (std::size_t i = 0; i < 8; ++i) {  // big-endian
    digest[i] = static_cast<std::uint8_t>(print.first >> (56 - 8 * i));
    digest[8 + i] = static_cast<std::uint8_t>(print.second >> (56 - 8 * i));
  }
  return digest;
}

Fingerprint fingerprint_of(const Sha256Digest& digest) {
  Fingerprint print;
  for (std::size_t i = 0; i < 8; ++i) {
    print.first = print.first << 8 | digest[i];
    print.second = print.second << 8 | digest[8 + i];
  }
  return print;
}

Sha256Digest link_farm(const Sha256Digest& parent, bool first, std::span<const std::uint32_t> block) {
  const Fingerprint print = fingerprint128(std::as_bytes(block));
  return digest_of(first ? print : chain_fingerprints(fingerprint_of(parent), print));
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
  const bool first = keys_.empty();
  switch (scheme_) {
    case KeyScheme::kSha256: digest_ = link_sha256(digest_, first, block); break;
    case KeyScheme::kXxh3: digest_ = link_xxh3(digest_, first, block); break;
    case KeyScheme::kFarmRolling: digest_ = link_farm(digest_, first, block); break;
    case KeyScheme::kFarmSimple:
      all_.insert(all_.end(), block.begin(), block.end());
      digest_ = digest_of(fingerprint128(std::as_bytes(std::span(all_))));
      break;
  }
  keys_.push_back(truncated(digest_.data()));
}

Result<std::vector<BlockKey>> block_keys(std::span<const std::uint32_t> tokens, std::uint32_t block_tokens,
                                         KeyScheme scheme) {
  if (block_tokens == 0) return fail(ErrorCode::kInvalid, "block_tokens is 0; must be at least 1");
  KeyChain chain(scheme, block_tokens);
  chain.append(tokens.first(tokens.size() / block_tokens * block_tokens));
  return chain.keys();
}

}  // namespace reprise
