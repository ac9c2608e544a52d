// A full cache of real blocks and the buffers to copy from and to: what copying is measured on.
//
// The cache, the callers' buffers and the keys together are several times the last-level cache, and every page of them
// is there before the clock starts. One thread drives a rig; only get_pass may run on several at once.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bench/fixture/copy_limit.h"
#include "bench/fixture/fixture.h"

namespace reprise::bench {

struct CopyShape {
  std::size_t block = 0;       ///< Bytes.
  std::size_t batch = 1;       ///< Blocks per call, one chain each.
  bool with_checksum = false;  ///< An L2 is configured, so put hashes as it copies.
  bool quick = false;
  [[nodiscard]] std::string text() const;  ///< "1 MiB x 32".
};

class CopyRig {
 public:
  /// Opens and fills the cache. Policy `lru`: with it every put of new blocks is accepted and evicts as many.
  static Result<std::unique_ptr<CopyRig>> create(const CopyShape& shape);

  // Get.
  /// Leases all blocks for the rest of the rig's life and so learns where they lie. Checks every byte once.
  [[nodiscard]] Result<void> hold_all();
  /// `passes` times: copies every chain of the thread's share out, in a fixed shuffled order.
  [[nodiscard]] Result<void> get_pass(std::size_t thread, std::size_t threads, std::vector<double>* latency_us);
  /// The copies a get pass makes, in its order.
  [[nodiscard]] std::span<const CopyOp> get_ops() const { return get_ops_; }
  [[nodiscard]] std::span<const CopyOp> half_of_get_ops(std::size_t half) const;

  // Put.
  /// Keys for the next put passes; to be called before the clock starts.
  void make_new_keys();
  /// `passes` times: puts a cacheful of new blocks, evicting as many.
  [[nodiscard]] Result<void> put_pass(std::vector<double>* latency_us);
  /// Learns where the last pass's blocks went; the same copies again then write the same bytes to the same places.
  [[nodiscard]] Result<void> learn_put_ops();
  [[nodiscard]] std::span<const CopyOp> put_ops() const { return put_ops_; }

  [[nodiscard]] std::size_t passes() const { return passes_; }
  /// Payload bytes of one run (all passes).
  [[nodiscard]] std::size_t bytes() const { return passes_ * keys_.chains() * keys_.length() * shape_.block; }

 private:
  CopyRig(const CopyShape& shape, Namespace ns, std::unique_ptr<Cache> cache, std::size_t chains);
  [[nodiscard]] Result<void> put_all(const KeySet& keys, std::vector<double>* latency_us);
  [[nodiscard]] std::span<const std::size_t> share_of(std::size_t thread, std::size_t threads) const;

  CopyShape shape_;
  std::size_t passes_;
  Namespace ns_;
  std::unique_ptr<Cache> cache_;
  KeySet keys_;                     // what is resident for get
  std::vector<std::size_t> order_;  // chains in the order they are got
  Buffer caller_;                   // the engine's side: destination of get, source of put
  std::vector<Lease> leases_;
  std::vector<CopyOp> get_ops_, put_ops_;
  std::vector<KeySet> new_keys_;  // one a pass
  std::uint64_t seed_ = 100;
};

}  // namespace reprise::bench
