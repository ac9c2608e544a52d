// A doubly linked list of slots ordered by age, threaded through nodes that live in somebody's array.
//
// The list owns nothing: callers pass the node array to every call. A node has members `older` and `younger` (slots)
// and `age(now)`, which is all the list needs to put a node back where it belongs. Not thread-safe.
#pragma once

#include <cstdint>

#include "reprise/eviction.h"

namespace reprise::eviction {

template <typename Node>
class AgeList {
 public:
  /// Longest search for a place. Far beyond what is needed in practice (less than one step on average), and short
  /// enough to bound the time under the caller's lock. A node that needs more lands at the bound, slightly out of
  /// order.
  static constexpr int kMaxSteps = 1024;

  [[nodiscard]] BlockSlot oldest() const { return oldest_; }
  [[nodiscard]] BlockSlot youngest() const { return youngest_; }
  [[nodiscard]] std::uint64_t size() const { return size_; }

  void push_youngest(Node* nodes, BlockSlot slot) { link(nodes, slot, youngest_, kNoSlot); }

  void unlink(Node* nodes, BlockSlot slot) {
    const Node& node = nodes[slot];
    (node.older == kNoSlot ? oldest_ : nodes[node.older].younger) = node.younger;
    (node.younger == kNoSlot ? youngest_ : nodes[node.younger].older) = node.older;
    --size_;
  }

  void move_to_youngest(Node* nodes, BlockSlot slot) {
    if (slot == youngest_) return;
    unlink(nodes, slot);
    push_youngest(nodes, slot);
  }

  /// Links the node by its age, searching from whichever end is nearer in age.
  void insert_by_age(Node* nodes, BlockSlot slot, std::uint64_t now) {
    if (size_ == 0) return push_youngest(nodes, slot);
    const std::uint64_t age = nodes[slot].age(now);
    const std::uint64_t youngest_age = nodes[youngest_].age(now);
    const std::uint64_t oldest_age = nodes[oldest_].age(now);
    if (age <= youngest_age) return push_youngest(nodes, slot);
    int steps = 0;
    if (age >= oldest_age || oldest_age - age < age - youngest_age) {
      BlockSlot younger = oldest_;
      while (younger != kNoSlot && nodes[younger].age(now) > age && steps++ < kMaxSteps) {
        younger = nodes[younger].younger;
      }
      link(nodes, slot, younger == kNoSlot ? youngest_ : nodes[younger].older, younger);
    } else {
      BlockSlot older = youngest_;
      while (older != kNoSlot && nodes[older].age(now) < age && steps++ < kMaxSteps) older = nodes[older].older;
      link(nodes, slot, older, older == kNoSlot ? oldest_ : nodes[older].younger);
    }
  }

 private:
  void link(Node* nodes, BlockSlot slot, BlockSlot older, BlockSlot younger) {
    nodes[slot].older = older;
    nodes[slot].younger = younger;
    (older == kNoSlot ? oldest_ : nodes[older].younger) = slot;
    (younger == kNoSlot ? youngest_ : nodes[younger].older) = slot;
    ++size_;
  }

  BlockSlot oldest_ = kNoSlot;
  BlockSlot youngest_ = kNoSlot;
  std::uint64_t size_ = 0;
};

}  // namespace reprise::eviction
