// Namespaces, keys and payloads for tests: every block's bytes follow from its namespace and key, so that any test can
// tell right bytes from wrong ones. Pure functions.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "reprise/block.h"
#include "reprise/namespace.h"

namespace reprise::testing {

inline Namespace make_namespace(std::uint64_t block_bytes, const std::string& salt = "") {
  NamespaceSpec spec;
  spec.model = "test-model";
  spec.revision = "r1";
  spec.dtype = "bfloat16";
  spec.layout = "opaque";
  spec.block_tokens = 16;
  spec.block_bytes = block_bytes;
  spec.layers = IndexRange{0, 32};
  spec.heads = IndexRange{0, 8};
  spec.salt = salt;
  auto made = Namespace::create(spec);
  EXPECT_TRUE(made.has_value());
  return std::move(*made);
}

/// Different chains share no key.
inline std::vector<BlockKey> make_keys(std::uint64_t chain, std::size_t n) {
  std::vector<BlockKey> keys;
  for (std::size_t i = 0; i < n; ++i) keys.push_back(BlockKey::from_words(chain * 1'000'003 + i * 7919, ~chain ^ i));
  return keys;
}

inline std::vector<std::byte> payload(const Namespace& ns, const BlockKey& key) {
  std::vector<std::byte> out(ns.block_bytes());
  std::uint64_t x = key.word(0) * 0x9E3779B97F4A7C15ULL ^ key.word(1) ^ ns.id().word(0);
  for (std::size_t i = 0; i < out.size(); i += 8) {
    x += 0x9E3779B97F4A7C15ULL;
    std::memcpy(out.data() + i, &x, std::min<std::size_t>(8, out.size() - i));
  }
  return out;
}

inline bool is_payload(const Namespace& ns, const BlockKey& key, Bytes bytes) {
  const auto want = payload(ns, key);
  return bytes.size() == want.size() && std::memcmp(bytes.data(), want.data(), want.size()) == 0;
}

/// The payloads of some keys, and the views that `put` takes.
struct Payloads {
  std::vector<std::vector<std::byte>> bytes;
  std::vector<Bytes> views;
  Payloads(const Namespace& ns, std::span<const BlockKey> keys) { add(ns, keys); }
  void add(const Namespace& ns, std::span<const BlockKey> keys) {
    for (const BlockKey& key : keys) bytes.push_back(payload(ns, key));
    views.assign(bytes.begin(), bytes.end());
  }
};

/// Buffers for `get`, filled with something that is no payload.
struct Buffers {
  std::vector<std::vector<std::byte>> bytes;
  std::vector<MutableBytes> views;
  Buffers(const Namespace& ns, std::size_t n) { add(ns, n); }
  void add(const Namespace& ns, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) bytes.emplace_back(ns.block_bytes(), std::byte{0x5A});
    views.assign(bytes.begin(), bytes.end());
  }
  [[nodiscard]] bool untouched(std::size_t i) const {
    return bytes[i] == std::vector<std::byte>(bytes[i].size(), std::byte{0x5A});
  }
};

}  // namespace reprise::testing
