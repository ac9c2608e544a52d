// The right to read blocks in place, and the right to fill them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "reprise/block.h"
#include "reprise/deadline.h"
#include "reprise/status.h"

namespace reprise {

/// Unguessable name of a lease, with which another session of the same tenant attaches to it.
using LeaseToken = Id128<struct LeaseTokenTag>;

/// Read access to blocks where they lie. Move-only; destroying it releases it. One thread at a time.
///
/// Blocks under a live lease are neither evicted nor overwritten. A lease that ran out is void: the bytes may have
/// been replaced while they were read, so after the last read, and before using what was read, ask `still_valid()`.
class Lease {
 public:
  /// What a cache implements behind a lease.
  class Body {
   public:
    virtual ~Body() = default;  ///< Releases.
    [[nodiscard]] virtual std::size_t size() const = 0;
    [[nodiscard]] virtual Bytes block(std::size_t i) const = 0;
    [[nodiscard]] virtual bool still_valid() const = 0;
    [[nodiscard]] virtual Result<LeaseToken> token() = 0;
    [[nodiscard]] virtual bool renew(Duration span) = 0;
    /// REQUIRES: blocks < size().
    [[nodiscard]] virtual bool truncate(std::size_t /*blocks*/) { return false; }
  };

  Lease() = default;
  explicit Lease(std::unique_ptr<Body> body) : body_(std::move(body)) {}

  /// Blocks held: for one chain, the needed blocks of the answered run in order (`needed_blocks`); for several, those
  /// of the first chain, then those of the second, and so on.
  [[nodiscard]] std::size_t size() const { return body_ ? body_->size() : 0; }
  [[nodiscard]] bool empty() const { return size() == 0; }
  /// The bytes of block i, valid while the lease is. REQUIRES: i < size().
  [[nodiscard]] Bytes block(std::size_t i) const { return body_->block(i); }
  /// True if no byte read so far can have been replaced. An empty lease is valid.
  [[nodiscard]] bool still_valid() const { return !body_ || body_->still_valid(); }
  /// A token for `Cache::attach`. The lease then ends when all holders have released, died or expired.
  [[nodiscard]] Result<LeaseToken> token() {
    return body_ ? body_->token() : fail(ErrorCode::kInvalid, "an empty lease has no token");
  }
  /// Moves the expiry to `span` from now. False if the lease was void already.
  [[nodiscard]] bool renew(Duration span) { return !body_ || body_->renew(span); }
  /// Gives back the blocks from index `blocks` on. False, and nothing changes, where the lease has other holders or ran
  /// out, and in attached caches: it then holds them until it ends.
  [[nodiscard]] bool truncate(std::size_t blocks) { return blocks >= size() || body_->truncate(blocks); }
  void release() { body_.reset(); }

 private:
  friend class LeaseBook;  // looks into bodies it made itself
  std::unique_ptr<Body> body_;
};

/// Write access to blocks that are not visible yet. Fill the accepted ones, then commit; destroying it without
/// committing gives the memory back. Move-only, one thread at a time.
class Reservation {
 public:
  class Body {
   public:
    virtual ~Body() = default;  ///< Abandons what was not committed.
    [[nodiscard]] virtual std::size_t size() const = 0;
    [[nodiscard]] virtual MutableBytes block(std::size_t i) = 0;
    [[nodiscard]] virtual std::size_t commit(std::size_t count) = 0;
  };

  Reservation() = default;
  explicit Reservation(std::unique_ptr<Body> body) : body_(std::move(body)) {}

  [[nodiscard]] std::size_t size() const { return body_ ? body_->size() : 0; }
  /// Memory of block i to fill, `block_bytes` long; empty where the block was declined or is already present.
  [[nodiscard]] MutableBytes block(std::size_t i) { return body_->block(i); }
  /// Makes the blocks [0, count) visible; returns how many of them are now present. Ends the reservation.
  std::size_t commit(std::size_t count) {
    const std::size_t present = body_ ? body_->commit(count) : 0;
    body_.reset();
    return present;
  }

 private:
  friend class Engine;  // looks into bodies it made itself
  std::unique_ptr<Body> body_;
};

}  // namespace reprise
