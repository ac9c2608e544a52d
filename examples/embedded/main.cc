// The smallest program with a cache in it: store a prompt's blocks, find them again, read them where they lie.
#include <cstdint>
#include <cstdio>
#include <vector>

#include "reprise/cache.h"
#include "reprise/keys.h"

int main() {
  reprise::CacheOptions options;
  options.l1_capacity = 64 << 20;
  const auto cache = reprise::open("embedded:", options);
  if (!cache) return std::puts(cache.error().message.c_str()), 1;

  const auto ns = reprise::Namespace::create({.model = "example/model",  // Every field that shapes the bytes.
                                              .revision = "none",
                                              .dtype = "bfloat16",
                                              .layout = "opaque",
                                              .block_tokens = 2,
                                              .block_bytes = 4096,
                                              .layers = {{.first = 0, .count = 32}},
                                              .heads = {{.first = 0, .count = 8}},
                                              .salt = "",
                                              .extras = {}});
  const std::vector<std::uint32_t> prompt = {11, 12, 13, 14, 15, 16};  // Three blocks of two tokens.
  const auto keys = reprise::block_keys(prompt, ns->block_tokens());
  const reprise::Chain chain(*ns, *keys);

  const std::vector<std::byte> kv(ns->block_bytes(), std::byte{42});  // What the engine computed for a block.
  const auto stored = (*cache)->put(chain, 0, std::vector<reprise::Bytes>(3, kv));
  const auto found = (*cache)->acquire(chain);
  if (!stored || !found || found->match.blocks != 3) return std::puts("the blocks are not there"), 1;

  const bool right = found->lease.block(2)[0] == std::byte{42};  // Read in place; nothing is copied.
  if (!right || !found->lease.still_valid()) return std::puts("what was read is void"), 1;
  std::printf("stored %zu blocks, found %zu\n", stored->accepted, found->match.blocks);
}
