// The adapter that turns an order of single blocks (LRU, FIFO, S3-FIFO) into an EvictionPolicy, which sees chains.
//
// It walks each chain deepest block first, so that suffixes go before prefixes, and keeps what is common: which slots
// are resident, set aside, hot. An Order keeps queues and provides
//   void resize(slots)
//   bool insert(slot, hash)      links a new block; true if it is hot from the start
//   bool touch(slot, linked)     a hit; true if that makes the block hot (again); unlinked blocks only take note
//   void refresh(slot, linked)   the block got a successor: it should not go before it
//   BlockSlot next()             the block to go next, still linked; kNoSlot if no block is linked
//   void unlink(slot)            out of the queues; keeps what relink needs
//   void relink(slot)            back to where it belongs
//   void evicted(slot)           after unlink: it went for good
//   void prefetch(slot)
//   std::uint64_t bytes()
// Not thread-safe; owns its order.
#pragma once

#include <cassert>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "reprise/eviction.h"

namespace reprise::eviction {

template <typename Order>
class BlockPolicy final : public EvictionPolicy {
 public:
  BlockPolicy(const PolicyConfig& config, Order order) : order_(std::move(order)) {
    grow(config.slots, config.capacity_blocks);
  }

  void touch(std::span<const BlockSlot> chain, std::vector<BlockSlot>& hot) override {
    for (std::size_t i = chain.size(); i-- > 0;) {
      if (i >= kAhead) order_.prefetch(chain[i - kAhead]);
      const BlockSlot slot = chain[i];
      if (!has(slot, kResident)) continue;
      if (order_.touch(slot, !has(slot, kAside))) report(slot, hot);
    }
  }

  void insert(std::span<const BlockSlot> parents, std::span<const NewBlock> blocks,
              std::vector<BlockSlot>& hot) override {
    for (std::size_t i = blocks.size(); i-- > 0;) {
      const NewBlock& block = blocks[i];
      assert(!has(block.slot, kResident));
      flags_[block.slot] = kResident;
      if (order_.insert(block.slot, block.hash)) report(block.slot, hot);
    }
    for (std::size_t i = parents.size(); i-- > 0;) {
      if (i >= kAhead) order_.prefetch(parents[i - kAhead]);
      if (has(parents[i], kResident)) order_.refresh(parents[i], !has(parents[i], kAside));
    }
  }

  std::optional<BlockSlot> victim(VictimFilter& filter) override {
    for (BlockSlot slot = order_.next(); slot != kNoSlot; slot = order_.next()) {
      order_.unlink(slot);
      if (filter.accept(slot)) {
        flags_[slot] = 0;
        order_.evicted(slot);
        return slot;
      }
      flags_[slot] |= kAside;
    }
    return std::nullopt;
  }

  void restore(BlockSlot slot) override {
    if (!has(slot, kAside)) return;
    flags_[slot] &= static_cast<std::uint8_t>(~kAside);
    order_.relink(slot);
  }

  void remove(BlockSlot slot) override {
    if (!has(slot, kResident)) return;
    if (!has(slot, kAside)) order_.unlink(slot);
    flags_[slot] = 0;
  }

  void grow(std::uint32_t slots, std::uint64_t capacity_blocks) override {
    if (slots > flags_.size()) flags_.resize(slots);
    order_.resize(static_cast<std::uint32_t>(flags_.size()), capacity_blocks);
  }

  [[nodiscard]] bool is_hot(BlockSlot slot) const override { return has(slot, kHot); }

  [[nodiscard]] Footprint footprint() const override { return {flags_.capacity() + order_.bytes(), 0}; }

 private:
  static constexpr std::uint8_t kResident = 1;
  static constexpr std::uint8_t kAside = 2;
  static constexpr std::uint8_t kHot = 4;
  static constexpr std::size_t kAhead = 8;  // Blocks loaded ahead of their turn.

  [[nodiscard]] bool has(BlockSlot slot, std::uint8_t flag) const {
    return slot < flags_.size() && (flags_[slot] & flag) != 0;
  }
  void report(BlockSlot slot, std::vector<BlockSlot>& hot) {
    if (has(slot, kHot)) return;
    flags_[slot] |= kHot;
    hot.push_back(slot);
  }

  Order order_;
  std::vector<std::uint8_t> flags_;
};

}  // namespace reprise::eviction
