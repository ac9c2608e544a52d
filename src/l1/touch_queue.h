// Touch records that could not be applied at once, because another thread held the policy lock.
//
// Bounded: a record that does not fit is dropped and counted, which costs a little hit ratio and nothing else.
// Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "reprise/eviction.h"

namespace reprise {

/// A block as it was when it was touched; the generation tells if the slot was reused since.
struct Touched {
  BlockSlot slot = kNoSlot;
  std::uint32_t generation = 0;
};

class TouchQueue {
 public:
  explicit TouchQueue(std::size_t max_blocks) : max_blocks_(max_blocks) { blocks_.reserve(max_blocks); }

  /// One request's blocks, root first.
  void push(std::span<const Touched> chain) {
    const std::lock_guard lock(mutex_);
    if (chain.empty()) return;
    if (blocks_.size() + chain.size() + 1 > max_blocks_) {
      dropped_.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    blocks_.insert(blocks_.end(), chain.begin(), chain.end());
    blocks_.push_back({});  // end of the record
    waiting_.store(true, std::memory_order_release);
  }

  /// Hands over everything queued, in order; each record ends with a kNoSlot. `into` is swapped in, so two buffers
  /// serve for ever.
  void take(std::vector<Touched>& into) {
    into.clear();
    into.reserve(max_blocks_);  // not under the lock
    if (!waiting_.load(std::memory_order_acquire)) return;
    const std::lock_guard lock(mutex_);
    std::swap(into, blocks_);
    waiting_.store(false, std::memory_order_relaxed);
  }

  [[nodiscard]] std::uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t bytes() const { return 2 * max_blocks_ * sizeof(Touched); }

 private:
  const std::size_t max_blocks_;
  std::mutex mutex_;
  std::vector<Touched> blocks_;  // guarded by mutex_
  std::atomic<bool> waiting_{false};
  std::atomic<std::uint64_t> dropped_{0};
};

}  // namespace reprise
