#include "server/tenant.h"

#include <utility>

namespace reprise {

Result<std::shared_ptr<const Namespace>> Tenant::open_namespace(NamespaceSpec spec) {
  // With its length in front, no two pairs of salts make one text.
  if (!salt_.empty() && spec.salt) {
    spec.salt = "tenant " + std::to_string(salt_.size()) + ":" + salt_ + *spec.salt;
  }
  auto made = Namespace::create(std::move(spec));
  if (!made) return std::unexpected(made.error());
  const std::lock_guard lock(mutex_);
  if (const auto found = namespaces_.find(made->id()); found != namespaces_.end()) return found->second;
  auto shared = std::make_shared<const Namespace>(std::move(*made));
  if (namespaces_.size() < kMaxRemembered) namespaces_.emplace(shared->id(), shared);
  return shared;
}

std::vector<std::shared_ptr<const Namespace>> Tenant::namespaces() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<const Namespace>> all;
  all.reserve(namespaces_.size());
  for (const auto& [id, each] : namespaces_) all.push_back(each);
  return all;
}

// Each operation takes a slot of 1/rate seconds; slots may be taken up to a second ahead of the clock's, which is the
// burst that is let through.
bool Tenant::admit(TimePoint now) {
  const std::uint64_t rate = rate_.load(std::memory_order_relaxed);
  if (rate == 0) return true;
  constexpr std::int64_t kSecond = 1'000'000'000;
  const std::int64_t at = std::chrono::duration_cast<std::chrono::nanoseconds>(now.time_since_epoch()).count();
  const std::int64_t slot = std::max<std::int64_t>(kSecond / static_cast<std::int64_t>(rate), 1);
  std::int64_t next = next_slot_.load(std::memory_order_relaxed);
  for (;;) {
    const std::int64_t start = std::max(next, at - kSecond);
    if (start + slot > at) {
      limited_.fetch_add(1, std::memory_order_relaxed);
      return false;
    }
    if (next_slot_.compare_exchange_weak(next, start + slot, std::memory_order_relaxed)) return true;
  }
}

}  // namespace reprise
