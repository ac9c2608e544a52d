#include "lease_keeper.h"

#include <utility>

namespace reprise::python {

std::size_t ViewedLease::size() const {
  const std::lock_guard lock(mutex_);
  return lease_.size();
}

Bytes ViewedLease::block(std::size_t i) const {
  const std::lock_guard lock(mutex_);
  return i < lease_.size() ? lease_.block(i) : Bytes();
}

bool ViewedLease::valid() const {
  const std::lock_guard lock(mutex_);
  return !released_ && lease_.still_valid();
}

bool ViewedLease::released() const {
  const std::lock_guard lock(mutex_);
  return released_;
}

Result<LeaseToken> ViewedLease::token() {
  const std::lock_guard lock(mutex_);
  if (released_) return fail(ErrorCode::kInvalid, "the lease was released");
  return lease_.token();
}

bool ViewedLease::renew(Duration span) {
  const std::lock_guard lock(mutex_);
  return !released_ && lease_.renew(span);
}

bool ViewedLease::truncate(std::size_t blocks) {
  const std::lock_guard lock(mutex_);
  return !released_ && lease_.truncate(blocks);
}

void ViewedLease::release() {
  Lease ending;  // Ends after the lock: it may have to tell a daemon.
  const std::lock_guard lock(mutex_);
  std::swap(ending, lease_);
  released_ = true;
}

LeaseKeeper::~LeaseKeeper() {
  std::jthread thread;  // Joined as it leaves, without the lock.
  const std::lock_guard lock(mutex_);
  std::swap(thread, thread_);
  thread.request_stop();
}

void LeaseKeeper::watch(const std::shared_ptr<ViewedLease>& lease) {
  if (ttl_ <= Duration::zero()) return;
  const std::lock_guard lock(mutex_);
  if (lease->watched_) return;
  lease->watched_ = true;
  leases_.push_back(lease);
  if (!thread_.joinable()) thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

std::vector<std::shared_ptr<ViewedLease>> LeaseKeeper::viewed() {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<ViewedLease>> out;
  std::erase_if(leases_, [&out](const std::weak_ptr<ViewedLease>& weak) {
    std::shared_ptr<ViewedLease> lease = weak.lock();
    if (lease == nullptr) return true;
    if (lease->views.load() == 0) {
      lease->watched_ = false;
      return true;
    }
    out.push_back(std::move(lease));
    return false;
  });
  return out;
}

void LeaseKeeper::run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    for (const auto& lease : viewed()) static_cast<void>(lease->renew(ttl_));  // A void one stays void.
    std::unique_lock lock(mutex_);
    wake_.wait_for(lock, stop, ttl_ / 3, [] { return false; });
  }
}

}  // namespace reprise::python
