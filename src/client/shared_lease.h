// Leases and reservations in a daemon's memory: what SharedCache hands out.
//
// One thread at a time, like what they stand behind. They share the pool, their session with its socket, and the
// mapping: a daemon takes the closed socket for the promise that nobody writes to reserved memory any more.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "client/link_pool.h"
#include "reprise/lease.h"

namespace reprise {

/// What makes a lease, checked against the mapping.
struct LeaseParts {
  std::uint64_t id = 0;
  std::uint64_t generation = 0;
  LeaseToken token;
  const std::atomic<std::uint64_t>* word = nullptr;
  std::chrono::milliseconds spent{0};  ///< Of its time, when the answer was made.
  std::vector<Bytes> blocks;
};
/// nullopt when the answer names memory, a word or a generation that cannot be, or other numbers of blocks than
/// `lengths` (the bytes of each); without `lengths`, any.
[[nodiscard]] std::optional<LeaseParts> lease_parts_of(const wire::Leased& message, const ClientSession& session,
                                                       std::optional<std::span<const std::uint64_t>> lengths);

class SharedLease final : public Lease::Body {
 public:
  /// `asked`: when the request for it was sent, or earlier.
  SharedLease(std::shared_ptr<LinkPool> pool, std::shared_ptr<ClientSession> session, LeaseParts parts,
              TimePoint asked);
  ~SharedLease() override;

  [[nodiscard]] std::size_t size() const override { return parts_.blocks.size(); }
  [[nodiscard]] Bytes block(std::size_t i) const override { return parts_.blocks[i]; }
  [[nodiscard]] bool still_valid() const override;
  [[nodiscard]] Result<LeaseToken> token() override { return parts_.token; }
  /// From then on its expiry is the caller's affair.
  [[nodiscard]] bool renew(Duration span) override;

 private:
  const std::shared_ptr<LinkPool> pool_;          // shared: leases outlive their cache
  const std::shared_ptr<ClientSession> session_;  // shared: the lease ends with its session
  const std::shared_ptr<SharedMapping> mapping_;
  LeaseParts parts_;
  LeaseNode node_;
};

class SharedReservation final : public Reservation::Body {
 public:
  struct Place {
    MutableBytes memory;            ///< Empty: not to be filled.
    Reason reason = Reason::kNone;  ///< Why not; kNone: present.
  };
  /// `id` 0: there is nothing to fill, and nothing to give back.
  SharedReservation(std::shared_ptr<LinkPool> pool, std::shared_ptr<ClientSession> session, std::uint64_t id,
                    std::vector<Place> places);
  ~SharedReservation() override;

  [[nodiscard]] std::size_t size() const override { return places_.size(); }
  [[nodiscard]] MutableBytes block(std::size_t i) override { return places_[i].memory; }
  [[nodiscard]] std::size_t commit(std::size_t count) override;

  [[nodiscard]] const Place& place(std::size_t i) const { return places_[i]; }
  /// As commit, with a deadline of its own; why it did not happen.
  [[nodiscard]] std::expected<std::size_t, Reason> commit_by(std::size_t count, Deadline deadline);

 private:
  const std::shared_ptr<LinkPool> pool_;  // shared, as with leases
  const std::shared_ptr<ClientSession>
      session_;  // its socket stays open as long as somebody may write; null without id
  std::uint64_t id_;
  std::vector<Place> places_;
};
/// nullopt when the answer is not one about `count` blocks of `block_bytes`, or names memory that cannot be.
[[nodiscard]] std::optional<std::vector<SharedReservation::Place>> places_of(const wire::Reserved& message,
                                                                             const ClientSession& session,
                                                                             std::size_t count,
                                                                             std::uint64_t block_bytes);

}  // namespace reprise
