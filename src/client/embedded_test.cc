#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "reprise/cache.h"
#include "reprise/keys.h"

namespace reprise {
namespace {

Namespace make_namespace(std::uint64_t block_bytes) {
  NamespaceSpec spec;
  spec.model = "test-model";
  spec.revision = "r1";
  spec.dtype = "bfloat16";
  spec.layout = "opaque";
  spec.block_tokens = 16;
  spec.block_bytes = block_bytes;
  spec.layers = IndexRange{0, 32};
  spec.heads = IndexRange{0, 8};
  spec.salt = "";
  auto made = Namespace::create(spec);
  EXPECT_TRUE(made.has_value());
  return std::move(*made);
}

std::vector<BlockKey> make_keys(std::uint64_t chain, std::size_t n) {
  std::vector<BlockKey> keys;
  for (std::size_t i = 0; i < n; ++i) keys.push_back(BlockKey::from_words(chain * 1'000'003 + i * 7919, ~chain ^ i));
  return keys;
}

std::vector<std::byte> payload(const BlockKey& key, std::size_t bytes) {
  std::vector<std::byte> out(bytes);
  for (std::size_t i = 0; i < bytes; ++i) out[i] = static_cast<std::byte>(key.bytes[i % 16] + i / 16);
  return out;
}

std::unique_ptr<Cache> open_cache(CacheOptions options) {
  options.l1_populate = false;
  auto cache = open("embedded:", options);
  EXPECT_TRUE(cache.has_value()) << cache.error().message;
  return std::move(*cache);
}

std::size_t put_all(Cache& cache, const Namespace& ns, const std::vector<BlockKey>& keys, std::size_t from = 0) {
  std::vector<std::vector<std::byte>> bytes;
  std::vector<Bytes> views;
  for (std::size_t i = from; i < keys.size(); ++i) bytes.push_back(payload(keys[i], ns.block_bytes()));
  for (const auto& b : bytes) views.emplace_back(b);
  const auto stored = cache.put(Chain(ns, keys), from, views);
  EXPECT_TRUE(stored.has_value());
  return stored->accepted;
}

void expect_bytes(const Namespace& ns, const std::vector<BlockKey>& keys, const Lease& lease) {
  for (std::size_t i = 0; i < lease.size(); ++i) {
    const auto want = payload(keys[i], ns.block_bytes());
    ASSERT_EQ(lease.block(i).size(), want.size());
    ASSERT_EQ(std::memcmp(lease.block(i).data(), want.data(), want.size()), 0) << "block " << i;
  }
}

TEST(EmbeddedTest, FindsWhatWasPut) {
  CacheOptions options;
  options.l1_capacity = 1 << 20;
  const auto cache = open_cache(options);
  const Namespace ns = make_namespace(4096);
  const auto keys = make_keys(1, 40);
  EXPECT_EQ(put_all(*cache, ns, keys), 40);
  auto acquired = cache->acquire(Chain(ns, keys));
  ASSERT_TRUE(acquired.has_value());
  EXPECT_EQ(acquired->match.blocks, 40);
  EXPECT_EQ(acquired->match.reason, Reason::kNone);
  expect_bytes(ns, keys, acquired->lease);
  EXPECT_TRUE(acquired->lease.still_valid());
  EXPECT_EQ(cache->stats().leases, 1);
  acquired->lease.release();
  EXPECT_EQ(cache->stats().leases, 0);
}

TEST(EmbeddedTest, HoldsExactlyItsCapacity) {
  for (const std::string policy : {"lru", "fifo", "s3fifo", "adaptive"}) {
    CacheOptions options;
    options.l1_capacity = 1000 * 4096;
    options.l1_policy = policy;
    const auto cache = open_cache(options);
    const Namespace ns = make_namespace(4096);
    for (std::uint64_t c = 0; c < 100; ++c) put_all(*cache, ns, make_keys(c, 25));
    EXPECT_EQ(cache->stats().l1.blocks, 1000) << policy;
  }
}

TEST(EmbeddedTest, ComesBackFromDiskLikeStore) {
  for (const Ingest ingest : {Ingest::kAll, Ingest::kEvicted}) {
    CacheOptions options;
    options.l1_capacity = 100 * 4096;
    options.l1_policy = "lru";
    options.l2_url = "mock:";
    options.l2_ingest = ingest;
    const auto cache = open_cache(options);
    const Namespace ns = make_namespace(4096);
    for (std::uint64_t c = 0; c < 10; ++c) put_all(*cache, ns, make_keys(c, 50));
    ASSERT_TRUE(cache->flush(Deadline::after(std::chrono::seconds(10))).value());
    for (std::uint64_t c = 0; c < 10; ++c) {
      const auto keys = make_keys(c, 50);
      auto acquired = cache->acquire(Chain(ns, keys));
      ASSERT_TRUE(acquired.has_value());
      EXPECT_EQ(acquired->match.blocks, 50) << c << " " << to_string(acquired->match.reason);
      expect_bytes(ns, keys, acquired->lease);
    }
  }
}

}  // namespace
}  // namespace reprise
