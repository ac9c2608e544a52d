#include "cli/bench_worker.h"

#include <algorithm>
#include <cstring>

#include "base/kernels.h"
#include "cli/block_content.h"

namespace reprise::cli {
namespace {

constexpr std::chrono::seconds kPatience{10};
constexpr std::uint64_t kCheckEvery = 16;

double rate(std::uint64_t n, std::chrono::nanoseconds time) {
  return time.count() == 0 ? 0 : static_cast<double>(n) * 1e9 / static_cast<double>(time.count());
}

}  // namespace

void BenchSide::add(const BenchSide& other) {
  calls += other.calls;
  asked += other.asked;
  blocks += other.blocks;
  calls_per_second += other.calls_per_second;
  bytes_per_second += other.bytes_per_second;
  latency.add(other.latency);
}

void BenchCounts::add(const BenchCounts& other) {
  get.add(other.get);
  put.add(other.put);
  for (std::size_t i = 0; i < reasons.size(); ++i) reasons[i] += other.reasons[i];
  checked_blocks += other.checked_blocks;
  wrong_blocks += other.wrong_blocks;
  if (first_wrong.empty()) first_wrong = other.first_wrong;
  copy_bytes_per_second += other.copy_bytes_per_second;
}

void BenchWorker::Timed::apply(BenchSide& side) const {
  side.calls = calls;
  side.calls_per_second = rate(calls, time);
  side.bytes_per_second = rate(bytes, time);
}

BenchWorker::BenchWorker(Cache& cache, const Namespace& ns, const BenchCase& plan, std::uint64_t seed, Bytes source)
    : cache_(cache),
      namespace_(ns),
      plan_(plan),
      source_(source),
      random_(seed),
      keys_(plan.chains * plan.batch),
      written_(plan.batch * plan.block_bytes),
      read_(plan.batch * plan.block_bytes) {
  for (std::size_t i = 0; i < plan.batch; ++i) {
    offers_.emplace_back(block_of(written_, i));
    into_.push_back(block_of(read_, i));
  }
}

MutableBytes BenchWorker::block_of(std::vector<std::byte>& buffer, std::size_t i) const {
  return {buffer.data() + i * plan_.block_bytes, static_cast<std::size_t>(plan_.block_bytes)};
}

Chain BenchWorker::chain_at(std::size_t chain) const {
  return {namespace_, std::span(keys_).subspan(chain * plan_.batch, plan_.batch)};
}

void BenchWorker::rename(std::size_t chain) {
  for (std::size_t i = 0; i < plan_.batch; ++i) {
    keys_[chain * plan_.batch + i] = BlockKey::from_words(random_(), random_());
  }
}

Result<void> BenchWorker::prepare(const StopFlag& stop) {
  for (std::size_t chain = 0; chain < plan_.chains && !stop.load(std::memory_order_relaxed); ++chain) {
    rename(chain);
    if (auto done = put(chain, false); !done) return done;
  }
  return {};
}

Result<void> BenchWorker::run(const StopFlag& stop) {
  const auto end = Clock::now() + plan_.duration;
  std::bernoulli_distribution reads(plan_.mix);
  std::uniform_int_distribution<std::size_t> any(0, plan_.chains - 1);
  while (!stop.load(std::memory_order_relaxed) && Clock::now() < end) {
    const std::size_t chain = any(random_);
    if (reads(random_)) {
      if (auto done = get(chain); !done) return done;
      continue;
    }
    // New names in the place of old ones, so that what is put is never there already and room is never short.
    if (const auto erased = cache_.erase(chain_at(chain), Deadline::after(kPatience)); !erased) {
      return std::unexpected(erased.error());
    }
    rename(chain);
    if (auto done = put(chain, true); !done) return done;
  }
  return {};
}

Result<Stored> BenchWorker::put_copy(const Chain& chain) {
  return cache_.put(chain, 0, offers_, Deadline::after(kPatience));
}

Result<Stored> BenchWorker::put_in_place(const Chain& chain) {
  auto reserved = cache_.reserve(chain, 0, Deadline::after(kPatience));
  if (!reserved) return std::unexpected(reserved.error());
  Stored out;
  for (std::size_t i = 0; i < reserved->size(); ++i) {
    const MutableBytes block = reserved->block(i);
    if (block.size() == offers_[i].size()) copy_block(block, offers_[i]);
  }
  out.accepted = reserved->commit(reserved->size());
  return out;
}

Result<void> BenchWorker::put(std::size_t chain, bool timed) {
  const Chain named = chain_at(chain);
  for (std::size_t i = 0; i < plan_.batch; ++i) fill_block(named.keys[i], block_of(written_, i));
  const auto before = Clock::now();
  const auto stored = plan_.in_place ? put_in_place(named) : put_copy(named);
  const auto took = Clock::now() - before;
  if (!stored) return std::unexpected(stored.error());
  if (!timed) return {};
  const std::size_t kept = std::min(plan_.batch, stored->accepted + stored->present);
  ++puts_.calls;
  puts_.time += took;
  puts_.bytes += kept * plan_.block_bytes;
  counts_.put.latency.add(took);
  counts_.put.asked += plan_.batch;
  counts_.put.blocks += kept;
  if (kept < plan_.batch) ++counts_.reasons[static_cast<std::size_t>(stored->reason)];
  return {};
}

Result<Match> BenchWorker::get_in_place(const Chain& chain, bool check_bytes) {
  auto acquired = cache_.acquire(chain, Deadline::after(kPatience));
  if (!acquired) return std::unexpected(acquired.error());
  if (check_bytes) {
    const std::uint64_t wrong = counts_.wrong_blocks;
    for (std::size_t i = 0; i < acquired->lease.size(); ++i) check(chain, i, acquired->lease.block(i));
    if (!acquired->lease.still_valid()) {  // read too late: proves nothing
      counts_.wrong_blocks = wrong;
      if (wrong == 0) counts_.first_wrong.clear();
    }
  }
  return acquired->match;
}

Result<void> BenchWorker::get(std::size_t chain) {
  const Chain named = chain_at(chain);
  const bool check_bytes = gets_.calls % kCheckEvery == 0;
  const auto before = Clock::now();
  const auto found =
      plan_.in_place ? get_in_place(named, false) : cache_.get(named, 0, into_, Deadline::after(kPatience));
  const auto took = Clock::now() - before;
  if (!found) return std::unexpected(found.error());
  const std::size_t blocks = std::min(plan_.batch, found->blocks);
  ++gets_.calls;
  gets_.time += took;
  gets_.bytes += blocks * plan_.block_bytes;
  counts_.get.latency.add(took);
  counts_.get.asked += plan_.batch;
  counts_.get.blocks += blocks;
  if (blocks < plan_.batch) ++counts_.reasons[static_cast<std::size_t>(found->reason)];
  if (!check_bytes) return {};
  if (plan_.in_place) {
    const auto again = get_in_place(named, true);
    return again ? Result<void>() : std::unexpected(again.error());
  }
  for (std::size_t i = 0; i < blocks; ++i) check(named, i, into_[i]);
  return {};
}

void BenchWorker::check(const Chain& chain, std::size_t i, Bytes block) {
  ++counts_.checked_blocks;
  const auto wrong = first_wrong_byte(chain.keys[i], block);
  if (!wrong && block.size() == plan_.block_bytes) return;
  if (counts_.wrong_blocks++ > 0) return;
  counts_.first_wrong = "key " + chain.keys[i].hex() + ": " +
                        (wrong ? "byte " + std::to_string(*wrong) + " is not what was put"
                               : "is " + std::to_string(block.size()) + " bytes long");
}

void BenchWorker::copy(std::chrono::nanoseconds span) {
  const auto start = Clock::now();
  do {
    if (copied_to_ + read_.size() > source_.size()) copied_to_ = 0;
    const auto before = Clock::now();
    std::memcpy(read_.data(), source_.data() + copied_to_, read_.size());
    copies_.time += Clock::now() - before;
    copies_.bytes += read_.size();
    copied_to_ += read_.size();
  } while (Clock::now() - start < span);
}

void BenchWorker::clear() {
  for (std::size_t chain = 0; chain < plan_.chains; ++chain) {
    if (!cache_.erase(chain_at(chain), Deadline::after(kPatience))) return;  // whoever is away has lost them anyway
  }
}

BenchCounts BenchWorker::counts() const {
  BenchCounts out = counts_;
  gets_.apply(out.get);
  puts_.apply(out.put);
  out.copy_bytes_per_second = rate(copies_.bytes, copies_.time);
  return out;
}

}  // namespace reprise::cli
