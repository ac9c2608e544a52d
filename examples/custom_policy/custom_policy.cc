// An eviction policy from outside the tree: implement EvictionPolicy, add it to a PolicyRegistry under a name, and use
// it wherever a policy is named. Here: most recently used goes first, which beats LRU when a loop is larger than the
// cache.
//
// Exits with 0 only if the policy was found by its name and did what it is good at.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <numeric>
#include <vector>

#include "reprise/cache.h"
#include "reprise/keys.h"

namespace {

using reprise::BlockSlot;

// Keeps blocks in a stack; the one on top goes first. A chain is pushed root first, so its deepest block goes before
// the rest. Simple rather than fast: a touch searches the stack.
class MruPolicy final : public reprise::EvictionPolicy {
 public:
  explicit MruPolicy(const reprise::PolicyConfig& config) : hot_(config.slots), aside_(config.slots) {}

  void touch(std::span<const BlockSlot> chain, std::vector<BlockSlot>& hot) override {
    for (const BlockSlot slot : chain) {
      if (aside_[slot] != 0) continue;
      std::erase(stack_, slot);
      stack_.push_back(slot);
      if (hot_[slot] == 0) hot.push_back(slot);
      hot_[slot] = 1;
    }
  }
  void insert(std::span<const BlockSlot> /*parents*/, std::span<const reprise::NewBlock> blocks,
              std::vector<BlockSlot>& /*hot*/) override {
    for (const reprise::NewBlock& block : blocks) {
      stack_.push_back(block.slot);
      hot_[block.slot] = aside_[block.slot] = 0;
    }
  }
  std::optional<BlockSlot> victim(reprise::VictimFilter& filter) override {
    while (!stack_.empty()) {
      const BlockSlot slot = stack_.back();
      stack_.pop_back();
      if (filter.accept(slot)) {
        hot_[slot] = 0;
        return slot;
      }
      aside_[slot] = 1;
    }
    return std::nullopt;
  }
  void restore(BlockSlot slot) override {
    if (aside_[slot] != 0) stack_.push_back(slot);
    aside_[slot] = 0;
  }
  void remove(BlockSlot slot) override {
    std::erase(stack_, slot);
    hot_[slot] = aside_[slot] = 0;
  }
  void grow(std::uint32_t slots, std::uint64_t /*capacity_blocks*/) override {
    hot_.resize(std::max<std::size_t>(hot_.size(), slots));
    aside_.resize(hot_.size());
  }
  [[nodiscard]] bool is_hot(BlockSlot slot) const override { return hot_[slot] != 0; }
  [[nodiscard]] Footprint footprint() const override {
    return {stack_.capacity() * sizeof(BlockSlot) + hot_.capacity() + aside_.capacity(), sizeof(*this)};
  }

 private:
  std::vector<BlockSlot> stack_;
  std::vector<char> hot_;
  std::vector<char> aside_;
};

constexpr std::size_t kBlockBytes = 4096;
constexpr std::size_t kChain = 10;
constexpr std::uint32_t kChains = 200;

// Asks for 200 prompts again and again through a cache that holds half of their blocks; the share of blocks found.
double hit_ratio(const char* policy, const reprise::PolicyRegistry& registry) {
  reprise::CacheOptions options;
  options.l1_capacity = kChains * kChain / 2 * kBlockBytes;
  options.l1_policy = policy;
  const auto ns = reprise::Namespace::create({.model = "example",
                                              .revision = "none",
                                              .dtype = "bfloat16",
                                              .layout = "opaque",
                                              .block_tokens = 1,
                                              .block_bytes = kBlockBytes,
                                              .layers = reprise::IndexRange{0, 1},
                                              .heads = reprise::IndexRange{0, 1},
                                              .salt = "",
                                              .extras = {}});
  const auto cache = reprise::open("embedded:", options, {.policies = &registry, .stores = nullptr});
  if (!ns || !cache) {
    std::fprintf(stderr, "%s\n", (!ns ? ns.error() : cache.error()).message.c_str());
    return -1;
  }
  const std::vector<std::byte> bytes(kBlockBytes);
  const std::vector<reprise::Bytes> blocks(kChain, bytes);
  std::size_t asked = 0;
  std::size_t found = 0;
  for (std::uint32_t request = 0; request < 10 * kChains; ++request) {
    std::vector<std::uint32_t> tokens(kChain);
    std::iota(tokens.begin(), tokens.end(), request % kChains * 1'000);
    const auto keys = reprise::block_keys(tokens, 1);
    const auto got = (*cache)->acquire(reprise::Chain(*ns, *keys));
    if (!got) return -1;
    asked += kChain;
    found += got->match.blocks;
    const auto rest = std::span(blocks).subspan(got->match.blocks);
    if (!(*cache)->put(reprise::Chain(*ns, *keys), got->match.blocks, rest)) return -1;
  }
  return static_cast<double>(found) / static_cast<double>(asked);
}

}  // namespace

int main() {
  reprise::PolicyRegistry registry = reprise::PolicyRegistry::with_builtins();
  const auto added =
      registry.add("mru", [](const reprise::PolicyConfig& config) { return std::make_unique<MruPolicy>(config); });
  if (!added) {
    std::fprintf(stderr, "%s\n", added.error().message.c_str());
    return 1;
  }
  const double mru = hit_ratio("mru", registry);
  const double lru = hit_ratio("lru", registry);
  std::printf("a loop twice the cache's size: lru finds %.3f, mru %.3f\n", lru, mru);
  return lru >= 0 && mru > lru + 0.2 ? 0 : 1;
}
