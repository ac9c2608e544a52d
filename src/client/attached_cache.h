// What caches over a Unix socket and over the network have in common: the calls that carry no blocks.
//
// Thread-safe. Shares the pool with its leases and reservations. An answer that makes no sense ends its connection and
// is no answer: the caller sees kUnavailable.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "client/link_pool.h"
#include "reprise/cache.h"

namespace reprise {

class AttachedCache : public Cache {
 public:
  using Cache::acquire;
  using Cache::erase;
  using Cache::get;
  using Cache::match;
  using Cache::prefetch;
  using Cache::put;
  [[nodiscard]] Result<Match> match(std::span<const Chain> chains, Deadline deadline) override;
  [[nodiscard]] Result<Match> prefetch(std::span<const Chain> chains, Deadline deadline) override;
  [[nodiscard]] Result<std::size_t> erase(std::span<const Chain> chains, Deadline deadline) override;
  [[nodiscard]] Result<bool> flush(Deadline deadline) override;
  /// The tenant's counters, as the server last told them.
  [[nodiscard]] CacheStats stats() const override;
  [[nodiscard]] CacheStats stats_by(Deadline deadline) const;

  [[nodiscard]] const LinkPool& pool() const { return *pool_; }

 protected:
  explicit AttachedCache(std::shared_ptr<LinkPool> pool) : pool_(std::move(pool)) {}

  [[nodiscard]] Result<Match> ask_match(wire::Type type, std::span<const Chain> chains, Deadline deadline);

  const std::shared_ptr<LinkPool> pool_;  // shared with leases and reservations

 private:
  mutable std::mutex mutex_;
  mutable CacheStats last_stats_;  // guarded by mutex_
};

/// How long a call waits, and how it waits for an answer.
[[nodiscard]] Patience patience_until(Deadline deadline);

/// What a request that failed means to the caller: the server's own word is an error, a link that ended is a reason.
[[nodiscard]] Result<Reason> meaning_of(ClientSession& session, const Error& error);
/// An answer that contradicts what was asked: the link ends.
[[nodiscard]] Reason nonsense(ClientSession& session, const char* what);

/// Makes the chains' namespaces known to the server, once per session.
[[nodiscard]] Result<void> open_namespaces(ClientSession& session, std::span<const Chain> chains, Patience patience);
/// Chains for a body. REQUIRES: open_namespaces for them; the session's builder is at its beginning.
[[nodiscard]] std::vector<flatbuffers::Offset<wire::Chain>> chains_to_wire(ClientSession& session,
                                                                           std::span<const Chain> chains);
/// Sends chains as the body of `type`, and waits for the answer. `each`: about the blocks of one, each by itself.
template <typename T>
[[nodiscard]] Result<const T*> ask_about(ClientSession& session, wire::Type type, std::span<const Chain> chains,
                                         Patience patience, bool each = false) {
  if (auto ok = open_namespaces(session, chains, patience); !ok) return std::unexpected(ok.error());
  session.builder.Clear();
  const auto wired = chains_to_wire(session, chains);
  session.builder.Finish(wire::CreateChains(session.builder, session.builder.CreateVector(wired), each));
  return session.link->ask<T>(type, wire::body_of(session.builder), patience);
}

}  // namespace reprise
