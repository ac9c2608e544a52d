#include "engine/ingest.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

namespace reprise {
namespace {

// One write call: large enough for the store to group neighbours, small enough to free memory as it goes.
constexpr std::uint64_t kBatchBytes = 16ULL << 20;
constexpr std::size_t kBatchBlocks = 1024;
constexpr std::chrono::seconds kWriteDeadline{30};

struct BlockIdHash {
  std::size_t operator()(const BlockId& id) const noexcept { return identity_hash(id.ns, id.key); }
};

struct Item {
  PinnedBlock block;
  BlockId id;
  bool resident;
};

}  // namespace

struct IngestQueue::Queue {
  std::shared_ptr<Store> store;
  std::shared_ptr<MemoryCache> cache;
  std::uint64_t max_bytes = 0;

  std::mutex mutex;
  std::condition_variable emptied;
  // Guarded by mutex.
  std::deque<Item> waiting;
  std::unordered_map<BlockId, PinnedBlock, BlockIdHash> pending;  // waiting or being written
  std::uint64_t bytes = 0;                                        // of pending
  std::size_t writers = 0;
  std::uint64_t dropped = 0;

  void end(const Item& item, bool saved) const {
    if (item.resident) {
      cache->end_outbound(item.block, saved);
    } else {
      cache->unpin(item.block.slot);
    }
  }
};

IngestQueue::IngestQueue(std::shared_ptr<Store> store, std::shared_ptr<MemoryCache> cache, const CacheOptions& options)
    : queue_(std::make_shared<Queue>()), threads_(1, 0, 16) {
  queue_->store = std::move(store);
  queue_->cache = std::move(cache);
  queue_->max_bytes = options.l2_queue_bytes;
}

IngestQueue::~IngestQueue() {
  threads_.set_grace(grace_);
  flush(Deadline::after(grace_));
  std::deque<Item> rest;
  {
    const std::lock_guard lock(queue_->mutex);
    rest.swap(queue_->waiting);
    queue_->dropped += rest.size();
  }
  for (const Item& item : rest) queue_->end(item, false);
}

std::size_t IngestQueue::offer_resident(Pins outbound) {
  return offer(std::move(outbound), true);
}
std::size_t IngestQueue::offer_transit(Pins blocks) {
  return offer(std::move(blocks), false);
}

std::size_t IngestQueue::offer(Pins blocks, bool resident) {
  std::vector<Item> refused;
  std::size_t queued = 0;
  bool start = false;
  {
    const std::lock_guard lock(queue_->mutex);
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      const PinnedBlock block = blocks.take(i);
      const Item item{block, queue_->cache->id(block), resident};
      const bool room = queue_->bytes + item.block.bytes <= queue_->max_bytes;
      if (!room || !queue_->pending.emplace(item.id, item.block).second) {
        queue_->dropped += room ? 0 : 1;
        refused.push_back(item);
        continue;
      }
      queue_->waiting.push_back(item);
      queue_->bytes += item.block.bytes;
      ++queued;
    }
    start = queue_->writers == 0 && !queue_->waiting.empty();
    if (start) queue_->writers = 1;
  }
  for (const Item& item : refused) queue_->end(item, false);
  if (start && !threads_.submit([queue = queue_] { drain(queue); })) {
    const std::lock_guard lock(queue_->mutex);
    queue_->writers = 0;
  }
  return queued;
}

void IngestQueue::drain(const std::shared_ptr<Queue>& queue) {
  std::vector<Item> batch;
  std::vector<WriteOp> ops;
  for (;;) {
    batch.clear();
    ops.clear();
    {
      const std::lock_guard lock(queue->mutex);
      std::uint64_t bytes = 0;
      while (!queue->waiting.empty() && batch.size() < kBatchBlocks && bytes < kBatchBytes) {
        batch.push_back(queue->waiting.front());
        bytes += batch.back().block.bytes;
        queue->waiting.pop_front();
      }
      if (batch.empty()) {
        queue->writers = 0;
        queue->emptied.notify_all();
        return;
      }
    }
    for (const Item& item : batch) {
      ops.push_back(
          {item.id, {item.block.data, item.block.bytes}, queue->cache->checksum_of(item.block), Reason::kNone});
    }
    queue->store->write(ops, Deadline::after(kWriteDeadline));
    {
      const std::lock_guard lock(queue->mutex);
      for (const Item& item : batch) {
        queue->pending.erase(item.id);
        queue->bytes -= item.block.bytes;
      }
    }
    for (std::size_t i = 0; i < batch.size(); ++i) queue->end(batch[i], ops[i].result == Reason::kNone);
  }
}

PinnedBlock IngestQueue::pin_pending(const BlockId& id) {
  const std::lock_guard lock(queue_->mutex);
  const auto found = queue_->pending.find(id);
  if (found == queue_->pending.end()) return {};
  queue_->cache->repin(found->second);  // its own pin is given back only after it left the map
  return found->second;
}

bool IngestQueue::flush(Deadline deadline) {
  {
    std::unique_lock lock(queue_->mutex);
    const auto empty = [this] { return queue_->pending.empty(); };
    if (deadline.is_never()) {
      queue_->emptied.wait(lock, empty);
    } else if (!queue_->emptied.wait_until(lock, deadline.when(), empty)) {
      return false;
    }
  }
  // On the writing thread, so that a store that hangs costs the deadline and not for ever.
  struct Flushed {
    std::mutex mutex;
    std::condition_variable done;
    bool is_done = false;
    bool ok = false;
  };
  const auto flushed = std::make_shared<Flushed>();  // shared with the thread
  if (!threads_.submit([flushed, queue = queue_, deadline] {
        const bool ok = queue->store->flush(deadline).has_value();
        const std::lock_guard lock(flushed->mutex);
        flushed->is_done = true;
        flushed->ok = ok;
        flushed->done.notify_all();
      })) {
    return false;
  }
  std::unique_lock lock(flushed->mutex);
  const auto done = [&] { return flushed->is_done; };
  if (deadline.is_never()) {
    flushed->done.wait(lock, done);
    return flushed->ok;
  }
  return flushed->done.wait_until(lock, deadline.when(), done) && flushed->ok;
}

void IngestQueue::add_stats(CacheStats& stats) const {
  const std::lock_guard lock(queue_->mutex);
  stats.ingest_queued_bytes = queue_->bytes;
  stats.ingest_dropped = queue_->dropped + queue_->cache->dropped_transit();
}

}  // namespace reprise
