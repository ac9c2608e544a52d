// L1: blocks in this process's arena, found by key, held by pins, evicted by a policy that sees chains.
//
// Thread-safe. Lookups and releases take no lock. Everything that changes what is resident happens under one policy
// mutex: index writes, slabs, the free list and the policy itself. Touches are applied at once where the mutex is
// free, and queued where it is not. Bytes are never copied under the mutex.
//
// What leaves (evicted blocks, hot blocks) is returned as pins, after the mutex was released; the engine decides.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "base/clock.h"
#include "base/table.h"
#include "l1/departures.h"
#include "l1/entry.h"
#include "l1/index.h"
#include "l1/pins.h"
#include "l1/touch_queue.h"
#include "memory/arena.h"
#include "memory/slabs.h"
#include "reprise/chain.h"
#include "reprise/stats.h"
#include "reprise/store.h"

namespace reprise {

struct MemoryCacheOptions {
  std::uint64_t capacity = 0;       ///< Payload bytes resident at most.
  std::uint64_t transit_bytes = 0;  ///< Payload bytes beyond that for blocks on their way to or from L2.
  std::uint32_t alignment = 64;     ///< Blocks start at multiples of this (4096 where disk reads into them).
  Memory memory = Memory::kAnonymous;
  bool huge_pages = true;
  bool populate = true;
  bool keep_evicted = false;  ///< Return evicted blocks for the engine to save.
  bool keep_hot = false;      ///< Return blocks that became hot.
  /// Not null: note when blocks came, how often they were hit and why they left. Outlives the cache and its pins.
  const Clock* observe = nullptr;
};

/// What a call moved out, for the engine to save to L2.
struct Outflow {
  Pins evicted;  ///< No longer resident; freed when released.
  Pins hot;      ///< Resident, marked outbound.
  void append(Outflow other) {
    evicted.append(std::move(other.evicted));
    hot.append(std::move(other.hot));
  }
};

/// What became of one block offered to `admit`.
enum class Fate : std::uint8_t { kAdmitted, kPresent, kDeclined, kFull, kHole };

struct Admission {
  std::vector<Fate> fates;  ///< One per offered block.
  std::vector<bool> hot;    ///< One per admitted block: to be saved once it is complete (with keep_hot).
  Pins filling;             ///< The admitted ones in chain order: fill and publish. Released unpublished, they vanish.
  Outflow out;
};

class MemoryCache : public std::enable_shared_from_this<MemoryCache> {
 public:
  [[nodiscard]] static Result<std::shared_ptr<MemoryCache>> create(const MemoryCacheOptions& options,
                                                                   std::unique_ptr<EvictionPolicy> policy);
  ~MemoryCache();

  /// Appends pins for the leading run of `keys` that is resident; returns its length.
  std::size_t pin_run(const NamespaceId& ns, std::span<const BlockKey> keys, Pins& pins);
  /// Appends one pin per key, with `slot` kNoSlot where it is not resident; returns how many are.
  std::size_t pin_each(const NamespaceId& ns, std::span<const BlockKey> keys, Pins& pins);
  /// Length of the leading resident run, and whether any key behind its end is resident.
  struct Run {
    std::size_t blocks = 0;
    bool more_behind = false;
  };
  /// Whether all of them are resident; stops at the first that is not.
  [[nodiscard]] bool has_all(const NamespaceId& ns, std::span<const BlockKey> keys);
  [[nodiscard]] Run match_run(const NamespaceId& ns, std::span<const BlockKey> keys);
  void match_each(const NamespaceId& ns, std::span<const BlockKey> keys, std::span<bool> present);

  /// Tells the policy that a request found these blocks (root first; empty places are skipped).
  Outflow touch(std::span<const PinnedBlock> chain);

  /// Offers keys [from, to) of one chain. With `rooted`, blocks whose predecessor is not resident are a kHole.
  Admission admit(const Namespace& ns, std::span<const BlockKey> keys, std::size_t from, std::size_t to, bool rooted);
  /// The block of a Admission::filling pin is complete and may be found. `checksum` 0 = not computed.
  void publish(const PinnedBlock& block, std::uint64_t checksum, bool saved);

  /// Memory for a block that L1 does not keep, freed when released; nullopt when transit_bytes are used up.
  std::optional<PinnedBlock> allocate_transit(const BlockId& id, std::uint32_t bytes);

