#include "engine/ingest.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/log.h"

namespace reprise {
namespace {

// One write call: large enough for the store to group neighbours, small enough to free memory as it goes.
constexpr std::uint64_t kBatchBytes = 16ULL << 20;
constexpr std::size_t kBatchBlocks = 1024;
constexpr std::chrono::seconds kWriteDeadline{30};
constexpr std::chrono::seconds kEraseDeadline{5};
constexpr std::chrono::milliseconds kCloseGrace{5'000};

struct BlockIdHash {
  std::size_t operator()(const BlockId& id) const noexcept { return identity_hash(id.ns, id.key); }
};

struct Item {
  PinnedBlock block;
  BlockId id;
  bool resident;
  std::uint64_t number;  // in order of arrival
};

// Stores of somebody else's may throw; that is a failed write.
void write(Store& store, std::span<WriteOp> ops) {
  try {
    store.write(ops, Deadline::after(kWriteDeadline));
  } catch (...) {
    for (WriteOp& op : ops) op.result = Reason::kUnavailable;
  }
}

void erase(Store& store, std::span<const BlockId> ids) {
  if (ids.empty() || !store.info().can_erase) return;
  try {
    if (!store.erase(ids, Deadline::after(kEraseDeadline))) log::warn("blocks erased while they were written may stay");
  } catch (...) {
    log::warn("blocks erased while they were written may stay");
  }
}

}  // namespace

struct IngestQueue::Queue {
  std::shared_ptr<Store> store;
  std::shared_ptr<MemoryCache> cache;
  std::uint64_t max_bytes = 0;

  struct Pending {
    PinnedBlock block;
    std::uint64_t number;
  };
  std::mutex mutex;
  std::condition_variable progress;
  // Guarded by mutex.
  std::deque<Item> waiting;
  std::unordered_map<BlockId, Pending, BlockIdHash> pending;  // waiting or being written, and not forgotten
  std::uint64_t bytes = 0;                                    // waiting or being written
  std::uint64_t queued = 0;                                   // items ever; their numbers start at 1
  std::uint64_t finished = 0;                                 // of them, in order: written or dropped, and let go
  std::uint64_t taken = 0;                                    // of them, in order: no longer waiting
  bool writing = false;
  bool closed = false;
  std::uint64_t dropped = 0;

  void end(const Item& item, bool saved) const {
    if (item.resident) {
      cache->end_outbound(item.block, saved);
    } else {
      cache->unpin(item.block.slot);
    }
  }
  /// Under mutex: the item is no longer pending. False if it was forgotten before.
  bool settle(const Item& item) {
    bytes -= item.block.bytes;
    const auto found = pending.find(item.id);
    if (found == pending.end() || found->second.number != item.number) return false;
    pending.erase(found);
    return true;
  }
};

IngestQueue::IngestQueue(std::shared_ptr<Store> store, std::shared_ptr<MemoryCache> cache, const CacheOptions& options)
    : queue_(std::make_shared<Queue>()), writer_(1, 0, 16), flusher_(1, 0, 16) {
  queue_->store = std::move(store);
  queue_->cache = std::move(cache);
  queue_->max_bytes = options.l2_queue_bytes;
}

IngestQueue::~IngestQueue() {
  close(kCloseGrace);
}

void IngestQueue::close(std::chrono::milliseconds grace) {
  const auto end = std::chrono::steady_clock::now() + grace;
  {
    const std::lock_guard lock(queue_->mutex);
    if (queue_->closed) return;
    queue_->closed = true;
  }
  flush(Deadline::at(end));
  std::deque<Item> rest;
  {
    const std::lock_guard lock(queue_->mutex);
    rest.swap(queue_->waiting);
    queue_->dropped += rest.size();
    for (const Item& item : rest) queue_->settle(item);
    queue_->finished += rest.size();
  }
  for (const Item& item : rest) queue_->end(item, false);
  for (IoThreads* threads : {&writer_, &flusher_}) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    threads->stop(std::max(left, std::chrono::milliseconds(10)));
  }
}

std::size_t IngestQueue::offer_resident(Pins outbound) {
  return offer(std::move(outbound), true, nullptr);
}
std::size_t IngestQueue::offer_transit(Pins blocks, std::vector<bool>* refused) {
  return offer(std::move(blocks), false, refused);
}

std::size_t IngestQueue::offer(Pins blocks, bool resident, std::vector<bool>* refused) {
  std::vector<Item> returned;
  std::size_t on_their_way = 0;
  bool start = false;
  if (refused != nullptr) refused->assign(blocks.size(), false);
  {
    const std::lock_guard lock(queue_->mutex);
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      const PinnedBlock block = blocks.take(i);
      if (block.slot == kNoSlot) continue;
      const Item item{block, queue_->cache->id(block), resident, queue_->queued + 1};
      const bool known = queue_->pending.contains(item.id);
      const bool room = !queue_->closed && queue_->bytes + block.bytes <= queue_->max_bytes;
      if (known || !room) {
        returned.push_back(item);
        on_their_way += known ? 1 : 0;
        queue_->dropped += known ? 0 : 1;
        if (!known && refused != nullptr) (*refused)[i] = true;
        continue;
      }
      queue_->pending.emplace(item.id, Queue::Pending{block, item.number});
      queue_->waiting.push_back(item);
      ++queue_->queued;
      queue_->bytes += block.bytes;
      ++on_their_way;
    }
    start = !queue_->writing && !queue_->waiting.empty();
    if (start) queue_->writing = true;
  }
  for (const Item& item : returned) queue_->end(item, false);
  if (start && !writer_.submit([queue = queue_] { drain(queue); })) {
    const std::lock_guard lock(queue_->mutex);
    queue_->writing = false;
  }
  return on_their_way;
}

