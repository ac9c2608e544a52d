// Lease and Reservation in Python, and the views of their memory.
//
// Views (views.h) are counted; whoever is viewed is not let go before the last view is gone. Everything here needs the
// GIL, unless it says otherwise.
#pragma once

#include <nanobind/nanobind.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "lease_keeper.h"
#include "reprise/cache.h"
#include "reprise/lease.h"
#include "views.h"

namespace reprise::python {

/// A cache, and what its leases need of it. Leases and views share it: memory stays mapped while anybody can see it.
struct SharedCache {
  SharedCache(std::unique_ptr<Cache> opened, Duration embedded_ttl)
      : cache(std::move(opened)), memory(cache->memory()), keeper(embedded_ttl) {}

  std::unique_ptr<Cache> cache;
  const CacheMemory memory;
  LeaseKeeper keeper;
  std::atomic<std::uint64_t> deferred_releases{0};
};

/// Drops the reference without the GIL: the last one closes the cache, which may wait for writes.
void drop(std::shared_ptr<SharedCache>& cache);

class PyLease final : public Viewed {
 public:
  PyLease(std::shared_ptr<SharedCache> cache, Lease lease, std::optional<Match> match)
      : cache_(std::move(cache)), lease_(std::make_shared<ViewedLease>(std::move(lease))), match_(match) {}
  ~PyLease() override;

  [[nodiscard]] ViewedLease& lease() const { return *lease_; }
  [[nodiscard]] const SharedCache& cache() const { return *cache_; }
  [[nodiscard]] const std::optional<Match>& match() const { return match_; }
  /// BufferError with live views, as release: whose blocks they see cannot be told.
  [[nodiscard]] bool truncate(std::size_t blocks);
  /// BufferError with live views.
  void release();
  /// The end of a `with`: with live views, the last one releases.
  void leave();

  [[nodiscard]] bool viewable() const override { return !lease_->released(); }
  void view_opened() override;
  void view_closed() override;

 private:
  void let_go();

  std::shared_ptr<SharedCache> cache_;
  std::shared_ptr<ViewedLease> lease_;  // shared with the keeper, which holds it while renewing
  std::optional<Match> match_;
  bool deferred_ = false;
};

class PyReservation final : public Viewed {
 public:
  PyReservation(std::shared_ptr<SharedCache> cache, Reservation reservation)
      : cache_(std::move(cache)), reservation_(std::move(reservation)), size_(reservation_.size()) {}
  ~PyReservation() override;

  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] const SharedCache& cache() const { return *cache_; }
  [[nodiscard]] MutableBytes block(std::size_t i) { return reservation_.block(i); }
  [[nodiscard]] bool ended() const { return ended_; }
  /// BufferError with live views; InvalidError when it ended before.
  [[nodiscard]] std::size_t commit(std::optional<std::size_t> count);
  void abandon();
  void leave();

  [[nodiscard]] bool viewable() const override { return !ended_; }
  void view_opened() override { ++views_; }
  void view_closed() override;

 private:
  void let_go();

  std::shared_ptr<SharedCache> cache_;
  Reservation reservation_;
  std::size_t size_;
  std::size_t views_ = 0;
  bool ended_ = false;
  bool deferred_ = false;
};

void bind_leases(nanobind::module_& m);

}  // namespace reprise::python