  /// Marks blocks as being written to L2, and pins those that are neither saved nor on their way already. Such a pin
  /// does not hinder eviction. End it with end_outbound.
  Pins begin_outbound(std::span<const PinnedBlock> blocks);
  void end_outbound(const PinnedBlock& block, bool saved);

  /// Forgets blocks; held ones vanish when released. Returns how many were resident.
  std::size_t erase(const NamespaceId& ns, std::span<const BlockKey> keys, DepartureWhy why = DepartureWhy::kErased);

  // For operators' questions (observe.cc).
  struct Look {
    enum class Where : std::uint8_t { kNowhere, kFilling, kResident };
    Where where = Where::kNowhere;
    std::uint32_t bytes = 0;
    const std::byte* memory = nullptr;  ///< Not held: another block's as soon as the caller looks away.
    std::uint32_t readers = 0;          ///< Holds, without that of the write to L2.
    bool saved = false;                 ///< L2 has a copy.
    bool outbound = false;              ///< Being written to L2.
    std::uint32_t hits = 0;             ///< Since it was stored. With `observe`, as are the rest.
    std::chrono::seconds age{0};
    struct Left {
      DepartureWhy why = DepartureWhy::kEvicted;
      std::chrono::seconds ago{0};
    };
    std::optional<Left> left;  ///< The last time it left, if that is still known.
  };
  [[nodiscard]] Look look(const NamespaceId& ns, const BlockKey& key) const;
  /// How many blocks left, by reason; zeros without `observe`.
  [[nodiscard]] DepartureCounts departures() const;
  struct Scanned {
    BlockId id;
    std::uint32_t bytes = 0;
    bool visible = false;  ///< Complete and resident; otherwise on its way in or out.
  };
  /// Replaces `found` with the blocks among the next few thousand entries from `from` on; answers where to go on, or
  /// kNoSlot at the end. Blocks that come or go meanwhile may be missed.
  [[nodiscard]] BlockSlot scan(BlockSlot from, std::vector<Scanned>& found) const;

  [[nodiscard]] BlockId id(const PinnedBlock& block) const;
  /// The payload's checksum, computed now if it was not yet. The block must be pinned and complete.
  [[nodiscard]] std::uint64_t checksum_of(const PinnedBlock& block);
  /// For a block in transit, which is never published.
  void set_checksum(const PinnedBlock& block, std::uint64_t checksum) { entries_[block.slot].checksum = checksum; }

  /// Adds one count to a block that is pinned already.
  void repin(const PinnedBlock& block) { entries_[block.slot].state.fetch_add(1, std::memory_order_relaxed); }
  /// Takes one count back.
  void unpin(BlockSlot slot);
  /// One count of each; empty places are skipped.
  void unpin_all(std::span<const PinnedBlock> blocks);

  /// How many entries there are of each kind.
  struct Census {
    std::uint64_t visible = 0;  ///< Complete and resident.
    std::uint64_t filling = 0;  ///< Admitted, not complete.
    std::uint64_t transit = 0;  ///< Not resident; freed with their last count.
    std::uint64_t held = 0;     ///< Of all these, the ones with a count.
  };
  /// For tests: compares every entry with every counter, list and table, under the mutex; kInternal names what
  /// disagrees. REQUIRES: no `admit` or `allocate_transit` is running.
  [[nodiscard]] Result<Census> check_invariants();

  /// Fills the L1 parts of `stats`.
  void add_stats(CacheStats& stats) const;
  [[nodiscard]] const MemoryCacheOptions& options() const { return options_; }
  [[nodiscard]] const Arena& arena() const { return *arena_; }
  [[nodiscard]] std::uint64_t dropped_transit() const { return transit_dropped_.load(std::memory_order_relaxed); }

 private:
  MemoryCache(const MemoryCacheOptions& options, std::unique_ptr<Arena> arena, std::uint64_t slab_bytes,
              std::unique_ptr<EvictionPolicy> policy);

  class Filter;
  static constexpr std::uint64_t kNoChunk = ~std::uint64_t{0};  // entry without memory yet

