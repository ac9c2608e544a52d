// Another process's cache as the L2 of this one: "unix:///path" and "tcp://host:port" as l2.url.
//
// Thread-safe. Owns its pool of connections, shared with its leases. Blocks are kept there under the namespace that an
// attached client with the same fields opens, tenant's salt included, so both find what the other stored; the engine
// tells what a namespace is made of (Store::introduce). Over the network every block is verified by its checksum on
// arrival, at both ends; over a Unix socket it is copied out of the daemon's memory, and what is copied is hashed.
// A server that is away costs a lookup and is found again by the pool's own thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <shared_mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "client/attached_cache.h"
#include "client/each.h"
#include "reprise/store.h"

namespace reprise {

class CacheStore final : public Store {
 public:
  /// `cache` attaches through `pool`; `shared`: over a Unix socket, whose sessions map the daemon's memory.
  CacheStore(std::string scheme, std::shared_ptr<LinkPool> pool, std::unique_ptr<AttachedCache> cache, bool shared);

  [[nodiscard]] const StoreInfo& info() const override { return info_; }
  /// Takes in the first few thousand; the blocks of others are declined.
  void introduce(const Namespace& ns) override;
  [[nodiscard]] Result<void> contains(std::span<const BlockId> ids, std::span<bool> present,
                                      Deadline deadline) override;
  void read(std::span<ReadOp> ops, Deadline deadline) override;
  /// What is there already is not sent.
  void write(std::span<WriteOp> ops, Deadline deadline) override;
  [[nodiscard]] Result<std::size_t> erase(std::span<const BlockId> ids, Deadline deadline) override;
  /// Blocks outlive this process from the moment they are written: says whether the server is there. What it has yet to
  /// write behind its own memory is not waited for.
  [[nodiscard]] Result<void> flush(Deadline deadline) override;
  /// Capacity, what is used of it, and evictions are the server's memory for this tenant, as last told; the rest is
  /// what this process did.
  [[nodiscard]] TierStats stats() const override;

 private:
  /// Blocks of one namespace that go in one request.
  struct Batch {
    std::shared_ptr<const Namespace> ns;
    std::vector<BlockKey> keys;
    std::vector<std::size_t> at;  // where they are in the call

    [[nodiscard]] Chain chain() const;
  };

  [[nodiscard]] std::shared_ptr<const Namespace> find(const NamespaceId& id) const;
  template <typename Items, typename Id>
  [[nodiscard]] std::vector<Batch> batches_of(const Items& items, const Id& id_of) const;
  void read_batch(const Batch& batch, std::span<ReadOp> ops, Deadline deadline);
  void write_batch(const Batch& batch, std::span<WriteOp> ops, Deadline deadline);
  [[nodiscard]] Batch not_there(const Batch& batch, std::span<WriteOp> ops, Deadline deadline);
  void put(const Batch& batch, std::span<WriteOp> ops, Deadline deadline);
  /// Counts a call that got no answer.
  Reason failed(Reason reason);

  const StoreInfo info_;
  const bool shared_;
  const std::shared_ptr<LinkPool> pool_;  // shared with the cache and with leases
  const std::unique_ptr<AttachedCache> cache_;

  mutable std::shared_mutex mutex_;  // guards namespaces_
  // Shared with calls that use one.
  std::unordered_map<NamespaceId, std::shared_ptr<const Namespace>> namespaces_;

  struct Counters {
    std::atomic<std::uint64_t> hits{0};
    std::atomic<std::uint64_t> read_bytes{0};
    std::atomic<std::uint64_t> writes{0};
    std::atomic<std::uint64_t> write_bytes{0};
    std::atomic<std::uint64_t> corrupt{0};
    std::atomic<std::uint64_t> foreign{0};
    std::atomic<std::uint64_t> errors{0};
  };
  Counters counters_;
};

}  // namespace reprise
