// Offering blocks over the network: requests, their payload from where it lies, and what became of each block.
//
// Thread-safe. Keeps one thing: whether what is offered tends to be there already, and so whether to ask first.
#pragma once

#include <atomic>
#include <span>

#include "client/link_pool.h"
#include "reprise/cache.h"

namespace reprise {

class RemotePut {
 public:
  /// REQUIRES: arguments that blocks_each accepts.
  [[nodiscard]] Result<Stored> operator()(LinkPool& pool, std::span<const Chain> chains, std::size_t from,
                                          std::span<const Bytes> blocks, Deadline deadline);

 private:
  std::atomic<int> ask_first_ = 1;  // so many puts will still ask
};

}  // namespace reprise
