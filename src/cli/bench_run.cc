#include "cli/bench_run.h"

#include <algorithm>
#include <barrier>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <thread>

#include "cli/block_content.h"

namespace reprise::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kMostSource = 64ULL << 20;
constexpr std::chrono::milliseconds kLongestCopy{200};
constexpr std::chrono::milliseconds kTick{50};

Result<Namespace> bench_namespace(std::uint64_t block_bytes) {
  NamespaceSpec spec;
  spec.model = "reprise-bench";
  spec.revision = "none";
  spec.dtype = "uint8";
  spec.layout = "bench";
  spec.block_tokens = 16;
  spec.block_bytes = block_bytes;
  spec.layers = IndexRange{0, 1};
  spec.heads = IndexRange{0, 1};
  spec.salt = "";
  return Namespace::create(std::move(spec));
}

// As much as the cache keeps, so that memcpy finds as little of it in the processor's caches; within reason.
std::uint64_t source_bytes(const BenchCase& plan) {
  const std::uint64_t batch = plan.batch * plan.block_bytes;
  return std::max(batch, std::min(kMostSource, plan.threads * plan.chains * batch));
}

std::uint64_t random_seed() {
  std::random_device random;
  return random() | std::uint64_t{random()} << 32;
}

// The workers of a case, each on a thread of its own, going from phase to phase together.
class BenchThreads {
 public:
  BenchThreads(Cache& cache, const Namespace& ns, const BenchCase& plan, const StopFlag& stop)
      : plan_(plan),
        stop_(stop),
        source_(source_bytes(plan)),
        together_(static_cast<std::ptrdiff_t>(plan.threads)),
        errors_(plan.threads) {
    fill_block(BlockKey::from_words(random_seed(), 0), source_);
    for (std::size_t i = 0; i < plan.threads; ++i) {
      workers_.push_back(std::make_unique<BenchWorker>(cache, ns, plan, random_seed(), source_));
    }
  }

  Result<BenchResult> run(const std::function<void(double)>& tick) {
    start_threads();
    while (!all_done(kTick)) {
      const std::int64_t began = began_.load();
      const std::chrono::duration<double> since = Clock::now().time_since_epoch() - Clock::duration(began);
      tick(began == 0 ? 0 : std::min(1.0, since / std::chrono::duration<double>(plan_.duration)));
    }
    threads_.clear();  // joins
    BenchResult out;
    out.plan = plan_;
    for (const auto& error : errors_) {
      if (error) return std::unexpected(*error);
    }
    for (const auto& worker : workers_) out.counts.add(worker->counts());
    out.seconds = std::chrono::duration<double>(Clock::duration(ended_.load() - began_.load())).count();
    out.interrupted = stop_.load();
    return out;
  }

 private:
  void start_threads() {
    running_ = plan_.threads;
    std::size_t started = 0;
    try {
      for (; started < plan_.threads; ++started) threads_.emplace_back([this, started] { work(started); });
    } catch (const std::exception&) {
      // Those that started would wait at the barrier for those that did not.
      failed_ = true;
      for (std::size_t i = started; i < plan_.threads; ++i) {
        together_.arrive_and_drop();
        finish_one();
      }
      errors_[started] = Error{ErrorCode::kInternal, "--threads: the system gave only " + std::to_string(started)};
    }
  }

  void work(std::size_t i) {
    BenchWorker& worker = *workers_[i];
    const auto copy_for = std::min<std::chrono::nanoseconds>(kLongestCopy, plan_.duration / 10);
    attempt(i, [&] { return worker.prepare(stop_); });
    together_.arrive_and_wait();
    worker.copy(copy_for);
    together_.arrive_and_wait();
    if (i == 0) began_ = Clock::now().time_since_epoch().count();
    if (!failed_.load()) attempt(i, [&] { return worker.run(stop_); });
    together_.arrive_and_wait();
    if (i == 0) ended_ = Clock::now().time_since_epoch().count();
    worker.copy(copy_for);
    together_.arrive_and_wait();
    worker.clear();
    finish_one();
  }

  void finish_one() {
    const std::scoped_lock lock(mutex_);
    if (--running_ == 0) done_.notify_all();
  }
  // Not std::binary_semaphore: that of libstdc++ 12 loses wakeups now and then (GCC bug 104928).
  bool all_done(std::chrono::milliseconds wait) {
    std::unique_lock lock(mutex_);
    return done_.wait_for(lock, wait, [this] { return running_ == 0; });
  }

  template <typename Step>
  void attempt(std::size_t i, const Step& step) {
    if (auto done = step(); !done) {
      errors_[i] = done.error();
      failed_ = true;
    }
  }

  const BenchCase& plan_;
  const StopFlag& stop_;
  std::vector<std::byte> source_;
  std::barrier<> together_;
  std::vector<std::optional<Error>> errors_;  // one each
  std::vector<std::unique_ptr<BenchWorker>> workers_;
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  std::size_t running_ = 0;  // guarded by mutex_
  std::condition_variable done_;
  std::atomic<std::int64_t> began_{0};  // of the clock's epoch
  std::atomic<std::int64_t> ended_{0};
  std::vector<std::jthread> threads_;
};

}  // namespace

std::uint64_t bench_scratch_bytes(const BenchCase& plan) {
  return plan.threads * (2 * plan.batch * plan.block_bytes + plan.chains * plan.batch * sizeof(BlockKey)) +
         source_bytes(plan);
}

Result<BenchResult> run_bench(Cache& cache, const BenchCase& plan, const StopFlag& stop,
                              const std::function<void(double share)>& tick) {
  const auto ns = bench_namespace(plan.block_bytes);
  if (!ns) return std::unexpected(ns.error());
  try {
    return BenchThreads(cache, *ns, plan, stop).run(tick);
  } catch (const std::exception& error) {
    return fail(ErrorCode::kInternal, std::string("the benchmark could not go on: ") + error.what());
  }
}

}  // namespace reprise::cli
