// The one contract an engine sees, wherever the bytes live.
//
// All methods are thread-safe. Calls take one chain or several; several are answered with their common run. Whatever
// goes wrong below, an answer holds fewer blocks and says why: never wrong bytes, never later than the deadline.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "reprise/chain.h"
#include "reprise/deadline.h"
#include "reprise/eviction.h"
#include "reprise/lease.h"
#include "reprise/options.h"
#include "reprise/stats.h"
#include "reprise/status.h"
#include "reprise/store.h"

namespace reprise {

/// How far a chain (or the common run of several) is usable.
struct Match {
  std::size_t blocks = 0;         ///< Length n of the usable run, in blocks of each chain.
  std::size_t from_l1 = 0;        ///< Of the needed blocks of all chains: found in memory.
  std::size_t from_l2 = 0;        ///< Of the needed blocks of all chains: found, or loaded from, behind it.
  Reason reason = Reason::kNone;  ///< Why the run ends before the chain does.
};

struct Acquired {
  Match match;
  Lease lease;  ///< Over the needed blocks of `match.blocks`; empty if that is 0.
};

/// What became of offered blocks.
struct Stored {
  std::size_t accepted = 0;       ///< Newly stored in some tier.
  std::size_t present = 0;        ///< Already there, or being stored by another call; nothing was copied.
  std::size_t declined = 0;       ///< Not kept in any tier.
  Reason reason = Reason::kNone;  ///< Why the first declined block was.
  /// One entry per offered block, chain after chain: true where it was declined. Empty when nothing was.
  std::vector<bool> declined_blocks;
};

/// The range of addresses in which all blocks of a cache lie, and what keeps it mapped.
struct CacheMemory {
  MutableBytes bytes;                  ///< Empty: there is no such range.
  std::shared_ptr<const void> keeper;  ///< Mapped as long as this lives, which may be longer than the cache.
};

class Cache {
 public:
  virtual ~Cache() = default;

  /// How much would be found. Never moves data and never influences eviction.
  [[nodiscard]] virtual Result<Match> match(std::span<const Chain> chains, Deadline deadline) = 0;

  /// Leases the common run in place, bringing blocks up from L2 as the deadline allows.
  [[nodiscard]] virtual Result<Acquired> acquire(std::span<const Chain> chains, Deadline deadline) = 0;

  /// Copies blocks [from, from + k) of each chain into `out`, which holds k buffers per chain, chain after chain; each
  /// is block_bytes long. Blocks before `from` are not looked at. The answer counts from `from`: `blocks` of k.
  /// `out` is written only by the calling thread, before the call returns.
  [[nodiscard]] virtual Result<Match> get(std::span<const Chain> chains, std::size_t from,
                                          std::span<const MutableBytes> out, Deadline deadline) = 0;

  /// Offers blocks [from, from + k) of each chain; `blocks` holds k per chain, chain after chain. Copies what is
  /// accepted and returns; nothing waits for L2.
  [[nodiscard]] virtual Result<Stored> put(std::span<const Chain> chains, std::size_t from,
                                           std::span<const Bytes> blocks, Deadline deadline) = 0;

  /// Like put of [from, chain.size()), but the caller fills the blocks in place and commits.
  [[nodiscard]] virtual Result<Reservation> reserve(const Chain& chain, std::size_t from, Deadline deadline) = 0;

  /// Starts bringing the run up from L2 and returns at once; the answer says how much is there or on its way.
  [[nodiscard]] virtual Result<Match> prefetch(std::span<const Chain> chains, Deadline deadline) = 0;

  /// Forgets the chains' blocks in every tier; leased blocks vanish when released. Returns how many were dropped.
  [[nodiscard]] virtual Result<std::size_t> erase(std::span<const Chain> chains, Deadline deadline) = 0;

  /// Joins a lease another session holds. Fails with kDenied for a token that is unknown, foreign or ended.
  [[nodiscard]] virtual Result<Lease> attach(const LeaseToken& token) = 0;

  /// Waits until everything accepted so far is written to L2 or dropped; false at the deadline.
  [[nodiscard]] virtual Result<bool> flush(Deadline deadline) = 0;

  [[nodiscard]] virtual CacheStats stats() const = 0;

  /// Where the blocks of every lease and reservation lie, for callers who describe that memory once (to a device, as a
  /// tensor) and blocks by their place in it. Empty unless it is one range as long as the cache lives: so of embedded
  /// caches alone. Only what a lease covers may be read, and only what a reservation covers written.
  [[nodiscard]] virtual CacheMemory memory() const { return {}; }

  // One chain, the common case.
  [[nodiscard]] Result<Match> match(const Chain& chain, Deadline deadline = Deadline::never()) {
    return match(std::span(&chain, 1), deadline);
  }
  [[nodiscard]] Result<Acquired> acquire(const Chain& chain, Deadline deadline = Deadline::never()) {
    return acquire(std::span(&chain, 1), deadline);
  }
  [[nodiscard]] Result<Match> get(const Chain& chain, std::size_t from, std::span<const MutableBytes> out,
                                  Deadline deadline = Deadline::never()) {
    return get(std::span(&chain, 1), from, out, deadline);
  }
  [[nodiscard]] Result<Stored> put(const Chain& chain, std::size_t from, std::span<const Bytes> blocks,
                                   Deadline deadline = Deadline::never()) {
    return put(std::span(&chain, 1), from, blocks, deadline);
  }
  [[nodiscard]] Result<Match> prefetch(const Chain& chain, Deadline deadline = Deadline::never()) {
    return prefetch(std::span(&chain, 1), deadline);
  }
  [[nodiscard]] Result<std::size_t> erase(const Chain& chain, Deadline deadline = Deadline::never()) {
    return erase(std::span(&chain, 1), deadline);
  }
};

/// What the process adds to what is built in. The registries are only read during `open`.
struct Extensions {
  const PolicyRegistry* policies = nullptr;  ///< nullptr: the built-in ones.
  const StoreRegistry* stores = nullptr;
};

/// Opens a cache. `url` says where the bytes live: "embedded:" (this process), "unix:///path" (a daemon's memory on
/// this host) or "tcp://host:port" (a server over the network); docs/attach.md is about the last two. Fails with
/// kConfig before anything is allocated when the options cannot work on this machine, naming the option and the limit;
/// with kDenied or kVersion when a server will not have this client. A server that is away is no error.
[[nodiscard]] Result<std::unique_ptr<Cache>> open(std::string_view url, const CacheOptions& options = {},
                                                  const Extensions& extensions = {});

}  // namespace reprise
