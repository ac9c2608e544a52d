#include "cli/block_content.h"

#include <openssl/sha.h>

#include <array>
#include <bit>
#include <cstring>

namespace reprise::cli {
namespace {

static_assert(std::endian::native == std::endian::little, "contents and ids are little-endian words");

// Word i of a block: a counter seeded by the key, mixed. Blocks of different keys, and a block that is shifted against
// itself, differ in nearly every word.
struct Generator {
  std::uint64_t counter;
  std::uint64_t twist;
  explicit Generator(const BlockKey& key) : counter(key.word(0)), twist(key.word(1)) {}
  [[nodiscard]] std::uint64_t word(std::uint64_t i) const {
    std::uint64_t x = (counter + i) * 0x9E3779B97F4A7C15ULL;
    x ^= x >> 29;
    return x ^ twist;
  }
};

constexpr std::size_t kWord = 8;
constexpr std::size_t kStride = 8;  // words compared at once

}  // namespace

BlockKey trace_block_key(std::uint64_t hash_id) {
  std::array<std::uint8_t, 8> text{};
  std::memcpy(text.data(), &hash_id, sizeof hash_id);
  std::array<std::uint8_t, SHA256_DIGEST_LENGTH> digest{};
  SHA256(text.data(), text.size(), digest.data());
  BlockKey key;
  std::memcpy(key.bytes.data(), digest.data(), key.bytes.size());
  return key;
}

void fill_block(const BlockKey& key, MutableBytes block) {
  const Generator generator(key);
  const std::size_t words = block.size() / kWord;
  for (std::size_t i = 0; i < words; ++i) {
    const std::uint64_t word = generator.word(i);
    std::memcpy(block.data() + i * kWord, &word, kWord);
  }
  const std::uint64_t last = generator.word(words);
  std::memcpy(block.data() + words * kWord, &last, block.size() % kWord);
}

std::optional<std::size_t> first_wrong_byte(const BlockKey& key, Bytes block) {
  const Generator generator(key);
  const std::size_t strides = block.size() / (kWord * kStride);
  std::size_t stride = 0;
  for (; stride < strides; ++stride) {
    std::uint64_t difference = 0;
    for (std::size_t j = 0; j < kStride; ++j) {
      std::uint64_t word;
      std::memcpy(&word, block.data() + (stride * kStride + j) * kWord, kWord);
      difference |= word ^ generator.word(stride * kStride + j);
    }
    if (difference != 0) break;
  }
  // The stride that differs, or the rest of the block, byte by byte.
  for (std::size_t at = stride * kStride * kWord; at < block.size(); ++at) {
    const auto expected = static_cast<std::byte>(generator.word(at / kWord) >> (8 * (at % kWord)));
    if (block[at] != expected) return at;
  }
  return std::nullopt;
}

}  // namespace reprise::cli
