// Keys from an engine's own block hashes; docs/identity.md has the formula.
#include <algorithm>
#include <cstring>
#include <string>

#include "identity/sha256.h"
#include "reprise/keys.h"

namespace reprise {
namespace {

constexpr std::size_t kMaxHash = 1024;
constexpr std::size_t kMaxAlgorithm = 64;
constexpr std::string_view kHashDomain = "reprise-engine-hash-1";
// What engines call hashes nobody can make collide on purpose, as far as is known.
constexpr std::string_view kCryptographic[] = {
    "sha224",   "sha256",   "sha256_cbor", "sha384",  "sha512",  "sha512_256", "sha3_224",
    "sha3_256", "sha3_384", "sha3_512",    "blake2b", "blake2s", "blake3",
};

bool is_cryptographic(std::string_view algorithm) {
  return std::find(std::begin(kCryptographic), std::end(kCryptographic), algorithm) != std::end(kCryptographic);
}

/// One spelling only: "SHA256" and "sha256" would be two different keys.
bool is_plain_name(std::string_view name) {
  return !name.empty() && name.size() <= kMaxAlgorithm && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
  });
}

Result<void> check_name(std::string_view algorithm) {
  if (is_plain_name(algorithm)) return {};
  return fail(ErrorCode::kInvalid, "hash algorithm '" + std::string(algorithm.substr(0, kMaxAlgorithm)) +
                                       "': 1 to 64 of a-z, 0-9, '_', '-', '.'");
}

Result<void> check_hash(std::string_view algorithm, Bytes hash, bool trusted_kind, bool trust_hashes) {
  if (hash.empty() || hash.size() > kMaxHash) {
    return fail(ErrorCode::kInvalid, std::string(algorithm) + " hash of " + std::to_string(hash.size()) +
                                         " bytes: must have 1 to " + std::to_string(kMaxHash));
  }
  if (trust_hashes || (trusted_kind && hash.size() > sizeof(BlockKey))) return {};
  return fail(ErrorCode::kDenied, std::string(algorithm) + " hash of " + std::to_string(hash.size()) +
                                      " bytes can be made to collide, which would serve one user another's blocks: "
                                      "use a cryptographic hash of more than 16 bytes, or trust_hashes if all "
                                      "users are trusted");
}

/// What stands before every hash.
Sha256 begun(std::string_view algorithm) {
  const auto length = static_cast<std::uint8_t>(algorithm.size());
  Sha256 hash;
  hash.add(kHashDomain.data(), kHashDomain.size()).add(&length, 1).add(algorithm.data(), algorithm.size());
  return hash;
}

BlockKey ended(Sha256& hash) {
  const Sha256Digest digest = hash.finish();
  BlockKey key;
  std::memcpy(key.bytes.data(), digest.data(), key.bytes.size());
  return key;
}

}  // namespace

Result<BlockKey> key_from_hash(std::string_view algorithm, Bytes hash, bool trust_hashes) {
  if (auto ok = check_name(algorithm); !ok) return std::unexpected(ok.error());
  if (auto ok = check_hash(algorithm, hash, is_cryptographic(algorithm), trust_hashes); !ok) {
    return std::unexpected(ok.error());
  }
  Sha256 digest = begun(algorithm);
  return ended(digest.add(hash.data(), hash.size()));
}

Result<std::vector<BlockKey>> keys_from_hashes(std::string_view algorithm, std::span<const Bytes> hashes,
                                               std::size_t group, bool trust_hashes) {
  if (auto ok = check_name(algorithm); !ok) return std::unexpected(ok.error());
  if (group == 0) return fail(ErrorCode::kInvalid, "group is 0; must be at least 1");
  const bool cryptographic = is_cryptographic(algorithm);
  const Sha256 start = begun(algorithm);
  std::vector<BlockKey> keys;
  keys.reserve(hashes.size() / group);
  for (std::size_t first = 0; hashes.size() - first >= group; first += group) {
    Sha256 digest = start;
    for (std::size_t i = first; i < first + group; ++i) {
      if (auto ok = check_hash(algorithm, hashes[i], cryptographic, trust_hashes); !ok) {
        return fail(ok.error().code, "hashes[" + std::to_string(i) + "]: " + ok.error().message);
      }
      if (!trust_hashes && hashes[i].size() != hashes[first].size()) {
        return fail(ErrorCode::kInvalid, "hashes[" + std::to_string(i) + "] has " + std::to_string(hashes[i].size()) +
                                             " bytes, the first of its group " + std::to_string(hashes[first].size()) +
                                             ": without trust_hashes they must have one length");
      }
      digest.add(hashes[i].data(), hashes[i].size());
    }
    keys.push_back(ended(digest));
  }
  return keys;
}

}  // namespace reprise
