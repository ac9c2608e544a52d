// What one open connection holds of its tenant: namespaces, leases and reservations. They end with it.
//
// Thread-safe. A request that waits for L2 may outlast the connection: what it brings after `end` is given back at
// once.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "reprise/lease.h"
#include "server/tenant.h"

namespace reprise {

class Session {
 public:
  static constexpr std::size_t kMaxNamespaces = 4096;
  static constexpr std::size_t kMaxLeases = 4096;
  static constexpr std::size_t kMaxReservations = 1024;

  Session(std::uint64_t id, std::shared_ptr<Tenant> tenant, bool shared_memory)
      : id_(id), tenant_(std::move(tenant)), shared_memory_(shared_memory) {}
  ~Session() { end(); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  [[nodiscard]] std::uint64_t id() const { return id_; }
  [[nodiscard]] Tenant& tenant() const { return *tenant_; }
  [[nodiscard]] Engine& engine() const { return tenant_->engine(); }
  [[nodiscard]] bool shared_memory() const { return shared_memory_; }

  struct Opened {
    std::uint32_t handle = 0;
    NamespaceId id;
  };
  /// kInvalid when the fields are no namespace, or the session has opened too many.
  [[nodiscard]] Result<Opened> open_namespace(NamespaceSpec spec);
  /// nullptr for a handle that was not given out.
  [[nodiscard]] std::shared_ptr<const Namespace> find_namespace(std::uint32_t handle) const;

  /// Keeps a lease until release; nullopt, with the lease given back, when the session holds too many or has ended.
  [[nodiscard]] std::optional<std::uint64_t> keep(Lease lease);
  bool release(std::uint64_t lease);
  bool renew(std::uint64_t lease, Duration span);

  /// As for leases. `bytes`: what may be written of it.
  [[nodiscard]] std::optional<std::uint64_t> keep(Reservation reservation, std::uint64_t bytes);
  [[nodiscard]] std::optional<Reservation> take_reservation(std::uint64_t reservation);

  struct Holdings {
    std::uint64_t leases = 0;
    std::uint64_t reservations = 0;
    std::uint64_t reserved_bytes = 0;
  };
  [[nodiscard]] Holdings holdings() const;
  /// Whether one of its leases holds the block.
  [[nodiscard]] bool holds(const std::byte* block) const;

  /// Gives every lease back, and refuses to keep anything from now on. Reserved memory stays reserved: the peer may
  /// still write to it.
  void keep_nothing_more();
  /// Gives everything back, now and later. REQUIRES: the peer cannot write any more.
  void end();

 private:
  struct Held {
    Reservation reservation;
    std::uint64_t bytes = 0;
  };

  const std::uint64_t id_;
  const std::shared_ptr<Tenant> tenant_;  // shared with the server's table of tenants
  const bool shared_memory_;

  mutable std::mutex mutex_;  // guards the rest
  bool ending_ = false;
  std::uint64_t next_ = 1;
  std::vector<std::shared_ptr<const Namespace>> namespaces_;  // by handle; shared with requests that still wait
  std::unordered_map<std::uint64_t, Lease> leases_;
  std::unordered_map<std::uint64_t, Held> reservations_;
  std::uint64_t reserved_bytes_ = 0;
};

}  // namespace reprise
