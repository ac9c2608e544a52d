// What flows from L1 to L2, without anybody waiting for it.
//
// A queue bounded in bytes and the threads that empty it into the store. Thread-safe. When the queue is full a block is
// dropped and counted: it costs a later miss, never a stall. Queued blocks stay readable through `pin_pending`.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/io_threads.h"
#include "l1/memory_cache.h"
#include "reprise/options.h"
#include "reprise/store.h"

namespace reprise {

class IngestQueue {
 public:
  IngestQueue(std::shared_ptr<Store> store, std::shared_ptr<MemoryCache> cache, const CacheOptions& options);
  /// close(), with a few seconds of grace.
  ~IngestQueue();
  /// Writes what is queued for at most the grace period, then drops the rest and takes no more. Only the first call
  /// does anything.
  void close(std::chrono::milliseconds grace);

  /// Queues resident blocks that were marked by MemoryCache::begin_outbound. Returns how many.
  std::size_t offer_resident(Pins outbound);
  /// Queues blocks that L1 does not keep. Returns how many are on their way now, by this call or an earlier one; sets
  /// (*refused)[i] for the others.
  std::size_t offer_transit(Pins blocks, std::vector<bool>* refused = nullptr);

  /// Pins blocks that wait to be written: fills the empty places of `found`, which has one per id.
  void pin_pending(std::span<const BlockId> ids, Pins& found);
  /// Blocks that wait will not be written; those being written are erased from the store after, which is waited for
  /// until the deadline. Returns how many there were.
  std::size_t forget(std::span<const BlockId> ids, Deadline deadline);
  /// Waits until what was queued before the call is written or dropped and the store has flushed; false at the
  /// deadline.
  bool flush(Deadline deadline);

  void add_stats(CacheStats& stats) const;

 private:
  struct Queue;
  std::size_t offer(Pins blocks, bool resident, std::vector<bool>* refused);
  bool flush_store(Deadline deadline);
  static void drain(const std::shared_ptr<Queue>& queue);

  // Shared with the threads that write and flush, which may hang in the store.
  const std::shared_ptr<Queue> queue_;
  IoThreads writer_;
  IoThreads flusher_;  // of its own: the writer may be busy for as long as blocks come in
};

}  // namespace reprise
