// One tenant of a server: an engine with memory of its own, the namespaces opened in it, and its limits.
//
// The tenant is the trust boundary: sessions of one tenant never see another's memory, blocks or leases. Thread-safe;
// lives as long as the server.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/engine.h"
#include "reprise/keys.h"
#include "server/auth_file.h"

namespace reprise {

class Tenant {
 public:
  /// `spec.tokens` are not looked at.
  Tenant(const TenantSpec& spec, std::unique_ptr<Engine> engine)
      : name_(spec.name),
        salt_(spec.salt),
        capacity_(spec.capacity),
        l2_url_(spec.l2_url),
        engine_(std::move(engine)),
        rate_(spec.operations_per_second) {}

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] Engine& engine() { return *engine_; }

  /// The namespace under the tenant's salt; the same object for the same fields.
  [[nodiscard]] Result<std::shared_ptr<const Namespace>> open_namespace(NamespaceSpec spec);
  /// Those opened since the server started, up to a bound.
  [[nodiscard]] std::vector<std::shared_ptr<const Namespace>> namespaces() const;

  /// Whether what cannot change while it lives is as `spec` says.
  [[nodiscard]] bool is_built_as(const TenantSpec& spec) const {
    return salt_ == spec.salt && capacity_ == spec.capacity && l2_url_ == spec.l2_url;
  }
  /// Takes one operation out of the rate's budget; false when none is left for now.
  [[nodiscard]] bool admit(TimePoint now);
  void set_rate(std::uint64_t operations_per_second) { rate_.store(operations_per_second, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t limited() const { return limited_.load(std::memory_order_relaxed); }

  std::atomic<std::uint64_t> reserved_bytes{0};  ///< Of reservations that sessions hold; they keep count.

 private:
  static constexpr std::size_t kMaxRemembered = 4096;

  const std::string name_;
  const std::string salt_;
  const std::uint64_t capacity_;
  const std::string l2_url_;
  const std::unique_ptr<Engine> engine_;
  std::atomic<std::uint64_t> rate_;
  std::atomic<std::uint64_t> limited_{0};
  std::atomic<std::int64_t> next_slot_{0};  // when the next operation may start, in ns of the steady clock

  mutable std::mutex mutex_;
  std::unordered_map<NamespaceId, std::shared_ptr<const Namespace>> namespaces_;  // guarded by mutex_
};

}  // namespace reprise
