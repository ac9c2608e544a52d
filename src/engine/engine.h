// The embedded cache: L1 in this process, at most one store behind it, and the decisions between them.
//
// Implements reprise::Cache. Thread-safe; L1 hits are served on the caller's thread without a hop. gather.cc answers
// reads (find, bring up, hold), offer.cc takes writes (admit, copy, pass on), inside.cc shows what a daemon needs
// (inside.h), engine.cc is the rest. Knows no store by name.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/clock.h"
#include "engine/common_run.h"
#include "engine/ingest.h"
#include "engine/inside.h"
#include "engine/loader.h"
#include "l1/lease_book.h"
#include "l1/lease_words.h"
#include "l1/memory_cache.h"
#include "reprise/cache.h"

namespace reprise {

class Engine final : public Cache {
 public:
  /// `store` may be null. `options` must have passed check_options; `clock` outlives the engine and its leases.
  [[nodiscard]] static Result<std::unique_ptr<Engine>> create(const CacheOptions& options,
                                                              std::unique_ptr<EvictionPolicy> policy,
                                                              std::unique_ptr<Store> store, const Clock& clock,
                                                              EngineExtras extras = {});
  ~Engine() override;
  /// How long the destructor waits, in all, for writes that are queued and for a store that does not answer.
  void set_close_grace(std::chrono::milliseconds grace) { close_grace_ = grace; }

  using Cache::acquire;
  using Cache::erase;
  using Cache::get;
  using Cache::match;
  using Cache::prefetch;
  using Cache::put;
  [[nodiscard]] Result<Match> match(std::span<const Chain> chains, Deadline deadline) override;
  [[nodiscard]] Result<Acquired> acquire(std::span<const Chain> chains, Deadline deadline) override;
  [[nodiscard]] Result<Match> get(std::span<const Chain> chains, std::size_t from, std::span<const MutableBytes> out,
                                  Deadline deadline) override;
  [[nodiscard]] Result<Stored> put(std::span<const Chain> chains, std::size_t from, std::span<const Bytes> blocks,
                                   Deadline deadline) override;
  [[nodiscard]] Result<Reservation> reserve(const Chain& chain, std::size_t from, Deadline deadline) override;
  [[nodiscard]] Result<Match> prefetch(std::span<const Chain> chains, Deadline deadline) override;
  [[nodiscard]] Result<std::size_t> erase(std::span<const Chain> chains, Deadline deadline) override;
  [[nodiscard]] Result<Lease> attach(const LeaseToken& token) override;
  [[nodiscard]] Result<bool> flush(Deadline deadline) override;
  [[nodiscard]] CacheStats stats() const override;
  [[nodiscard]] CacheMemory memory() const override { return {{arena().data(), arena().size()}, cache_}; }

  // For whoever serves this engine to other processes; see inside.h. Leases and reservations must be this engine's.

  [[nodiscard]] const Arena& arena() const { return cache_->arena(); }
  /// Null without EngineExtras::shared_leases. Lives as long as the engine.
  [[nodiscard]] const LeaseWords* lease_words() const { return lease_words_.get(); }
  /// Prefix of the arena that is expected to be used.
  [[nodiscard]] std::uint64_t populate_bytes() const { return cache_->options().capacity; }

  /// Valid as long as the lease object. A block's offset is its data - arena().data().
  [[nodiscard]] LeaseInside inside(const Lease& lease) const;
  /// XXH3-64 of each held block, computed once per block; empty if the lease has ended.
  [[nodiscard]] std::vector<std::uint64_t> checksums(const Lease& lease);
  /// Which of the chain's blocks are in any tier, whatever its rule. Moves and influences nothing.
  [[nodiscard]] Result<EachFound> find_each(const Chain& chain, Deadline deadline);
  /// Leases those that find_each finds, in their order. One that cannot be brought up after all ends that, and neither
  /// it nor those behind it are `found`.
  struct EachAcquired {
    EachFound each;
    Lease lease;
  };
  [[nodiscard]] Result<EachAcquired> acquire_each(const Chain& chain, Deadline deadline);
  /// True if acquire and get of these chains cannot wait for L2. Influences nothing; blocks may leave before the call.
  [[nodiscard]] bool answers_at_once(std::span<const Chain> chains);
  /// Ends the leases that ran out, which calls also do as they come; returns how many.
  std::size_t expire_leases() { return leases_->expire_due(); }

  /// Like reserve, of [from, to).
  [[nodiscard]] Result<Reservation> reserve_range(const Chain& chain, std::size_t from, std::size_t to,
                                                  Deadline deadline);
  [[nodiscard]] ReservationInside inside(const Reservation& reservation) const;
  /// The XXH3-64 of what was written to place i, so that nobody computes it again. A no-op where nothing can be.
  void set_checksum(Reservation& reservation, std::size_t i, std::uint64_t sum);
  /// Commits the writable places i with complete[i] (absent: false) and abandons the others. Returns how many of all
  /// places are present now. Ends the reservation.
  std::size_t commit_each(Reservation& reservation, const std::vector<bool>& complete);