void IngestQueue::drain(const std::shared_ptr<Queue>& queue) {
  std::vector<Item> batch;
  std::vector<Item> forgotten;
  std::vector<BlockId> undo;
  std::vector<WriteOp> ops;
  for (;;) {
    batch.clear();
    forgotten.clear();
    undo.clear();
    ops.clear();
    {
      const std::lock_guard lock(queue->mutex);
      if (queue->waiting.empty()) {
        queue->writing = false;
        return;
      }
      std::uint64_t bytes = 0;
      while (!queue->waiting.empty() && batch.size() < kBatchBlocks && bytes < kBatchBytes) {
        const Item& item = queue->waiting.front();
        const auto found = queue->pending.find(item.id);
        const bool wanted = found != queue->pending.end() && found->second.number == item.number;
        (wanted ? batch : forgotten).push_back(item);
        bytes += item.block.bytes;
        queue->taken = item.number;
        queue->waiting.pop_front();
      }
    }
    for (const Item& item : batch) {
      ops.push_back(
          {item.id, {item.block.data, item.block.bytes}, queue->cache->checksum_of(item.block), Reason::kNone});
    }
    if (!ops.empty()) write(*queue->store, ops);
    {
      const std::lock_guard lock(queue->mutex);
      for (const Item& item : forgotten) queue->settle(item);
      for (const Item& item : batch) {
        if (!queue->settle(item)) undo.push_back(item.id);
      }
    }
    erase(*queue->store, undo);
    for (const Item& item : forgotten) queue->end(item, false);
    for (std::size_t i = 0; i < batch.size(); ++i) queue->end(batch[i], ops[i].result == Reason::kNone);
    const std::lock_guard lock(queue->mutex);
    queue->finished += batch.size() + forgotten.size();
    queue->progress.notify_all();
  }
}

void IngestQueue::pin_pending(std::span<const BlockId> ids, Pins& found) {
  const std::lock_guard lock(queue_->mutex);
  if (queue_->pending.empty()) return;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const auto pending = queue_->pending.find(ids[i]);
    if (pending == queue_->pending.end()) continue;
    queue_->cache->repin(pending->second.block);  // its own pin is given back only after it left the map
    found.fill(i, pending->second.block);
  }
}

std::size_t IngestQueue::forget(std::span<const BlockId> ids, Deadline deadline) {
  std::unique_lock lock(queue_->mutex);
  std::size_t forgotten = 0;
  std::uint64_t in_flight = 0;
  for (const BlockId& id : ids) {
    const auto found = queue_->pending.find(id);
    if (found == queue_->pending.end()) continue;
    if (found->second.number <= queue_->taken) in_flight = std::max(in_flight, found->second.number);
    queue_->pending.erase(found);
    ++forgotten;
  }
  const auto undone = [&] { return queue_->finished >= in_flight; };
  if (deadline.is_never()) {
    queue_->progress.wait(lock, undone);
  } else {
    queue_->progress.wait_until(lock, deadline.when(), undone);
  }
  return forgotten;
}

bool IngestQueue::flush(Deadline deadline) {
  {
    std::unique_lock lock(queue_->mutex);
    const auto written = [this, last = queue_->queued] { return queue_->finished >= last; };
    if (deadline.is_never()) {
      queue_->progress.wait(lock, written);
    } else if (!queue_->progress.wait_until(lock, deadline.when(), written)) {
      return false;
    }
  }
  return flush_store(deadline);
}

// On a thread of its own, so that a store that hangs costs the deadline and not for ever.
bool IngestQueue::flush_store(Deadline deadline) {
  struct Flushed {
    std::mutex mutex;
    std::condition_variable done;
    bool is_done = false;
    bool ok = false;
    bool given_up = false;
  };
  const auto flushed = std::make_shared<Flushed>();  // shared with the thread
  const auto flush_now = [flushed, queue = queue_, deadline] {
    {
      const std::lock_guard lock(flushed->mutex);
      if (flushed->given_up) return;
    }
    bool ok = false;
    try {
      ok = queue->store->flush(deadline).has_value();
    } catch (...) {
      log::warn("the store threw while flushing");
    }
    const std::lock_guard lock(flushed->mutex);
    flushed->is_done = true;
    flushed->ok = ok;
    flushed->done.notify_all();
  };
  if (!flusher_.submit(flush_now)) return false;
  std::unique_lock lock(flushed->mutex);
  const auto done = [&] { return flushed->is_done; };
  if (deadline.is_never()) {
    flushed->done.wait(lock, done);
    return flushed->ok;
  }
  if (flushed->done.wait_until(lock, deadline.when(), done)) return flushed->ok;
  flushed->given_up = true;
  return false;
}

void IngestQueue::add_stats(CacheStats& stats) const {
  const std::lock_guard lock(queue_->mutex);
  stats.ingest_queued_bytes = queue_->bytes;
  stats.ingest_dropped = queue_->dropped + queue_->cache->dropped_transit();
}

}  // namespace reprise
