#include "eviction/adaptive.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "eviction/policies.h"

namespace reprise::eviction {
namespace {

constexpr std::size_t kAhead = 8;  // Nodes loaded ahead of their turn.

}  // namespace

AdaptivePolicy::AdaptivePolicy(const PolicyConfig& config)
    : model_(config.salt), horizon_min_(std::max<std::uint64_t>(config.horizon_blocks, 1)) {
  for (unsigned code = 0; code < per_byte_.size(); ++code) per_byte_[code] = std::exp2(-double(code) / 4);
  grow(config.slots, config.capacity_blocks);
}

void AdaptivePolicy::grow(std::uint32_t slots, std::uint64_t capacity_blocks) {
  if (slots > nodes_.size()) nodes_.resize(slots);
  if (capacity_blocks > capacity_blocks_) {
    capacity_blocks_ = capacity_blocks;
    ghosts_.reset(capacity_blocks * kGhostsPerBlock);
  }
  model_.set_horizon(std::max(horizon_min_, capacity_blocks_ * kHorizonPerBlock));
}

// log2 of the size in quarters; sizes are few, so the last one is kept.
unsigned AdaptivePolicy::size_code(std::uint32_t bytes) {
  if (bytes != last_bytes_) {
    last_bytes_ = bytes;
    last_size_code_ = static_cast<unsigned>(std::lround(4 * std::log2(std::max(double(bytes), 1.0)))) & 127U;
  }
  return last_size_code_;
}

void AdaptivePolicy::touch(std::span<const BlockSlot> chain, std::vector<BlockSlot>& hot) {
  now_ += chain.size();
  for (std::size_t i = 0; i < chain.size(); ++i) {
    if (i + kAhead < chain.size()) __builtin_prefetch(nodes_.data() + chain[i + kAhead], 1);
    const BlockSlot slot = chain[i];
    Node& node = nodes_[slot];
    if (!node.resident()) continue;
    const bool leaf = node.listed();
    if (leaf) list_of(node).unlink(nodes_.data(), slot);
    node.count = std::min<unsigned>(node.count + 1U, GhostTable::kMaxCount);
    node.last = now_;
    model_.observe(node.hash, node.cls(), now_);
    if (leaf) list_of(node).push_youngest(nodes_.data(), slot);
    if (node.count == kHotCount) hot.push_back(slot);
  }
}

void AdaptivePolicy::insert(std::span<const BlockSlot> parents, std::span<const NewBlock> blocks,
                            std::vector<BlockSlot>& hot) {
  now_ += blocks.size();
  BlockSlot parent = parents.empty() ? kNoSlot : parents.back();
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if (i + kAhead < blocks.size()) ghosts_.prefetch(blocks[i + kAhead].hash);
    const NewBlock& block = blocks[i];
    Node& node = nodes_[block.slot];
    assert(!node.resident());
    node.hash = block.hash;
    node.count = std::min(ghosts_.take(block.hash) + 1U, GhostTable::kMaxCount);
    node.size = size_code(block.bytes);
    node.last = now_;
    adopt(parent, node);
    model_.observe(node.hash, node.cls(), now_);
    list_of(node).push_youngest(nodes_.data(), block.slot);
    if (node.count >= kHotCount) hot.push_back(block.slot);
    parent = block.slot;
  }
}

void AdaptivePolicy::adopt(BlockSlot parent, Node& child) {
  child.parent = kNoSlot;
  if (parent == kNoSlot || !nodes_[parent].resident()) return;
  Node& node = nodes_[parent];
  if (node.listed()) list_of(node).unlink(nodes_.data(), parent);
  if (node.children < kMaxChildren) node.children = node.children + 1U;
  child.parent = parent;
  child.parent_generation = node.generation;
}

// nullptr for a root, and for a block whose parent was removed before it: its slot has a new generation.
AdaptivePolicy::Node* AdaptivePolicy::parent_of(const Node& node) {
  if (node.parent == kNoSlot || nodes_[node.parent].generation != node.parent_generation) return nullptr;
  return &nodes_[node.parent];
}

