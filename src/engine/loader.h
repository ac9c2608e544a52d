// The way to L2 for reads: every call has a deadline, and a call that overruns it is left behind with its own buffers.
//
// Thread-safe. Reads land in blocks of the memory cache that the read itself keeps pinned, so a late one can never
// reach memory that was given to someone else. What is left behind is counted and capped; beyond the cap the store is
// ejected for a while and every call answers kUnavailable at once, then one call probes it; an answer, or calls that
// come back after all, end the ejection.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "base/clock.h"
#include "engine/io_threads.h"
#include "l1/memory_cache.h"
#include "reprise/options.h"
#include "reprise/store.h"

namespace reprise {

class Loader {
 public:
  Loader(std::shared_ptr<Store> store, std::shared_ptr<MemoryCache> cache, const CacheOptions& options,
         const Clock& clock);

  /// Sets present[i]; answers kNone, or why nothing is known. `will_read`: what is present will be read next, so this
  /// may be the call that probes an ejected store.
  Reason contains(std::span<const BlockId> ids, std::vector<bool>& present, Deadline deadline, bool will_read);

  /// Reads into the blocks of `memory` and waits until the deadline; `publish[i]` says if block i becomes visible in
  /// L1 once its bytes are there. outcomes[i] is the outcome of block i; the blocks that are kNone are appended to
  /// `loaded` with a pin each, the others as empty places.
  void read(Pins memory, std::vector<bool> publish, Deadline deadline, std::vector<Reason>& outcomes, Pins& loaded);
  /// The same without waiting: blocks appear in L1 as they arrive. False if the store is away or busy.
  bool read_ahead(Pins memory, std::vector<bool> publish);

  /// Reads of these blocks that are not over do not bring them into L1 any more.
  void forget(std::span<const BlockId> ids);
  /// Returns how many blocks L2 dropped; 0 where it cannot be asked.
  std::size_t erase(std::vector<BlockId> ids, Deadline deadline);

  void add_stats(CacheStats& stats) const;
  /// The deadline shortened to the longest wait allowed for L2.
  [[nodiscard]] Deadline capped(Deadline deadline) const;
  /// How long the destructor waits for operations that do not return.
  void set_grace(std::chrono::milliseconds grace) { threads_.set_grace(grace); }

 private:
  struct Call;
  struct ContainsCall;
  struct EraseCall;
  struct ReadCall;
  struct Health;

  bool start(const std::shared_ptr<Call>& call);
  bool wait(Call& call, Deadline deadline);
  void after_leaving();
  void leave_overdue();
  std::vector<std::shared_ptr<ReadCall>> running_reads();
  bool available();
  Reason ask_index(std::span<const BlockId> ids, std::vector<bool>& present, Deadline deadline, bool will_read);
  std::shared_ptr<ReadCall> make_read(Pins memory, std::vector<bool> publish, Deadline deadline);

  const std::shared_ptr<Store> store_;        // shared with calls left behind
  const std::shared_ptr<MemoryCache> cache_;  // likewise
  const Clock& clock_;
  const Duration longest_wait_;
  const std::shared_ptr<Health> health_;  // likewise
  std::mutex mutex_;
  std::vector<std::weak_ptr<ReadCall>> reads_;  // guarded by mutex_: reads that are not over
  IoThreads threads_;
};

}  // namespace reprise
