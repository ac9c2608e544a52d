// S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023): newcomers pass through a small
// queue and reach the main queue only if they were used twice on the way, or came back soon after leaving it. Three
// FIFO queues, of which the third remembers only that a block was there.
#include <algorithm>

#include "eviction/age_list.h"
#include "eviction/block_policy.h"
#include "eviction/ghosts.h"
#include "eviction/policies.h"

namespace reprise::eviction {
namespace {

constexpr std::uint64_t kSmallShare = 10;  // The small queue holds one tenth of the blocks.
constexpr unsigned kMaxUses = 3;
constexpr unsigned kUsesToStay = 2;  // Uses in the small queue that earn a place in the main queue.

struct S3Node {
  BlockSlot older = kNoSlot;
  BlockSlot younger = kNoSlot;
  std::uint64_t stamp : 61 = 0;  // Arrival in its queue.
  std::uint64_t uses : 2 = 0;
  std::uint64_t main : 1 = 0;
  std::uint64_t hash = 0;
  [[nodiscard]] std::uint64_t age(std::uint64_t now) const { return now - stamp; }
};

class S3FifoOrder {
 public:
  void resize(std::uint32_t slots, std::uint64_t capacity_blocks) {
    nodes_.resize(slots);
    if (capacity_blocks > ghosts_.capacity()) ghosts_.reset(capacity_blocks);
  }

  bool insert(BlockSlot slot, std::uint64_t hash) {
    S3Node& node = nodes_[slot];
    node.hash = hash;
    const bool came_back = ghosts_.take(hash) != 0;
    arrive(slot, came_back);
    return came_back;
  }
  bool touch(BlockSlot slot, bool /*linked*/) {
    S3Node& node = nodes_[slot];
    node.uses = std::min(node.uses + 1U, kMaxUses);
    return node.main != 0 || node.uses >= kUsesToStay;
  }
  void refresh(BlockSlot /*slot*/, bool /*linked*/) {}

  // Each step that does not answer uses up a use, so the cost is paid for by earlier touches.
  BlockSlot next() {
    for (;;) {
      const bool from_small = main_.size() == 0 || small_.size() * kSmallShare > small_.size() + main_.size();
      const BlockSlot slot = from_small ? small_.oldest() : main_.oldest();
      if (slot == kNoSlot) return kNoSlot;
      S3Node& node = nodes_[slot];
      if (from_small) {
        if (node.uses < kUsesToStay) return slot;
        unlink(slot);
        arrive(slot, true);
      } else {
        if (node.uses == 0) return slot;
        const unsigned left = node.uses - 1U;
        unlink(slot);
        arrive(slot, true);
        node.uses = left;
      }
    }
  }
  void unlink(BlockSlot slot) { queue(slot).unlink(nodes_.data(), slot); }
  void relink(BlockSlot slot) { queue(slot).insert_by_age(nodes_.data(), slot, now_); }
  void evicted(BlockSlot slot) {
    if (nodes_[slot].main == 0) ghosts_.remember(nodes_[slot].hash, 1);
  }
  void prefetch(BlockSlot slot) const { __builtin_prefetch(nodes_.data() + slot, 1); }
  [[nodiscard]] std::uint64_t bytes() const { return nodes_.capacity() * sizeof(S3Node) + ghosts_.bytes(); }

 private:
  AgeList<S3Node>& queue(BlockSlot slot) { return nodes_[slot].main != 0 ? main_ : small_; }
  // At the young end of a queue, unused.
  void arrive(BlockSlot slot, bool main) {
    S3Node& node = nodes_[slot];
    node.stamp = ++now_;
    node.uses = 0;
    node.main = main ? 1 : 0;
    queue(slot).push_youngest(nodes_.data(), slot);
  }

  std::vector<S3Node> nodes_;
  AgeList<S3Node> small_;
  AgeList<S3Node> main_;
  GhostTable ghosts_;
  std::uint64_t now_ = 0;  // Counts arrivals in a queue.
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_s3fifo(const PolicyConfig& config) {
  return std::make_unique<BlockPolicy<S3FifoOrder>>(config, S3FifoOrder());
}

}  // namespace reprise::eviction
