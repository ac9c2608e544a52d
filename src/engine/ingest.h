// What flows from L1 to L2, without anybody waiting for it.
//
// A queue bounded in bytes and the threads that empty it into the store. Thread-safe. When the queue is full a block is
// dropped and counted: it costs a later miss, never a stall. Queued blocks stay readable through `pin_pending`.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/io_threads.h"
#include "l1/memory_cache.h"
#include "reprise/options.h"
#include "reprise/store.h"

namespace reprise {

class IngestQueue {
 public:
  IngestQueue(std::shared_ptr<Store> store, std::shared_ptr<MemoryCache> cache, const CacheOptions& options);
  /// Writes what is queued for at most the grace period, then drops the rest.
  ~IngestQueue();
  void set_grace(std::chrono::milliseconds grace) { grace_ = grace; }

  /// Queues resident blocks that were marked by MemoryCache::begin_outbound. Returns how many.
  std::size_t offer_resident(Pins outbound);
  /// Queues blocks that L1 does not keep. Returns how many.
  std::size_t offer_transit(Pins blocks);

  /// Pins a block that waits to be written, or an empty place.
  [[nodiscard]] PinnedBlock pin_pending(const BlockId& id);
  /// Waits until the queue is empty and the store has flushed; false at the deadline.
  bool flush(Deadline deadline);

  void add_stats(CacheStats& stats) const;

 private:
  struct Queue;
  std::size_t offer(Pins blocks, bool resident);
  static void drain(const std::shared_ptr<Queue>& queue);

  // Shared with the thread that writes, which may hang in the store.
  const std::shared_ptr<Queue> queue_;
  std::chrono::milliseconds grace_{5'000};
  IoThreads threads_;
};

}  // namespace reprise
