#include "bench/l1/copy_rig.h"

#include <algorithm>
#include <utility>

#include "bench/harness/machine.h"

namespace reprise::bench {
namespace {

// Resident bytes: four times the last-level cache, and at least four calls' worth.
std::size_t chains_for(const CopyShape& shape) {
  const std::size_t per_chain = shape.block * shape.batch;
  const std::size_t total = shape.quick ? 8ULL << 20 : 4 * llc_bytes();
  return std::max<std::size_t>((total + per_chain - 1) / per_chain, shape.quick ? 2 : 4);
}

std::size_t passes_for(const CopyShape& shape, std::size_t chains) {
  const std::size_t wanted = shape.quick ? 1 : 768ULL << 20;
  return std::max<std::size_t>(1, wanted / (chains * shape.batch * shape.block));
}

// Takes every block and keeps none: the cache computes checksums as it does for any store, and no copying in the
// background disturbs what is measured.
class NullStore final : public Store {
 public:
  NullStore() {
    info_.name = "null";
    info_.max_block_bytes = 1ULL << 30;
    info_.local_index = true;
  }
  [[nodiscard]] const StoreInfo& info() const override { return info_; }
  [[nodiscard]] Result<void> contains(std::span<const BlockId>, std::span<bool> present, Deadline) override {
    std::ranges::fill(present, false);
    return {};
  }
  void read(std::span<ReadOp> ops, Deadline) override {
    for (ReadOp& op : ops) op.result = Reason::kMiss;
  }
  void write(std::span<WriteOp> ops, Deadline) override {
    for (WriteOp& op : ops) op.result = Reason::kNone;
  }
  [[nodiscard]] Result<std::size_t> erase(std::span<const BlockId>, Deadline) override { return 0; }
  [[nodiscard]] Result<void> flush(Deadline) override { return {}; }
  [[nodiscard]] TierStats stats() const override { return {}; }