  // Lookup (no lock).
  enum class Hold : std::uint8_t { kHeld, kNo, kRetry };
  Hold try_pin(BlockSlot slot, const NamespaceId& ns, const BlockKey& key);
  BlockSlot find_and_pin(const NamespaceId& ns, const BlockKey& key, std::uint64_t hash);
  PinnedBlock pinned(BlockSlot slot) const;
  void push_leftover(BlockSlot slot);

  // Under mutex_.
  void settle();  // applies queued touches and leftovers
  void apply_touches();
  void apply_leftovers();
  BlockSlot find(const NamespaceId& ns, const BlockKey& key, std::uint64_t hash) const;
  BlockSlot new_entry(const NamespaceId& ns, const BlockKey& key, std::uint32_t bytes);
  void free_entry(BlockSlot slot);
  void unlink(BlockSlot slot);  // out of the index; no longer visible
  void evict(BlockSlot slot, Outflow& out);
  void doom(BlockSlot slot);  // no longer resident; freed with its last count
  void count_in(std::uint32_t bytes);
  void count_out(std::uint32_t bytes);
  void grow_tables(std::uint64_t block_bytes, std::size_t newcomers);
  void collect_hot(Outflow& out);
  struct Batch;
  void admit_batch(Batch& batch);
  void decline_surplus(Batch& batch);
  void give_up(Batch& batch, BlockSlot newcomer, Fate fate);
  std::size_t erase_batch(const NamespaceId& ns, std::span<const BlockKey> keys, DepartureWhy why);  // takes mutex_
  void departed(BlockSlot slot, DepartureWhy why) {
    if (departures_) note_departure(slot, why);
  }
  void note_departure(BlockSlot slot, DepartureWhy why);

  [[nodiscard]] std::uint32_t seconds() const;  // of the observing clock

  [[nodiscard]] bool transit_room(BlockSlot slot) const;
  /// Memory a block takes, with rounding.
  [[nodiscard]] std::uint64_t chunk_of(std::uint64_t bytes) const {
    return (bytes + options_.alignment - 1) & ~std::uint64_t{options_.alignment - 1};
  }

  // Relocation: takes and releases mutex_ itself.
  bool give_memory(BlockSlot slot);
  struct Relocation;
  bool plan_relocation(Relocation& plan);
  std::optional<std::uint32_t> choose_slab(std::uint64_t wanted_bytes, Relocation& plan);  // under mutex_
  [[nodiscard]] bool stays(BlockSlot slot) const;
  void finish_relocation(Relocation& plan);
  void give_pages_back();
  bool drop_for_relocation(BlockSlot slot);  // under mutex_

  const MemoryCacheOptions options_;
  const std::unique_ptr<Arena> arena_;
  Table<BlockEntry> entries_;
  BlockIndex index_;  // written under mutex_, read by all
  TouchQueue touches_;
  struct Observed {
    std::atomic<std::uint32_t> stored;  // seconds
    std::atomic<std::uint32_t> hits;
  };
  Table<Observed> observed_;                   // by slot; empty unless asked for
  std::atomic<BlockSlot> leftovers_{kNoSlot};  // stack of entries whose last count went: restore or free

  mutable std::mutex mutex_;
  // Guarded by mutex_.
  const std::unique_ptr<EvictionPolicy> policy_;
  SlabAllocator slabs_;
  const std::uint64_t chunk_limit_;  // of resident blocks
  BlockSlot free_head_ = kNoSlot;
  std::uint64_t free_entries_ = 0;
  BlockSlot entries_used_ = 0;     // high-water mark
  std::uint64_t table_slots_ = 0;  // what policy and index were told
  std::uint64_t expected_blocks_ = 0;
  std::uint64_t used_bytes_ = 0;   // payload of resident blocks
  std::uint64_t chunk_bytes_ = 0;  // the same, with rounding
  std::uint64_t resident_ = 0;
  std::uint64_t evictions_ = 0;
  const std::unique_ptr<Departures> departures_;  // null unless asked for
  std::vector<BlockSlot> hot_;
  std::vector<BlockSlot> slots_scratch_;
  std::vector<Touched> touched_scratch_;

  std::atomic<std::uint64_t> transit_used_{0};
  std::atomic<std::uint64_t> transit_dropped_{0};
  std::atomic<std::uint64_t> stored_{0};
  std::atomic<std::uint64_t> stored_bytes_{0};
};

}  // namespace reprise
