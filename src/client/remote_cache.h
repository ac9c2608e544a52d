// The cache of a server over the network ("tcp://host:port", with or without TLS): blocks travel as payload.
//
// Thread-safe. What is received goes straight into the caller's buffers, by the calling thread, and is verified while
// it arrives (remote_get.h). There is no memory to share: acquire reads into memory that its lease owns, reserve hands
// out memory that commit sends (remote_put.h), and there is no lease that others could attach to.
#pragma once

#include <memory>
#include <span>

#include "client/attached_cache.h"
#include "client/remote_put.h"

namespace reprise {

class RemoteCache final : public AttachedCache {
 public:
  explicit RemoteCache(std::shared_ptr<LinkPool> pool)
      : AttachedCache(std::move(pool)), put_(std::make_shared<RemotePut>()) {}

  using AttachedCache::acquire;
  using AttachedCache::get;
  using AttachedCache::put;
  [[nodiscard]] Result<Acquired> acquire(std::span<const Chain> chains, Deadline deadline) override;
  [[nodiscard]] Result<Match> get(std::span<const Chain> chains, std::size_t from, std::span<const MutableBytes> out,
                                  Deadline deadline) override;
  [[nodiscard]] Result<Stored> put(std::span<const Chain> chains, std::size_t from, std::span<const Bytes> blocks,
                                   Deadline deadline) override;
  [[nodiscard]] Result<Reservation> reserve(const Chain& chain, std::size_t from, Deadline deadline) override;
  /// kDenied: there is nothing to attach to over the network.
  [[nodiscard]] Result<Lease> attach(const LeaseToken& token) override;

 private:
  const std::shared_ptr<RemotePut> put_;  // shared with reservations, which may outlive the cache
};

}  // namespace reprise
