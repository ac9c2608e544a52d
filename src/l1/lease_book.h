// The live leases of one cache: who holds which blocks, until when, and under which token.
//
// A lease is a record with one or more holders. It ends when the last holder releases it, or when it is not renewed in
// time: then it is void, its blocks are given back, and holders find out through still_valid(). Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>
#include <utility>

#include "base/clock.h"
#include "l1/lease_words.h"
#include "l1/pins.h"
#include "reprise/lease.h"

namespace reprise {

/// What a lease is made of, for whoever passes it on to another process. Valid as long as the lease object.
struct LeaseInside {
  std::span<const PinnedBlock> blocks;
  std::uint32_t word = 0;        ///< Index into the lease words; 0, like the generation, without them.
  std::uint64_t generation = 0;  ///< Never 0 with lease words.
  TimePoint expires;             ///< As of this call: it may be renewed.
};

class LeaseBook : public std::enable_shared_from_this<LeaseBook> {
 public:
  /// `clock` outlives the book and all leases. With `words`, shared with whoever hands them to other processes, every
  /// lease has one, which ends before any of its blocks is given back.
  LeaseBook(const Clock& clock, Duration ttl, std::shared_ptr<LeaseWords> words = nullptr)
      : clock_(clock), ttl_(ttl), words_(std::move(words)) {}

  /// A lease over the pinned blocks, for the book's time to live. Empty if there is no block, or no word left.
  [[nodiscard]] Lease open(Pins pins);
  /// One more holder. Fails with kDenied for a token that is unknown or whose lease has ended.
  [[nodiscard]] Result<Lease> attach(const LeaseToken& token);
  /// Ends the leases that ran out; returns how many. Cheap when none did.
  std::size_t expire_due();

  /// Of a lease that this book opened; holders of one lease see the same.
  [[nodiscard]] static LeaseInside inside(const Lease& lease);
  /// Holds the blocks of such a lease once more, on their own; nothing if it has ended.
  [[nodiscard]] Pins hold_again(const Lease& lease);

  [[nodiscard]] std::uint64_t live() const { return live_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t live_blocks() const { return live_blocks_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t expired() const { return expired_.load(std::memory_order_relaxed); }

 private:
  struct Record;
  class Holder;

  void leave(Record& record);
  bool truncate(Record& record, std::size_t blocks);
  void end(Record& record);                            // under mutex_
  void set_expiry(Record& record, TimePoint expires);  // under mutex_
  Result<LeaseToken> token_of(const std::shared_ptr<Record>& record);

  const Clock& clock_;
  const Duration ttl_;
  const std::shared_ptr<LeaseWords> words_;  // null in a process that shares nothing
  std::mutex mutex_;
  Record* oldest_ = nullptr;  // guarded by mutex_, as are the links: live leases in order of opening
  Record* newest_ = nullptr;
  std::unordered_map<LeaseToken, std::weak_ptr<Record>> tokens_;  // guarded by mutex_
  std::atomic<TimePoint> next_expiry_{TimePoint::max()};          // no lease runs out before
  std::atomic<std::uint64_t> live_{0};
  std::atomic<std::uint64_t> live_blocks_{0};
  std::atomic<std::uint64_t> expired_{0};
};

}  // namespace reprise