  /// Where a block is and why it left. Asks L2 only about what memory does not have.
  [[nodiscard]] Result<Explained> explain(const NamespaceId& ns, const BlockKey& key, Deadline deadline);
  /// Blocks that left memory, by reason; zeros without EngineExtras::observe.
  [[nodiscard]] DepartureCounts departures() const { return cache_->departures(); }
  /// What is resident, by namespace. Takes milliseconds; blocks that come or go meanwhile may be missed.
  [[nodiscard]] std::vector<NamespaceUsage> usage() const;
  /// Forgets a namespace, or everything: what is in memory, and the copies of that in L2. Blocks that are only in L2
  /// stay. Counts like erase.
  std::size_t purge(std::optional<NamespaceId> ns, Deadline deadline);

 private:
  class Filling;

  Engine(const CacheOptions& options, std::shared_ptr<MemoryCache> cache, std::shared_ptr<Store> store,
         const Clock& clock, std::shared_ptr<LeaseWords> lease_words);

  // Reads.
  struct Survey;
  struct Gathered {
    Match match;
    Pins pins;  // the needed blocks of the run, chain after chain
  };
  Gathered gather(std::span<const Chain> chains, Deadline deadline);
  bool gather_from_l1(const Chain& chain, Gathered& gathered);
  Survey survey(std::span<const Chain> chains, Deadline deadline, bool will_read);
  void look_in_l2(std::span<const Chain> chains, Survey& survey, Deadline deadline, bool will_read);
  Reason hold_run(std::span<const Chain> chains, Survey& survey, Deadline deadline);
  Reason bring_up(std::span<const Chain> chains, Survey& survey, std::size_t run, Deadline deadline);
  struct Wanted;
  Wanted make_room(std::span<const Chain> chains, Survey& survey, std::size_t run, bool past_l1);
  static void count_tiers(std::span<const Chain> chains, const Survey& found, Match& match);
  void count(const Match& match, std::size_t needed, std::uint64_t l1_bytes, std::uint64_t l2_bytes);

  std::size_t erase_ids(const NamespaceId& ns, std::span<const BlockKey> keys, DepartureWhy why, Deadline deadline);

  /// What the store must know before it is asked about these chains, or given their blocks.
  void introduce(std::span<const Chain> chains) const;

  // Writes.
  void offer_chain(const Chain& chain, std::size_t from, std::span<const Bytes> blocks, Stored& stored);
  std::vector<Reason> offer_past_l1(std::span<const BlockId> ids, std::span<const Bytes> bytes, std::size_t& present);

  // What leaves L1 on its way to L2. Reservations keep a copy, since they may outlive the engine.
  struct Outlet {
    std::shared_ptr<MemoryCache> cache;
    std::shared_ptr<IngestQueue> ingest;  // null without a store; shared for the same reason
    Ingest mode;

    void pass_on(Outflow out) const;
    void pass_on_admitted(const Admission& admission) const;
    [[nodiscard]] bool takes_declined() const { return ingest != nullptr && mode != Ingest::kHot; }
  };

  const CacheOptions options_;
  const Clock& clock_;
  const std::shared_ptr<MemoryCache> cache_;       // shared with leases and with reads left behind
  const std::shared_ptr<LeaseWords> lease_words_;  // shared with the lease book; may be null
  const std::shared_ptr<LeaseBook> leases_;        // shared with leases
  const std::shared_ptr<Store> store_;             // shared with calls left behind; may be null
  const std::unique_ptr<Loader> loader_;           // null without a store
  const Outlet outlet_;
  std::chrono::milliseconds close_grace_{5'000};

  struct Counters {
    std::atomic<std::uint64_t> requested{0};
    std::atomic<std::uint64_t> l1_hits{0};
    std::atomic<std::uint64_t> l1_read_bytes{0};
    std::atomic<std::uint64_t> l2_hits{0};
    std::atomic<std::uint64_t> l2_read_bytes{0};
    std::atomic<std::uint64_t> declined{0};
    std::array<std::atomic<std::uint64_t>, kReasonCount> reasons{};
  };
  Counters counters_;
};

/// Why a block that was not admitted is not there.
[[nodiscard]] Reason reason_of(Fate fate);

/// kConfig when the options cannot work, naming the option and the limit. Allocates nothing.
[[nodiscard]] Result<void> check_options(const CacheOptions& options);

/// kInvalid when the chains cannot be asked about: no chain, no namespace, more keys than a chain may have.
[[nodiscard]] Result<void> check_chains(std::span<const Chain> chains);

}  // namespace reprise
