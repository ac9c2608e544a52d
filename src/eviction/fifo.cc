// First in, first out: the block that arrived longest ago goes first, used or not. Of one request, the deepest block.
#include "eviction/age_list.h"
#include "eviction/block_policy.h"
#include "eviction/policies.h"
#include "eviction/stamped_node.h"

namespace reprise::eviction {
namespace {

class FifoOrder {
 public:
  void resize(std::uint32_t slots, std::uint64_t /*capacity_blocks*/) { nodes_.resize(slots); }

  bool insert(BlockSlot slot, std::uint64_t /*hash*/) {
    nodes_[slot].stamp = ++now_;
    list_.push_youngest(nodes_.data(), slot);
    return false;
  }
  bool touch(BlockSlot /*slot*/, bool /*linked*/) { return true; }
  void refresh(BlockSlot /*slot*/, bool /*linked*/) {}
  [[nodiscard]] BlockSlot next() const { return list_.oldest(); }
  void unlink(BlockSlot slot) { list_.unlink(nodes_.data(), slot); }
  void relink(BlockSlot slot) { list_.insert_by_age(nodes_.data(), slot, now_); }
  void evicted(BlockSlot /*slot*/) {}
  void prefetch(BlockSlot /*slot*/) const {}
  [[nodiscard]] std::uint64_t bytes() const { return nodes_.capacity() * sizeof(StampedNode); }

 private:
  std::vector<StampedNode> nodes_;
  AgeList<StampedNode> list_;
  std::uint64_t now_ = 0;  // Counts arrivals.
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_fifo(const PolicyConfig& config) {
  return std::make_unique<BlockPolicy<FifoOrder>>(config, FifoOrder());
}

}  // namespace reprise::eviction
