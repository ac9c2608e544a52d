// The live leases of one cache: who holds which blocks, until when, and under which token.
//
// A lease is a record with one or more holders. It ends when the last holder releases it, or when it is not renewed in
// time: then it is void, its blocks are given back, and holders find out through still_valid(). Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "base/clock.h"
#include "l1/pins.h"
#include "reprise/lease.h"

namespace reprise {

class LeaseBook : public std::enable_shared_from_this<LeaseBook> {
 public:
  /// `clock` outlives the book and all leases.
  LeaseBook(const Clock& clock, Duration ttl) : clock_(clock), ttl_(ttl) {}

  /// A lease over the pinned blocks, for the book's time to live.
  [[nodiscard]] Lease open(Pins pins);
  /// One more holder. Fails with kDenied for a token that is unknown or whose lease has ended.
  [[nodiscard]] Result<Lease> attach(const LeaseToken& token);
  /// Ends the leases that ran out; returns how many. Cheap when none did.
  std::size_t expire_due();

  [[nodiscard]] std::uint64_t live() const { return live_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t live_blocks() const { return live_blocks_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t expired() const { return expired_.load(std::memory_order_relaxed); }

 private:
  struct Record;
  class Holder;

  void leave(Record& record);
  void end(Record& record);                            // under mutex_
  void set_expiry(Record& record, TimePoint expires);  // under mutex_
  Result<LeaseToken> token_of(const std::shared_ptr<Record>& record);

  const Clock& clock_;
  const Duration ttl_;
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
