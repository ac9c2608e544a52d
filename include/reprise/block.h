// The words for bytes and for what names them.
//
// A block is the KV bytes of `block_tokens` consecutive tokens for one shard of one model, opaque to the cache.
// It is named by its namespace (who may share it) and its key (everything before it, hashed).
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <string>

namespace reprise {

using Bytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

/// 128 bits with value semantics; `bytes` is the order in which they are written and printed.
template <typename Tag>
struct Id128 {
  std::array<std::uint8_t, 16> bytes{};

  // By words: compilers turn the array's own comparison into a call of memcmp, which lookups would feel.
  friend bool operator==(const Id128& a, const Id128& b) { return a.word(0) == b.word(0) && a.word(1) == b.word(1); }
  friend auto operator<=>(const Id128&, const Id128&) = default;

  /// The two halves as little-endian words; `word(0)` covers bytes 0..7.
  [[nodiscard]] std::uint64_t word(int i) const {
    std::uint64_t w;
    std::memcpy(&w, bytes.data() + 8 * i, 8);
    return w;
  }
  static Id128 from_words(std::uint64_t w0, std::uint64_t w1) {
    Id128 id;
    std::memcpy(id.bytes.data(), &w0, 8);
    std::memcpy(id.bytes.data() + 8, &w1, 8);
    return id;
  }
  /// 32 lower-case hexadecimal digits.
  [[nodiscard]] std::string hex() const {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string out;
    out.reserve(32);
    for (std::uint8_t b : bytes) {
      out += kDigits[b >> 4];
      out += kDigits[b & 15];
    }
    return out;
  }
};

/// Chained hash of a block and everything before it. See docs/identity.md for the formula and golden vectors.
using BlockKey = Id128<struct BlockKeyTag>;
/// Digest of a namespace's fields. Part of every stored block's identity.
using NamespaceId = Id128<struct NamespaceIdTag>;

}  // namespace reprise

template <typename Tag>
struct std::hash<reprise::Id128<Tag>> {
  std::size_t operator()(const reprise::Id128<Tag>& id) const noexcept {
    return static_cast<std::size_t>(id.word(0) ^ (id.word(1) * 0x9E3779B97F4A7C15ULL));
  }
};