// The oldest and the youngest leaf of each class stand for it. The least index goes; of equals, the older.
BlockSlot AdaptivePolicy::worst_leaf() const {
  BlockSlot worst = kNoSlot;
  double worst_index = 0;
  std::uint64_t worst_age = 0;
  for (const AgeList<Node>& list : leaves_) {
    for (const BlockSlot slot : {list.oldest(), list.youngest()}) {
      if (slot == kNoSlot) continue;
      const Node& node = nodes_[slot];
      const std::uint64_t age = node.age(now_);
      const double index = model_.index(node.cls(), age) * per_byte_[node.size];
      if (worst == kNoSlot || index < worst_index || (index == worst_index && age > worst_age)) {
        worst = slot;
        worst_index = index;
        worst_age = age;
      }
    }
  }
  return worst;
}

std::optional<BlockSlot> AdaptivePolicy::victim(VictimFilter& filter) {
  if (model_.due(now_)) model_.refit(now_);
  for (BlockSlot slot = worst_leaf(); slot != kNoSlot; slot = worst_leaf()) {
    Node& node = nodes_[slot];
    list_of(node).unlink(nodes_.data(), slot);
    if (filter.accept(slot)) {
      ghosts_.remember(node.hash, static_cast<unsigned>(node.count));
      leave(node);
      return slot;
    }
    node.aside = 1;
  }
  return std::nullopt;
}

// The (unlisted) block is gone; its parent may have become a leaf.
void AdaptivePolicy::leave(Node& node) {
  node.count = 0;
  node.aside = 0;
  Node* parent = parent_of(node);
  if (parent == nullptr || parent->children == 0 || parent->children == kMaxChildren) return;
  parent->children = parent->children - 1U;
  if (parent->listed()) list_of(*parent).insert_by_age(nodes_.data(), node.parent, now_);
}

void AdaptivePolicy::restore(BlockSlot slot) {
  Node& node = nodes_[slot];
  if (node.aside == 0) return;
  node.aside = 0;
  if (node.listed()) list_of(node).insert_by_age(nodes_.data(), slot, now_);
}

void AdaptivePolicy::remove(BlockSlot slot) {
  Node& node = nodes_[slot];
  if (!node.resident()) return;
  if (node.listed()) list_of(node).unlink(nodes_.data(), slot);
  if (node.children != 0) {
    // They still name this slot as their parent, but not this generation of it.
    node.children = 0;
    node.generation = (node.generation + 1U) & 0xFFU;
  }
  leave(node);
}

EvictionPolicy::Footprint AdaptivePolicy::footprint() const {
  return {nodes_.capacity() * sizeof(Node) + ghosts_.bytes(), sizeof(*this) - sizeof(model_) + model_.bytes()};
}

std::string AdaptivePolicy::broken_invariant() const {
  std::vector<std::uint32_t> children(nodes_.size());
  std::vector<char> listed(nodes_.size());
  for (unsigned c = 0; c < leaves_.size(); ++c) {
    std::uint64_t length = 0;
    BlockSlot older = kNoSlot;
    for (BlockSlot slot = leaves_[c].oldest(); slot != kNoSlot; older = slot, slot = nodes_[slot].younger) {
      const std::string name = "leaf " + std::to_string(slot);
      if (listed[slot]++ != 0) return name + " is listed twice";
      if (nodes_[slot].older != older) return name + " does not link back";
      if (nodes_[slot].cls() != c) return name + " is in another class's list";
      if (older != kNoSlot && nodes_[older].age(now_) < nodes_[slot].age(now_)) return name + " is out of order";
      ++length;
    }
    if (length != leaves_[c].size() || leaves_[c].youngest() != older) return "a list has lost count";
  }
  for (BlockSlot slot = 0; slot < nodes_.size(); ++slot) {
    const Node& node = nodes_[slot];
    if (node.listed() != (listed[slot] != 0)) return "block " + std::to_string(slot) + " is not where it belongs";
    if (!node.resident() || node.parent == kNoSlot) continue;
    const Node& parent = nodes_[node.parent];
    if (parent.generation != node.parent_generation) continue;
    if (!parent.resident()) return "block " + std::to_string(slot) + " lost its parent";
    ++children[node.parent];
  }
  for (BlockSlot slot = 0; slot < nodes_.size(); ++slot) {
    if (nodes_[slot].resident() && nodes_[slot].children != children[slot]) {
      return "block " + std::to_string(slot) + " miscounts its children";
    }
  }
  if (ghosts_.size() > ghosts_.capacity()) return "too many ghosts";
  return {};
}

std::unique_ptr<EvictionPolicy> make_adaptive(const PolicyConfig& config) {
  return std::make_unique<AdaptivePolicy>(config);
}

}  // namespace reprise::eviction
