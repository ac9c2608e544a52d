// A cache without bytes that drives one EvictionPolicy with random requests, leases, erasures and growth, and checks
// every answer against a plain model. violation() says in words what the policy did wrong, so that the contract suite
// itself can be tried on a FaultyPolicy. For one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "reprise/eviction.h"

namespace reprise::testing {

class PolicyDriver final : public VictimFilter {
 public:
  using Factory = PolicyRegistry::Factory;

  PolicyDriver(const Factory& factory, std::uint64_t seed) : random_(seed) {
    config_.slots = kCapacity + kLongest;
    config_.capacity_blocks = kCapacity;
    config_.horizon_blocks = 2'000;
    policy_ = factory(config_);
    for (BlockSlot slot = config_.slots; slot-- > 0;) free_.push_back(slot);
  }

  [[nodiscard]] EvictionPolicy& policy() { return *policy_; }
  [[nodiscard]] const std::string& violation() const { return violation_; }
  [[nodiscard]] std::size_t resident() const { return blocks_.size(); }
  [[nodiscard]] const std::vector<BlockSlot>& victims() const { return victims_; }

  /// One random call, or a request's worth of them.
  void step() {
    switch (below(16)) {
      case 0: lease(); break;
      case 1: release(); break;
      case 2: erase(); break;
      case 3:
        if (below(100) == 0) grow();
        break;
      default: request(); break;
    }
  }

  /// Ends all leases, restores what was set aside and takes victims until none is left: each block goes exactly once.
  void drain() {
    leased_.clear();
    restore_all();
    while (violation_.empty() && take_victim()) {
    }
    if (!blocks_.empty()) violate("blocks are left that are never offered", blocks_.begin()->first);
  }

  bool accept(BlockSlot slot) override {
    if (!blocks_.contains(slot)) violate("the filter was asked about a block that is not resident", slot);
    if (aside_.contains(slot)) violate("a block set aside was offered again", slot);
    if (leased_.contains(slot)) {
      aside_.insert(slot);
      return false;
    }
    accepted_ = slot;
    return true;
  }

 private:
  static constexpr std::uint32_t kCapacity = 200;
  static constexpr std::uint32_t kLongest = 24;

  std::uint64_t below(std::uint64_t n) { return random_() % n; }
  void violate(const std::string& what, BlockSlot slot) {
    if (violation_.empty()) violation_ = what + " (slot " + std::to_string(slot) + ")";
  }

  // A chain in a tree of prompts, some of them popular. Ids are unique to the path, as keys are.
  std::vector<std::uint64_t> chain() {
    std::vector<std::uint64_t> ids;
    std::uint64_t id = 1 + (below(2) == 0 ? below(4) : below(40));
    const std::size_t length = 1 + below(kLongest);
    while (ids.size() < length) {
      ids.push_back(id * 0x9E3779B97F4A7C15ULL);
      id = id * 5 + (below(4) == 0 ? below(3) : 0);
    }
    return ids;
  }

  void request() {
    const std::vector<std::uint64_t> ids = chain();
    std::vector<BlockSlot> run;
    while (run.size() < ids.size() && where_.contains(ids[run.size()])) run.push_back(where_[ids[run.size()]]);
    std::vector<BlockSlot> hot;
    if (!run.empty() && below(8) != 0) policy_->touch(run, hot);
    check_hot(hot);
    std::vector<NewBlock> fresh;
    const std::size_t parents = run.size();
    for (std::size_t i = parents; i < ids.size() && !where_.contains(ids[i]) && !free_.empty(); ++i) {
      fresh.push_back({free_.back(), ids[i], below(2) == 0 ? 4'096U : 65'536U});
      where_[ids[i]] = free_.back();
      blocks_[free_.back()] = {ids[i], false};
      free_.pop_back();
    }
    hot.clear();
    if (!fresh.empty()) policy_->insert(std::span(run).first(parents), fresh, hot);
    check_hot(hot);
    while (violation_.empty() && blocks_.size() > capacity_ && take_victim()) {
    }
  }

  // False if there was none; that must be for a reason.
  bool take_victim() {
    accepted_ = kNoSlot;
    const std::optional<BlockSlot> slot = policy_->victim(*this);
    if (!slot) {
      if (accepted_ != kNoSlot) violate("an accepted block was not returned", accepted_);
      if (aside_.empty() && !blocks_.empty()) violate("no victim although nothing was refused", 0);
      return false;
    }
    if (*slot != accepted_) violate("a victim the filter did not accept", *slot);
    if (!blocks_.contains(*slot)) violate("a victim that is not resident", *slot);
    victims_.push_back(*slot);
    forget(*slot);
    return true;
  }

  void check_hot(const std::vector<BlockSlot>& hot) {
    for (const BlockSlot slot : hot) {
      if (!blocks_.contains(slot)) return violate("a hot block that is not resident", slot);
      if (std::exchange(blocks_[slot].hot, true)) violate("a block became hot twice", slot);
    }
    for (const auto& [slot, block] : blocks_) {
      if (policy_->is_hot(slot) != block.hot) violate("is_hot does not say what was reported", slot);
    }
  }

  BlockSlot any() { return std::next(blocks_.begin(), static_cast<std::ptrdiff_t>(below(blocks_.size())))->first; }
  void lease() {
    for (int i = 0; i < 8 && !blocks_.empty() && leased_.size() < kCapacity / 2; ++i) leased_.insert(any());
  }
  void release() {
    // Restoring a block that was never set aside must do no harm.
    if (!blocks_.empty()) restore(any());
    if (below(2) == 0) return;
    leased_.clear();
    restore_all();
  }
  void restore(BlockSlot slot) {
    if (leased_.contains(slot)) return;
    aside_.erase(slot);
    policy_->restore(slot);
  }
  void restore_all() {
    while (!aside_.empty()) restore(*aside_.begin());
  }
  void erase() {
    if (blocks_.empty()) return;
    const BlockSlot slot = any();
    policy_->remove(slot);
    forget(slot);
  }
  void grow() {
    for (int i = 0; i < 10; ++i) free_.push_back(config_.slots++);
    capacity_ += 10;
    policy_->grow(config_.slots, capacity_);
  }
  void forget(BlockSlot slot) {
    if (!blocks_.contains(slot)) return;
    where_.erase(blocks_[slot].id);
    blocks_.erase(slot);
    leased_.erase(slot);
    aside_.erase(slot);
    free_.push_back(slot);
  }

  struct Block {
    std::uint64_t id = 0;
    bool hot = false;
  };
  std::mt19937_64 random_;
  PolicyConfig config_;
  std::uint64_t capacity_ = kCapacity;
  std::unique_ptr<EvictionPolicy> policy_;
  std::map<BlockSlot, Block> blocks_;         // Resident.
  std::map<std::uint64_t, BlockSlot> where_;  // Of resident blocks, by id.
  std::vector<BlockSlot> free_;
  std::set<BlockSlot> leased_;  // Refused by the filter.
  std::set<BlockSlot> aside_;   // Refused, and not restored since.
  std::vector<BlockSlot> victims_;
  BlockSlot accepted_ = kNoSlot;
  std::string violation_;
};

}  // namespace reprise::testing
