// A set of blocks held in memory: what lookups hand out and what keeps bytes from being overwritten.
//
// Owned by one thread at a time. Destroying it releases every block; the cache lives at least as long.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "reprise/block.h"
#include "reprise/eviction.h"

namespace reprise {

class MemoryCache;

/// One held block. `data` is `bytes` long.
struct PinnedBlock {
  std::byte* data = nullptr;
  std::uint32_t bytes = 0;
  BlockSlot slot = kNoSlot;
};

class Pins {
 public:
  Pins() = default;
  explicit Pins(std::shared_ptr<MemoryCache> cache) : cache_(std::move(cache)) {}
  ~Pins() { release(); }
  Pins(Pins&& other) noexcept
      : cache_(std::move(other.cache_)),
        blocks_(std::move(other.blocks_)),
        given_back_(std::exchange(other.given_back_, false)) {
    other.blocks_.clear();
  }
  Pins& operator=(Pins&& other) noexcept {
    if (this != &other) {
      release();
      cache_ = std::move(other.cache_);
      blocks_ = std::move(other.blocks_);
      given_back_ = std::exchange(other.given_back_, false);
      other.blocks_.clear();
    }
    return *this;
  }

  [[nodiscard]] std::size_t size() const { return blocks_.size(); }
  [[nodiscard]] bool empty() const { return blocks_.empty(); }
  [[nodiscard]] const PinnedBlock& operator[](std::size_t i) const { return blocks_[i]; }
  [[nodiscard]] std::span<const PinnedBlock> blocks() const { return blocks_; }
  [[nodiscard]] Bytes bytes(std::size_t i) const { return {blocks_[i].data, blocks_[i].bytes}; }

  /// Takes over a count that is already held on the block.
  void adopt(const PinnedBlock& block) { blocks_.push_back(block); }
  /// Puts a held block into an empty place.
  void fill(std::size_t i, const PinnedBlock& block) { blocks_[i] = block; }
  void reserve(std::size_t n) { blocks_.reserve(n); }
  /// Moves the blocks of `other`, of the same cache, to the end of this set.
  void append(Pins&& other);
  /// Releases the blocks from index `n` on.
  void truncate(std::size_t n);
  /// Gives up block i without releasing it: the caller now holds the count. Leaves an empty place behind.
  PinnedBlock take(std::size_t i) { return std::exchange(blocks_[i], {}); }
  void release() { truncate(0); }
  /// No blocks, of the same cache.
  [[nodiscard]] Pins empty_copy() const { return Pins(cache_); }
  /// Holds blocks of this cache that somebody holds already.
  void repin(std::span<const PinnedBlock> blocks);
  /// Releases the blocks but keeps the list: for readers that find out later that it is void.
  void give_back();

 private:
  // Shared: blocks must stay mapped while anybody reads them, also after the cache was closed.
  std::shared_ptr<MemoryCache> cache_;
  std::vector<PinnedBlock> blocks_;
  bool given_back_ = false;
};

}  // namespace reprise
