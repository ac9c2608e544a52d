#include "server/session.h"

#include <algorithm>
#include <string>
#include <utility>

namespace reprise {

Result<Session::Opened> Session::open_namespace(NamespaceSpec spec) {
  auto opened = tenant_->open_namespace(std::move(spec));
  if (!opened) return std::unexpected(opened.error());
  const std::lock_guard lock(mutex_);
  // Opening one again is no reason to run out of handles.
  const auto known = std::ranges::find(namespaces_, (*opened)->id(), [](const auto& ns) { return ns->id(); });
  if (known == namespaces_.end() && namespaces_.size() == kMaxNamespaces) {
    return fail(ErrorCode::kInvalid, "a session opens at most " + std::to_string(kMaxNamespaces) + " namespaces");
  }
  const auto handle = static_cast<std::uint32_t>(known - namespaces_.begin());
  const NamespaceId id = (*opened)->id();
  if (known == namespaces_.end()) namespaces_.push_back(std::move(*opened));
  return Opened{handle, id};
}

std::shared_ptr<const Namespace> Session::find_namespace(std::uint32_t handle) const {
  const std::lock_guard lock(mutex_);
  return handle < namespaces_.size() ? namespaces_[handle] : nullptr;
}

std::optional<std::uint64_t> Session::keep(Lease lease) {
  // What is not kept is given back after the lock is: releasing takes the lease book's.
  const std::lock_guard lock(mutex_);
  if (ending_ || leases_.size() == kMaxLeases) return std::nullopt;
  const std::uint64_t id = next_++;
  leases_.emplace(id, std::move(lease));
  return id;
}

bool Session::release(std::uint64_t lease) {
  Lease released;
  const std::lock_guard lock(mutex_);
  const auto found = leases_.find(lease);
  if (found == leases_.end()) return false;
  released = std::move(found->second);
  leases_.erase(found);
  return true;
}

bool Session::renew(std::uint64_t lease, Duration span) {
  const std::lock_guard lock(mutex_);
  const auto found = leases_.find(lease);
  return found != leases_.end() && found->second.renew(span);
}

std::optional<std::uint64_t> Session::keep(Reservation reservation, std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  if (ending_ || reservations_.size() == kMaxReservations) return std::nullopt;
  const std::uint64_t id = next_++;
  reservations_.emplace(id, Held{std::move(reservation), bytes});
  reserved_bytes_ += bytes;
  tenant_->reserved_bytes.fetch_add(bytes, std::memory_order_relaxed);
  return id;
}

std::optional<Reservation> Session::take_reservation(std::uint64_t reservation) {
  const std::lock_guard lock(mutex_);
  const auto found = reservations_.find(reservation);
  if (found == reservations_.end()) return std::nullopt;
  Held held = std::move(found->second);
  reservations_.erase(found);
  reserved_bytes_ -= held.bytes;
  tenant_->reserved_bytes.fetch_sub(held.bytes, std::memory_order_relaxed);
  return std::move(held.reservation);
}

Session::Holdings Session::holdings() const {
  const std::lock_guard lock(mutex_);
  return {leases_.size(), reservations_.size(), reserved_bytes_};
}

bool Session::holds(const std::byte* block) const {
  const std::lock_guard lock(mutex_);
  return std::ranges::any_of(leases_, [block](const auto& held) {
    for (std::size_t i = 0; i < held.second.size(); ++i) {
      if (held.second.block(i).data() == block) return held.second.still_valid();
    }
    return false;
  });
}

void Session::keep_nothing_more() {
  std::unordered_map<std::uint64_t, Lease> leases;
  const std::lock_guard lock(mutex_);
  ending_ = true;
  leases.swap(leases_);
}

void Session::end() {
  keep_nothing_more();
  std::unordered_map<std::uint64_t, Held> reservations;
  const std::lock_guard lock(mutex_);
  reservations.swap(reservations_);
  tenant_->reserved_bytes.fetch_sub(std::exchange(reserved_bytes_, 0), std::memory_order_relaxed);
}

}  // namespace reprise
