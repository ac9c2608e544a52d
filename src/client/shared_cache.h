// The cache of a daemon on this host ("unix:///path"): blocks are read, and written, where they lie in its memory.
//
// Thread-safe. A lease or a reservation is tied to the session that made it and keeps socket, mapping and pool alive.
// See shared_mapping.h for the memory, link_pool.h for the connections, attached_cache.h for the other calls.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "client/attached_cache.h"

namespace reprise {

class SharedReservation;

class SharedCache final : public AttachedCache {
 public:
  explicit SharedCache(std::shared_ptr<LinkPool> pool) : AttachedCache(std::move(pool)) {}

  using AttachedCache::acquire;
  using AttachedCache::get;
  using AttachedCache::put;
  [[nodiscard]] Result<Acquired> acquire(std::span<const Chain> chains, Deadline deadline) override;
  [[nodiscard]] Result<Match> get(std::span<const Chain> chains, std::size_t from, std::span<const MutableBytes> out,
                                  Deadline deadline) override;
  [[nodiscard]] Result<Stored> put(std::span<const Chain> chains, std::size_t from, std::span<const Bytes> blocks,
                                   Deadline deadline) override;
  [[nodiscard]] Result<Reservation> reserve(const Chain& chain, std::size_t from, Deadline deadline) override;
  [[nodiscard]] Result<Lease> attach(const LeaseToken& token) override;

 private:
  /// REQUIRES: from <= chain.size(). Every block declined, with the reason, where there is no memory to be had.
  [[nodiscard]] Result<std::unique_ptr<SharedReservation>> ask_for_memory(const Chain& chain, std::size_t from,
                                                                          Deadline deadline);
  [[nodiscard]] Result<void> put_chain(const Chain& chain, std::size_t from, std::span<const Bytes> blocks,
                                       Deadline deadline, Stored& stored);
};

}  // namespace reprise
