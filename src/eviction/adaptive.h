// `adaptive`: class and age (CAGE). Keeps the blocks with the best expected hits per time kept, learnt from the
// traffic.
//
// A block is judged by how often it was seen (its class, counting what ghosts remember) and how long ago. Only leaves,
// resident blocks without a resident child, may go, so no chain gets a hole; each class keeps its leaves in order of
// age, and the oldest and the youngest of each class are the candidates. A newcomer with the lowest index goes at once:
// it is declined. docs/policies.md tells the whole story. Not thread-safe.
//
// Invariants (broken_invariant() checks them):
//  1. a resident block's parent is resident, unless it was remove()d: then the block counts as a root;
//  2. `children` is the number of resident blocks that have it as parent;
//  3. a block is in a list if and only if it is resident, childless and not set aside;
//  4. lists are in order of age, but for insertions that ran into AgeList's bound;
//  5. ghosts never exceed their table;
//  6. the model hears of every touch and insertion, and of no eviction.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "eviction/age_list.h"
#include "eviction/ghosts.h"
#include "eviction/reuse_model.h"
#include "reprise/eviction.h"

namespace reprise::eviction {

class AdaptivePolicy final : public EvictionPolicy {
 public:
  explicit AdaptivePolicy(const PolicyConfig& config);

  void touch(std::span<const BlockSlot> chain, std::vector<BlockSlot>& hot) override;
  void insert(std::span<const BlockSlot> parents, std::span<const NewBlock> blocks,
              std::vector<BlockSlot>& hot) override;
  std::optional<BlockSlot> victim(VictimFilter& filter) override;
  void restore(BlockSlot slot) override;
  void remove(BlockSlot slot) override;
  void grow(std::uint32_t slots, std::uint64_t capacity_blocks) override;
  /// Hot: seen at least twice, ghosts included.
  [[nodiscard]] bool is_hot(BlockSlot slot) const override {
    return slot < nodes_.size() && nodes_[slot].count >= kHotCount;
  }
  [[nodiscard]] Footprint footprint() const override;

  /// For tests: the first invariant found broken, in words; empty if all hold. Reads every slot.
  [[nodiscard]] std::string broken_invariant() const;

 private:
  static constexpr unsigned kHotCount = 2;
  static constexpr unsigned kAgeBits = 45;
  static constexpr std::uint64_t kMaxChildren = (1U << 24) - 1;
  static constexpr std::uint64_t kGhostsPerBlock = 4;
  static constexpr std::uint64_t kHorizonPerBlock = 8;

  struct Node {
    std::uint64_t hash = 0;
    std::uint64_t last : kAgeBits = 0;  // Time of the last touch, modulo 2^45 (years of blocks touched).
    std::uint64_t count : 3 = 0;        // Times seen, saturating; 0 = not resident.
    std::uint64_t size : 7 = 0;         // Payload bytes, in quarters of an octave (see size_code).
    std::uint64_t aside : 1 = 0;
    std::uint64_t parent_generation : 8 = 0;
    BlockSlot parent = kNoSlot;
    std::uint32_t children : 24 = 0;
    std::uint32_t generation : 8 = 0;  // Of the slot; raised when a block leaves children behind.
    BlockSlot older = kNoSlot;
    BlockSlot younger = kNoSlot;

    [[nodiscard]] std::uint64_t age(std::uint64_t now) const { return (now - last) & ((1ULL << kAgeBits) - 1); }
    [[nodiscard]] unsigned cls() const { return ReuseModel::class_of(static_cast<unsigned>(count)); }
    [[nodiscard]] bool resident() const { return count != 0; }
    [[nodiscard]] bool listed() const { return count != 0 && children == 0 && aside == 0; }
  };
  static_assert(sizeof(Node) == 32);

  [[nodiscard]] AgeList<Node>& list_of(const Node& node) { return leaves_[node.cls()]; }
  [[nodiscard]] Node* parent_of(const Node& node);
  [[nodiscard]] unsigned size_code(std::uint32_t bytes);
  void count_touch(Node& node);
  void adopt(BlockSlot parent, Node& child);
  [[nodiscard]] BlockSlot worst_leaf() const;
  void leave(Node& node);

  std::vector<Node> nodes_;
  std::array<AgeList<Node>, ReuseModel::kClasses> leaves_;
  GhostTable ghosts_;
  ReuseModel model_;
  std::uint64_t horizon_min_;
  std::uint64_t capacity_blocks_ = 0;
  std::uint64_t now_ = 0;  // Blocks touched and inserted so far: the only clock.
  std::uint32_t last_bytes_ = 0;
  unsigned last_size_code_ = 0;
  std::array<double, 128> per_byte_;  // By size code: 1 / bytes.
};

}  // namespace reprise::eviction
