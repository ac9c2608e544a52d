// Caches for tests of what sits on top of `Cache`: one that passes everything on, and forms of it that misbehave. As
// thread-safe as the cache inside.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "reprise/cache.h"

namespace reprise::testing {

/// Passes everything on to a cache that outlives it: what several openings of one server share.
class SharedCache : public Cache {
 public:
  explicit SharedCache(std::shared_ptr<Cache> inner) : inner_(std::move(inner)) {}

  using Cache::acquire;
  using Cache::erase;
  using Cache::get;
  using Cache::match;
  using Cache::prefetch;
  using Cache::put;
  [[nodiscard]] Result<Match> match(std::span<const Chain> chains, Deadline deadline) override {
    return inner_->match(chains, deadline);
  }
  [[nodiscard]] Result<Acquired> acquire(std::span<const Chain> chains, Deadline deadline) override {
    return inner_->acquire(chains, deadline);
  }
  [[nodiscard]] Result<Match> get(std::span<const Chain> chains, std::size_t from, std::span<const MutableBytes> out,
                                  Deadline deadline) override {
    return inner_->get(chains, from, out, deadline);
  }
  [[nodiscard]] Result<Stored> put(std::span<const Chain> chains, std::size_t from, std::span<const Bytes> blocks,
                                   Deadline deadline) override {
    return inner_->put(chains, from, blocks, deadline);
  }
  [[nodiscard]] Result<Reservation> reserve(const Chain& chain, std::size_t from, Deadline deadline) override {
    return inner_->reserve(chain, from, deadline);
  }
  [[nodiscard]] Result<Match> prefetch(std::span<const Chain> chains, Deadline deadline) override {
    return inner_->prefetch(chains, deadline);
  }
  [[nodiscard]] Result<std::size_t> erase(std::span<const Chain> chains, Deadline deadline) override {
    return inner_->erase(chains, deadline);
  }
  [[nodiscard]] Result<Lease> attach(const LeaseToken& token) override { return inner_->attach(token); }
  [[nodiscard]] Result<bool> flush(Deadline deadline) override { return inner_->flush(deadline); }
  [[nodiscard]] CacheStats stats() const override { return inner_->stats(); }

 private:
  const std::shared_ptr<Cache> inner_;
};

/// Damages one byte of the n-th block that `get` answers, from 1.
class FlippingCache final : public SharedCache {
 public:
  FlippingCache(std::shared_ptr<Cache> inner, std::uint64_t n) : SharedCache(std::move(inner)), left_(n) {}
  using Cache::get;
  [[nodiscard]] Result<Match> get(std::span<const Chain> chains, std::size_t from, std::span<const MutableBytes> out,
                                  Deadline deadline) override {
    auto found = SharedCache::get(chains, from, out, deadline);
    for (std::size_t i = 0; found && i < found->blocks; ++i) {
      if (left_ > 0 && --left_ == 0) out[i][out[i].size() / 2] ^= std::byte{1};
    }
    return found;
  }

 private:
  std::uint64_t left_;
};

/// Forgets nothing when told to: the blocks are leased by somebody.
class ClingingCache final : public SharedCache {
 public:
  using Cache::erase;
  using SharedCache::SharedCache;
  [[nodiscard]] Result<std::size_t> erase(std::span<const Chain> /*chains*/, Deadline /*deadline*/) override {
    return std::size_t{0};
  }
};

/// Calls `look` before each answer of stats().
class WatchedCache final : public SharedCache {
 public:
  WatchedCache(std::shared_ptr<Cache> inner, std::function<void()> look)
      : SharedCache(std::move(inner)), look_(std::move(look)) {}
  [[nodiscard]] CacheStats stats() const override {
    look_();
    return SharedCache::stats();
  }

 private:
  const std::function<void()> look_;
};

/// A cache attached to a server that never answered.
class AwayCache final : public Cache {
 public:
  [[nodiscard]] Result<Match> match(std::span<const Chain> /*chains*/, Deadline /*deadline*/) override {
    return away();
  }
  [[nodiscard]] Result<Acquired> acquire(std::span<const Chain> /*chains*/, Deadline /*deadline*/) override {
    return Acquired{away(), {}};
  }
  [[nodiscard]] Result<Match> get(std::span<const Chain> /*chains*/, std::size_t /*from*/,
                                  std::span<const MutableBytes> /*out*/, Deadline /*deadline*/) override {
    return away();
  }
  [[nodiscard]] Result<Stored> put(std::span<const Chain> /*chains*/, std::size_t /*from*/,
                                   std::span<const Bytes> blocks, Deadline /*deadline*/) override {
    Stored out;
    out.declined = blocks.size();
    out.declined_blocks.assign(blocks.size(), true);
    out.reason = Reason::kUnavailable;
    return out;
  }
  [[nodiscard]] Result<Reservation> reserve(const Chain& /*chain*/, std::size_t /*from*/, Deadline /*d*/) override {
    return Reservation();
  }
  [[nodiscard]] Result<Match> prefetch(std::span<const Chain> /*chains*/, Deadline /*deadline*/) override {
    return away();
  }
  [[nodiscard]] Result<std::size_t> erase(std::span<const Chain> /*chains*/, Deadline /*deadline*/) override {
    return std::size_t{0};
  }
  [[nodiscard]] Result<Lease> attach(const LeaseToken& /*token*/) override {
    return fail(ErrorCode::kDenied, "unknown lease token");
  }
  [[nodiscard]] Result<bool> flush(Deadline /*deadline*/) override { return false; }
  [[nodiscard]] CacheStats stats() const override { return {}; }

 private:
  static Match away() { return {.reason = Reason::kUnavailable}; }
};

}  // namespace reprise::testing
