// The seam for L2: one backend that keeps blocks behind memory.
//
// Calls block their caller and are made from the engine's I/O threads, several at a time: a store is thread-safe. A
// store keeps to the deadline where it can; where it cannot, the engine leaves the call behind with its buffers, so a
// late read never reaches memory that was given to someone else. Every block that a store hands out has been verified:
// namespace, key, length and checksum.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "reprise/block.h"
#include "reprise/deadline.h"
#include "reprise/namespace.h"
#include "reprise/stats.h"
#include "reprise/status.h"

namespace reprise {

/// A block's whole identity.
struct BlockId {
  NamespaceId ns;
  BlockKey key;
  friend bool operator==(const BlockId&, const BlockId&) = default;
};

struct StoreInfo {
  std::string name;                   ///< As in its URL's scheme.
  std::size_t alignment = 1;          ///< Buffers start at, and extend to, multiples of this (power of two).
  std::uint64_t max_block_bytes = 0;  ///< Larger blocks are refused.
  bool persistent = false;            ///< Blocks outlive the process.
  bool can_erase = false;
  bool local_index = false;       ///< contains() answers from memory and never waits.
  bool needs_namespaces = false;  ///< The engine calls introduce().
};

/// One block to read. `into` has exactly the block's length; the memory behind it extends to the store's alignment.
struct ReadOp {
  BlockId id;
  MutableBytes into;
  std::uint64_t checksum = 0;     ///< Out, when read: XXH3-64 of the payload.
  Reason result = Reason::kMiss;  ///< Out: kNone when the bytes are there and verified.
};

/// One block to write. The payload stays unchanged until the call returns.
struct WriteOp {
  BlockId id;
  Bytes payload;
  std::uint64_t checksum = 0;     ///< XXH3-64 of the payload.
  Reason result = Reason::kNone;  ///< Out: kNone also when the block was there already. kCorrupt: not its checksum.
};

class Store {
 public:
  virtual ~Store() = default;

  [[nodiscard]] virtual const StoreInfo& info() const = 0;

  /// For stores that keep blocks with somebody who must be told what a namespace is made of, since its digest says
  /// nothing of it (another Reprise server adds its tenant's salt). With StoreInfo::needs_namespaces the engine calls
  /// this before any call that names a block of `ns`, from callers' threads and again and again: it must be cheap and
  /// never wait. `ns` is only lent. Blocks of a namespace that was not introduced, or not taken in, are not there.
  virtual void introduce(const Namespace& /*ns*/) {}

  /// Sets present[i] for each id. May be wrong in either direction (a read decides). Fails when the store is away. At
  /// the deadline it returns what it knows, and false for the rest: nobody takes that for absent then.
  [[nodiscard]] virtual Result<void> contains(std::span<const BlockId> ids, std::span<bool> present,
                                              Deadline deadline) = 0;
  /// Fills each op's outcome; one that is not done by the deadline is kTimeout, and its buffer no longer written to.
  virtual void read(std::span<ReadOp> ops, Deadline deadline) = 0;
  virtual void write(std::span<WriteOp> ops, Deadline deadline) = 0;
  /// Returns how many blocks were there. kUnsupported-like stores return 0 (see StoreInfo::can_erase).
  [[nodiscard]] virtual Result<std::size_t> erase(std::span<const BlockId> ids, Deadline deadline) = 0;
  /// Makes what was written survive a crash of the process.
  [[nodiscard]] virtual Result<void> flush(Deadline deadline) = 0;
  [[nodiscard]] virtual TierStats stats() const = 0;
};

/// Stores by URL scheme. A value: copy it, add to it, hand it to `open`.
class StoreRegistry {
 public:
  using Factory = std::function<Result<std::unique_ptr<Store>>(std::string_view url)>;

  [[nodiscard]] static StoreRegistry with_builtins();
  /// Fails with kInvalid when the scheme is taken.
  [[nodiscard]] Result<void> add(std::string scheme, Factory factory);
  /// Fails with kConfig, listing the schemes there are, when there is none for the URL.
  [[nodiscard]] Result<std::unique_ptr<Store>> make(std::string_view url) const;
  [[nodiscard]] std::vector<std::string> schemes() const;

 private:
  std::map<std::string, Factory, std::less<>> factories_;
};

}  // namespace reprise
