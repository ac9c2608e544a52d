// Renews the leases of an embedded cache that somebody looks into, so that a view never goes stale under a live
// process. Attached caches do not need it: their client renews by itself.
//
// Never takes the GIL, so it goes on while Python computes. Thread-safe; its thread starts with the first lease.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <stop_token>
#include <thread>
#include <vector>

#include "reprise/lease.h"

namespace reprise::python {

/// A lease and how many views of it live. Thread-safe.
class ViewedLease {
 public:
  explicit ViewedLease(Lease lease) : lease_(std::move(lease)) {}

  [[nodiscard]] std::size_t size() const;
  /// Empty when released.
  [[nodiscard]] Bytes block(std::size_t i) const;
  [[nodiscard]] bool valid() const;
  [[nodiscard]] bool released() const;
  [[nodiscard]] Result<LeaseToken> token();
  [[nodiscard]] bool renew(Duration span);
  [[nodiscard]] bool truncate(std::size_t blocks);
  void release();

  std::atomic<std::size_t> views{0};

 private:
  friend class LeaseKeeper;
  mutable std::mutex mutex_;
  Lease lease_;            // guarded by mutex_
  bool released_ = false;  // guarded by mutex_
  bool watched_ = false;   // guarded by the keeper's mutex
};

class LeaseKeeper {
 public:
  /// `ttl` is the cache's lease.ttl; 0: nothing to do.
  explicit LeaseKeeper(Duration ttl) : ttl_(ttl) {}
  ~LeaseKeeper();
  LeaseKeeper(const LeaseKeeper&) = delete;
  LeaseKeeper& operator=(const LeaseKeeper&) = delete;

  /// Call it when the lease got its first view. It is forgotten when it has none.
  void watch(const std::shared_ptr<ViewedLease>& lease);

 private:
  void run(const std::stop_token& stop);
  std::vector<std::shared_ptr<ViewedLease>> viewed();

  const Duration ttl_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::vector<std::weak_ptr<ViewedLease>> leases_;  // guarded by mutex_
  std::jthread thread_;                             // guarded by mutex_
};

}  // namespace reprise::python