 private:
  StoreInfo info_;
};

StoreRegistry null_store() {
  StoreRegistry stores;
  const auto added = stores.add(
      "null", [](std::string_view) -> Result<std::unique_ptr<Store>> { return std::make_unique<NullStore>(); });
  return added ? stores : StoreRegistry{};
}

}  // namespace

std::string CopyShape::text() const {
  const std::string size =
      block >= 1ULL << 20 ? std::to_string(block >> 20) + " MiB" : std::to_string(block >> 10) + " KiB";
  return size + " x " + std::to_string(batch);
}

CopyRig::CopyRig(const CopyShape& shape, Namespace ns, std::unique_ptr<Cache> cache, std::size_t chains)
    : shape_(shape),
      passes_(passes_for(shape, chains)),
      ns_(std::move(ns)),
      cache_(std::move(cache)),
      keys_(5, chains, shape.batch),
      order_(shuffled(chains, 11)),
      caller_(chains * shape.batch * shape.block) {}

Result<std::unique_ptr<CopyRig>> CopyRig::create(const CopyShape& shape) {
  Result<Namespace> ns = make_namespace(shape.block);
  if (!ns) return std::unexpected(ns.error());
  const std::size_t chains = chains_for(shape);
  CacheOptions options = memory_only(chains * shape.batch * shape.block, "lru");
  if (shape.with_checksum) {
    options.l2_url = "null:";
    options.l2_ingest = Ingest::kHot;
  }
  const StoreRegistry stores = null_store();
  auto cache = open_populated(options, Extensions{nullptr, &stores});
  if (!cache) return std::unexpected(cache.error());
  std::unique_ptr<CopyRig> rig(new CopyRig(shape, *std::move(ns), *std::move(cache), chains));
  for (std::size_t i = 0; i < chains * shape.batch; ++i) write_pattern(rig->caller_.slice(i, shape.block), i);
  if (Result<void> done = rig->put_all(rig->keys_, nullptr); !done) return std::unexpected(done.error());
  return rig;
}

Result<void> CopyRig::put_all(const KeySet& keys, std::vector<double>* latency_us) {
  std::vector<Bytes> blocks(shape_.batch);
  for (std::size_t c = 0; c < keys.chains(); ++c) {
    for (std::size_t i = 0; i < shape_.batch; ++i) blocks[i] = caller_.slice(c * shape_.batch + i, shape_.block);
    const double start = latency_us ? seconds() : 0;
    const Result<Stored> stored = cache_->put(Chain(ns_, keys.chain(c)), 0, blocks);
    if (latency_us) latency_us->push_back((seconds() - start) * 1e6);
    if (!stored) return std::unexpected(stored.error());
    if (stored->accepted != shape_.batch) {
      return fail(ErrorCode::kInternal, "put accepted " + std::to_string(stored->accepted) + " of " +
                                            std::to_string(shape_.batch) +
                                            " new blocks: " + std::string(to_string(stored->reason)));
    }
  }
  return {};
}

std::span<const std::size_t> CopyRig::share_of(std::size_t thread, std::size_t threads) const {
  const std::size_t share = order_.size() / threads;
  return std::span(order_).subspan(thread * share, thread + 1 == threads ? order_.size() - thread * share : share);
}

std::span<const CopyOp> CopyRig::half_of_get_ops(std::size_t half) const {
  const std::size_t first = share_of(0, 2).size() * shape_.batch;
  return half == 0 ? get_ops().first(first) : get_ops().subspan(first);
}

Result<void> CopyRig::hold_all() {
  for (std::size_t c : order_) {
    Result<Acquired> got = cache_->acquire(Chain(ns_, keys_.chain(c)));
    if (!got) return std::unexpected(got.error());
    if (got->match.blocks != shape_.batch) return fail(ErrorCode::kInternal, "a block that fits is not resident");
    for (std::size_t i = 0; i < shape_.batch; ++i) {
      const std::size_t block = c * shape_.batch + i;
      get_ops_.push_back({caller_.slice(block, shape_.block).data(), got->lease.block(i).data(), shape_.block});
    }
    leases_.push_back(std::move(got->lease));
  }
  // The first pass also makes every block hot, and what is hot go to L2, before the clock starts.
  std::fill_n(caller_.data(), caller_.size(), std::byte{0});
  if (Result<void> done = get_pass(0, 1, nullptr); !done) return done;
  const Result<bool> flushed = cache_->flush(Deadline::after(std::chrono::seconds(60)));
  if (!flushed) return std::unexpected(flushed.error());
  for (std::size_t i = 0; i < get_ops_.size(); ++i) {
    if (!has_pattern(caller_.slice(i, shape_.block), i)) {
      return fail(ErrorCode::kInternal, "block " + std::to_string(i) + " came back with wrong bytes");
    }
  }
  return {};
}

Result<void> CopyRig::get_pass(std::size_t thread, std::size_t threads, std::vector<double>* latency_us) {
  std::vector<MutableBytes> out(shape_.batch);
  for (std::size_t pass = 0; pass < passes_; ++pass) {
    for (std::size_t c : share_of(thread, threads)) {
      for (std::size_t i = 0; i < shape_.batch; ++i) out[i] = caller_.slice(c * shape_.batch + i, shape_.block);
      const double start = latency_us ? seconds() : 0;
      const Result<Match> got = cache_->get(Chain(ns_, keys_.chain(c)), 0, out);
      if (latency_us) latency_us->push_back((seconds() - start) * 1e6);
      if (!got) return std::unexpected(got.error());
      if (got->blocks != shape_.batch) return fail(ErrorCode::kInternal, "get missed a leased block");
    }
  }
  return {};
}

void CopyRig::make_new_keys() {
  new_keys_.clear();
  for (std::size_t pass = 0; pass < passes_; ++pass) new_keys_.emplace_back(++seed_, keys_.chains(), shape_.batch);
}

Result<void> CopyRig::put_pass(std::vector<double>* latency_us) {
  for (const KeySet& keys : new_keys_) {
    if (Result<void> done = put_all(keys, latency_us); !done) return done;
  }
  return {};
}

Result<void> CopyRig::learn_put_ops() {
  put_ops_.clear();
  const KeySet& last = new_keys_.back();
  for (std::size_t c = 0; c < last.chains(); ++c) {
    const Result<Acquired> got = cache_->acquire(Chain(ns_, last.chain(c)));
    if (!got) return std::unexpected(got.error());
    for (std::size_t i = 0; i < got->lease.size(); ++i) {
      // Written through on purpose: what the limit copies there is what is there.
      auto* to = const_cast<std::byte*>(got->lease.block(i).data());
      put_ops_.push_back({to, caller_.slice(c * shape_.batch + i, shape_.block).data(), shape_.block});
    }
  }
  if (put_ops_.size() != last.chains() * shape_.batch) {
    return fail(ErrorCode::kInternal, "a block just put is not resident");
  }
  return {};
}

}  // namespace reprise::bench
