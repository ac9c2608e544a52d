// An eviction policy that breaks its contract on purpose, once in a while, around one that keeps it.
#pragma once

#include <memory>
#include <utility>

#include "reprise/eviction.h"

namespace reprise::testing {

enum class PolicyFault {
  kNone,
  kNoVictim,       ///< Says there is nothing to evict.
  kVictimTwice,    ///< Returns a block that is already gone.
  kIgnoresFilter,  ///< Returns a block without asking.
  kForgetsAside,   ///< restore() does nothing: the block is never offered again.
  kHotTwice,       ///< Reports a touched block as hot each time.
};

class FaultyPolicy final : public EvictionPolicy {
 public:
  FaultyPolicy(std::unique_ptr<EvictionPolicy> good, PolicyFault fault) : good_(std::move(good)), fault_(fault) {}

  void touch(std::span<const BlockSlot> chain, std::vector<BlockSlot>& hot) override {
    good_->touch(chain, hot);
    if (fault_ == PolicyFault::kHotTwice) hot.push_back(chain.front());
  }
  void insert(std::span<const BlockSlot> parents, std::span<const NewBlock> blocks,
              std::vector<BlockSlot>& hot) override {
    good_->insert(parents, blocks, hot);
  }
  std::optional<BlockSlot> victim(VictimFilter& filter) override {
    const bool now = ++victims_ % 50 == 0;
    if (now && fault_ == PolicyFault::kNoVictim) return std::nullopt;
    if (now && fault_ == PolicyFault::kVictimTwice) return last_;
    struct All final : VictimFilter {
      bool accept(BlockSlot /*slot*/) override { return true; }
    } all;
    const auto slot = good_->victim(now && fault_ == PolicyFault::kIgnoresFilter ? all : filter);
    if (slot) last_ = *slot;
    return slot;
  }
  void restore(BlockSlot slot) override {
    if (fault_ != PolicyFault::kForgetsAside) good_->restore(slot);
  }
  void remove(BlockSlot slot) override { good_->remove(slot); }
  void grow(std::uint32_t slots, std::uint64_t capacity_blocks) override { good_->grow(slots, capacity_blocks); }
  [[nodiscard]] bool is_hot(BlockSlot slot) const override { return good_->is_hot(slot); }
  [[nodiscard]] Footprint footprint() const override { return good_->footprint(); }

 private:
  std::unique_ptr<EvictionPolicy> good_;
  PolicyFault fault_;
  std::uint64_t victims_ = 0;
  BlockSlot last_ = 0;
};

}  // namespace reprise::testing
