#include "bench/mixed/load.h"

#include <time.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <limits>
#include <memory>
#include <utility>

#include "bench/fixture/threads.h"

namespace reprise::bench {
namespace {

constexpr std::uint64_t kMaxChainBytes = 8ULL << 20;  // so that no call is long for its copying alone
constexpr std::size_t kMaxChainBlocks = 64;
constexpr std::uint64_t kLooksPerCapacity = 200;
constexpr double kNotYet = std::numeric_limits<double>::quiet_NaN();  // shown as no figure

std::vector<std::uint64_t> sizes(bool odd) {
  std::vector<std::uint64_t> out;
  for (std::uint64_t size = 4ULL << 10; size <= 4ULL << 20; size *= 2) out.push_back(size);
  if (odd) out.insert(out.end(), {12ULL << 10, 40ULL << 10, 160ULL << 10, 640ULL << 10, 2560ULL << 10, 3ULL << 20});
  std::ranges::sort(out);
  return out;
}

// Weight of size number i of n in a phase, in bytes: gradual shifts, then the abrupt ones.
struct Phase {
  const char* name;
  double (*weight)(double at);  // `at` in [0, 1]: 0 is the smallest size, 1 the largest
};
constexpr Phase kPhases[kPhaseCount] = {
    {"all sizes alike", [](double) { return 1.0; }},
    {"mostly small", [](double at) { return (1 - at) * (1 - at) * (1 - at) + 0.01; }},
    {"middle", [](double at) { return at > 0.3 && at < 0.7 ? 1.0 : 0.02; }},
    {"mostly large", [](double at) { return at * at * at + 0.01; }},
    {"only the smallest", [](double at) { return at == 0 ? 1.0 : 0.0; }},
    {"only the largest", [](double at) { return at == 1 ? 1.0 : 0.0; }},
    {"both ends", [](double at) { return at < 0.15 || at > 0.85 ? 1.0 : 0.0; }},
    {"all sizes alike again", [](double) { return 1.0; }},
};

double thread_cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// A chain that was put: its keys and bytes follow from `id`.
struct Known {
  std::uint64_t id = 0;
  std::uint32_t size_class = 0, blocks = 0;
};

std::vector<BlockKey> keys_of(const Known& chain) {
  Random random(chain.id);
  std::vector<BlockKey> keys;
  for (std::uint32_t i = 0; i < chain.blocks; ++i) keys.push_back(BlockKey::from_words(random.next(), random.next()));
  return keys;
}

struct Held {
  Lease lease;
  Known chain;
  std::uint64_t bytes = 0;
};

// What all threads of a load share. The atomics are counters only.
struct Shared {
  const LoadOptions& options;
  Cache& cache;
  std::vector<Namespace> spaces;
  std::atomic<std::uint64_t> pinned{0}, peak_pinned{0};
};

class Worker {
 public:
  Worker(Shared& shared, std::size_t index)
      : shared_(shared), random_(1'000 + index), index_(index), scratch_(kMaxChainBytes) {}

  Result<void> run_phase(const Phase& phase);
  void drop_leases() { held_.clear(); }

  LoadResult result;
  std::vector<double> used;  // of the current phase; first worker only

 private:
  Result<void> put_one(std::span<const double> weights, std::uint64_t& offered);
  Result<void> get_one();
  Result<void> acquire_one();
  void release_one();
  void look_at_residency();
  [[nodiscard]] Known some_known() { return known_[random_.below(known_.size())]; }
  [[nodiscard]] std::uint64_t block_bytes(const Known& chain) const {
    return shared_.spaces[chain.size_class].block_bytes();
  }
  void check(Bytes bytes, const BlockKey& key) {
    ++result.blocks_checked;
    if (!has_pattern(bytes, key.word(0))) ++result.wrong_blocks;
  }
  // Runs and times one call.
  template <typename Call>
  auto timed(std::vector<double>& times, Longest& longest, std::uint64_t bytes, const Call& call);

  Shared& shared_;
  Random random_;
  std::size_t index_;
  Buffer scratch_;
  std::deque<Known> known_;
  std::deque<Held> held_;
  bool warm_ = false;
  std::uint64_t offered_before_ = 0;
  std::uint64_t next_chain_ = 0, pinned_here_ = 0;
};

template <typename Call>
auto Worker::timed(std::vector<double>& times, Longest& longest, std::uint64_t bytes, const Call& call) {
  const double cpu = thread_cpu_seconds();
  const double start = seconds();
  auto answer = call();
  const double wall = seconds() - start;
  ++result.calls;
  times.push_back(wall * 1e6);
  if (wall * 1e3 > longest.wall_ms) longest = {wall * 1e3, (thread_cpu_seconds() - cpu) * 1e3, bytes};
  return answer;
}

Result<void> Worker::put_one(std::span<const double> weights, std::uint64_t& offered) {
  double draw = static_cast<double>(random_.below(1ULL << 40)) / static_cast<double>(1ULL << 40);
  std::uint32_t size_class = 0;
  while (size_class + 1 < weights.size() && draw >= weights[size_class]) draw -= weights[size_class++];
  const std::uint64_t bytes = shared_.spaces[size_class].block_bytes();
  const std::uint64_t most = std::min<std::uint64_t>(kMaxChainBlocks, kMaxChainBytes / bytes);
  Known chain{(++next_chain_ << 8) | (index_ + 1), size_class, static_cast<std::uint32_t>(1 + random_.below(most))};
  const std::vector<BlockKey> keys = keys_of(chain);
  std::vector<Bytes> blocks;
  for (std::uint32_t i = 0; i < chain.blocks; ++i) {
    const MutableBytes block{scratch_.data() + i * bytes, bytes};
    write_pattern(block, keys[i].word(0));
    blocks.push_back(block);
  }
  const auto stored = timed(result.put_us, result.longest_put, chain.blocks * bytes,
                            [&] { return shared_.cache.put(Chain(shared_.spaces[size_class], keys), 0, blocks); });
  if (!stored) return std::unexpected(stored.error());
  result.accepted += stored->accepted;
  result.declined += stored->declined;
  if (stored->reason == Reason::kFull) ++result.full;
  offered += chain.blocks * bytes;
  known_.push_back(chain);
  if (known_.size() > 2'000) known_.pop_front();
  return {};
}

Result<void> Worker::get_one() {
  const Known chain = some_known();
  const std::vector<BlockKey> keys = keys_of(chain);
  std::vector<MutableBytes> out;
  for (std::uint32_t i = 0; i < chain.blocks; ++i) {
    out.push_back({scratch_.data() + i * block_bytes(chain), block_bytes(chain)});
  }
  const auto got = timed(result.get_us, result.longest_get, chain.blocks * block_bytes(chain),
                         [&] { return shared_.cache.get(Chain(shared_.spaces[chain.size_class], keys), 0, out); });
  if (!got) return std::unexpected(got.error());
  result.blocks_read += got->blocks;
  if (random_.below(shared_.options.check_one_in) == 0) {
    for (std::size_t i = 0; i < got->blocks; ++i) check(out[i], keys[i]);
  }
  return {};
}

Result<void> Worker::acquire_one() {
  const Known chain = some_known();
  // Asked before, not after: the share is a promise.
  const std::uint64_t most = chain.blocks * block_bytes(chain);
  const auto budget =
      static_cast<std::uint64_t>(shared_.options.pinned_share * static_cast<double>(shared_.options.capacity)) /
      shared_.options.threads;
  while (!held_.empty() && pinned_here_ + most > budget) release_one();
  const std::vector<BlockKey> keys = keys_of(chain);
  auto got = timed(result.acquire_us, result.longest_acquire, most,
                   [&] { return shared_.cache.acquire(Chain(shared_.spaces[chain.size_class], keys)); });
  if (!got) return std::unexpected(got.error());
  if (got->lease.empty()) return {};
  const std::uint64_t bytes = got->lease.size() * block_bytes(chain);
  pinned_here_ += bytes;
  const std::uint64_t pinned = shared_.pinned.fetch_add(bytes) + bytes;
  if (pinned > shared_.peak_pinned.load()) shared_.peak_pinned.store(pinned);
  held_.push_back({std::move(got->lease), chain, bytes});
  return {};
}

void Worker::release_one() {
  std::swap(held_.front(), held_[random_.below(held_.size())]);
  Held held = std::move(held_.front());
  held_.pop_front();
  result.blocks_read += held.lease.size();
  if (random_.below(shared_.options.check_one_in) == 0) {
    const std::vector<BlockKey> keys = keys_of(held.chain);
    for (std::size_t i = 0; i < held.lease.size(); ++i) check(held.lease.block(i), keys[i]);
    if (!held.lease.still_valid()) ++result.wrong_blocks;  // its time is an hour
  }
  pinned_here_ -= held.bytes;
  shared_.pinned.fetch_sub(held.bytes);
  timed(result.release_us, result.longest_release, held.bytes, [&] {
    held.lease.release();
    return 0;
  });
}

void Worker::look_at_residency() {
  const CacheStats stats = shared_.cache.stats();
  const double share = static_cast<double>(stats.l1.used_bytes) / static_cast<double>(shared_.options.capacity);
  warm_ = warm_ || share >= 0.98;
  if (warm_) used.push_back(share);
}

Result<void> Worker::run_phase(const Phase& phase) {
  std::vector<double> weights;
  double sum = 0;
  const std::size_t n = shared_.spaces.size();
  for (std::size_t i = 0; i < n; ++i) {
    weights.push_back(phase.weight(static_cast<double>(i) / static_cast<double>(n - 1)));
    // By bytes: a chain of a large size brings more of them.
    const double bytes = static_cast<double>(shared_.spaces[i].block_bytes());
    weights.back() /= bytes * static_cast<double>(std::min<double>(kMaxChainBlocks, kMaxChainBytes / bytes));
    sum += weights.back();
  }
  for (double& weight : weights) weight /= sum;
  const double volume = shared_.options.volume * static_cast<double>(shared_.options.capacity) /
                        static_cast<double>(shared_.options.threads);
  const std::uint64_t stride = shared_.options.capacity / shared_.options.threads / kLooksPerCapacity;
  std::uint64_t next_look = stride, offered = 0;
  while (static_cast<double>(offered) < volume) {
    if (Result<void> done = put_one(weights, offered); !done) return done;
    if (Result<void> done = get_one(); !done) return done;
    if (random_.below(3) == 0) {
      if (Result<void> done = acquire_one(); !done) return done;
    }
    if (!held_.empty() && random_.below(8) == 0) release_one();
    // Full or not, after twice its capacity a cache has to be.
    warm_ =
        warm_ || static_cast<double>(offered_before_ + offered) >=
                     2.0 * static_cast<double>(shared_.options.capacity) / static_cast<double>(shared_.options.threads);
    if (index_ == 0 && offered >= next_look) {
      look_at_residency();
      next_look = offered + stride;
    }
  }
  offered_before_ += offered;
  return {};
}

void append(std::vector<double>& to, const std::vector<double>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

void keep_longer(Longest& to, const Longest& from) {
  if (from.wall_ms > to.wall_ms) to = from;
}

void add_to(LoadResult& sum, const LoadResult& part) {
  sum.calls += part.calls;
  sum.accepted += part.accepted;
  sum.declined += part.declined;
  sum.full += part.full;
  sum.blocks_read += part.blocks_read;
  sum.blocks_checked += part.blocks_checked;
  sum.wrong_blocks += part.wrong_blocks;
  append(sum.put_us, part.put_us);
  append(sum.get_us, part.get_us);
  append(sum.acquire_us, part.acquire_us);
  append(sum.release_us, part.release_us);
  keep_longer(sum.longest_put, part.longest_put);
  keep_longer(sum.longest_get, part.longest_get);
  keep_longer(sum.longest_acquire, part.longest_acquire);
  keep_longer(sum.longest_release, part.longest_release);
}

}  // namespace

std::string phase_name(std::size_t phase) {
  return kPhases[phase].name;
}

Result<LoadResult> run_load(const LoadOptions& options) {
  auto cache = open_populated(memory_only(options.capacity, options.policy));
  if (!cache) return std::unexpected(cache.error());
  Shared shared{options, **cache, {}};
  for (const std::uint64_t size : sizes(options.odd_sizes)) {
    auto ns = make_namespace(size);
    if (!ns) return std::unexpected(ns.error());
    shared.spaces.push_back(*std::move(ns));
  }
  std::vector<std::unique_ptr<Worker>> workers;
  for (std::size_t i = 0; i < options.threads; ++i) workers.push_back(std::make_unique<Worker>(shared, i));
  LoadResult sum;
  std::vector<double> all;
  std::uint64_t accepted_before = 0, declined_before = 0;
  for (const Phase& phase : kPhases) {
    const auto took = run_threads(options.threads, [&](std::size_t t) { return workers[t]->run_phase(phase); });
    if (!took) return std::unexpected(took.error());
    sum.seconds += *took;
    std::uint64_t accepted = 0, declined = 0;
    for (const auto& worker : workers) {
      accepted += worker->result.accepted;
      declined += worker->result.declined;
    }
    sum.declined_by_phase.push_back(static_cast<double>(declined - declined_before) /
                                    static_cast<double>(accepted + declined - accepted_before - declined_before));
    accepted_before = accepted;
    declined_before = declined;
    std::vector<double>& used = workers[0]->used;
    sum.min_used_by_phase.push_back(used.empty() ? kNotYet : *std::ranges::min_element(used));
    append(all, std::exchange(used, {}));
  }
  for (auto& worker : workers) {
    worker->drop_leases();
    add_to(sum, worker->result);
  }
  if (all.empty()) return fail(ErrorCode::kInternal, "the cache was never full");
  sum.min_used = *std::ranges::min_element(all);
  for (double share : all) sum.mean_used += share / static_cast<double>(all.size());
  sum.peak_pinned = static_cast<double>(shared.peak_pinned.load()) / static_cast<double>(options.capacity);
  return sum;
}

}  // namespace reprise::bench
