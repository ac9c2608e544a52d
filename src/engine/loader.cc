#include "engine/loader.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <string>
#include <utility>

#include "base/log.h"

namespace reprise {
namespace {

// A read is split so that what arrived before the deadline can be used, and so that several threads work on it.
constexpr std::uint64_t kPartBytes = 16ULL << 20;
constexpr std::size_t kMaxQueued = 1024;

}  // namespace

// Calls left behind, and what follows from them. Shared with those calls.
struct Loader::Health {
  const std::uint32_t max_running;
  const Duration eject_for;
  std::atomic<std::uint32_t> running{0};
  std::atomic<std::uint64_t> abandoned{0};
  std::atomic<std::uint64_t> ejections{0};
  std::atomic<TimePoint> next_probe{TimePoint::min()};

  Health(std::uint32_t max, Duration span) : max_running(std::max(max, 1U)), eject_for(span) {}

  bool available(TimePoint now) {
    if (running.load(std::memory_order_relaxed) < max_running) return true;
    TimePoint due = next_probe.load(std::memory_order_relaxed);
    return now >= due && next_probe.compare_exchange_strong(due, now + eject_for);  // one caller probes
  }
  void left_behind(TimePoint now) {
    abandoned.fetch_add(1, std::memory_order_relaxed);
    if (running.fetch_add(1, std::memory_order_relaxed) + 1 == max_running) {
      next_probe.store(now + eject_for, std::memory_order_relaxed);
      ejections.fetch_add(1, std::memory_order_relaxed);
      log::warn("L2 does not answer: left alone for " +
                std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(eject_for).count()) + " ms");
    }
  }
};

// One call to the store, in one or more parts that run on I/O threads. Shared by the caller and those threads, since
// either may be the last to need it.
struct Loader::Call {
  enum class Part : std::uint8_t { kWaiting, kRunning, kDone };

  Call(std::shared_ptr<Store> s, std::shared_ptr<Health> h, Deadline d)
      : store(std::move(s)), health(std::move(h)), deadline(d) {}
  virtual ~Call() = default;
  virtual void work(std::size_t part) = 0;

  void run(std::size_t part) {
    {
      const std::lock_guard lock(mutex);
      if (given_up) return;
      parts[part] = Part::kRunning;
    }
    work(part);
    const std::lock_guard lock(mutex);
    parts[part] = Part::kDone;
    if (given_up) health->running.fetch_sub(1, std::memory_order_relaxed);
    done.notify_all();
  }

  const std::shared_ptr<Store> store;
  const std::shared_ptr<Health> health;
  const Deadline deadline;
  std::mutex mutex;
  std::condition_variable done;
  std::vector<Part> parts;  // guarded by mutex
  bool given_up = false;    // guarded by mutex
};

struct Loader::ContainsCall final : Call {
  using Call::Call;
  void work(std::size_t) override {
    auto flags = std::make_unique<bool[]>(ids.size());
    const auto result = store->contains(ids, std::span(flags.get(), ids.size()), deadline);
    outcome = result ? Reason::kNone : Reason::kUnavailable;
    present.assign(flags.get(), flags.get() + ids.size());
  }
  std::vector<BlockId> ids;
  std::vector<bool> present;
  Reason outcome = Reason::kTimeout;
};

struct Loader::EraseCall final : Call {
  using Call::Call;
  void work(std::size_t) override { erased = store->erase(ids, deadline).value_or(0); }
  std::vector<BlockId> ids;
  std::size_t erased = 0;
};

struct Loader::ReadCall final : Call {
  using Call::Call;
  void work(std::size_t part) override {
    const std::size_t first = starts[part];
    const std::size_t last = starts[part + 1];
    store->read(std::span(ops).subspan(first, last - first), deadline);
    for (std::size_t i = first; i < last; ++i) {
      if (ops[i].result == Reason::kNone && publish[i]) cache->publish(memory[i], ops[i].checksum, true);
    }
  }
  std::shared_ptr<MemoryCache> cache;
  Pins memory;  // pinned as long as anybody may write to it
  std::vector<bool> publish;
  std::vector<ReadOp> ops;
  std::vector<std::size_t> starts;  // part p is [starts[p], starts[p + 1])
};

Loader::Loader(std::shared_ptr<Store> store, std::shared_ptr<MemoryCache> cache, const CacheOptions& options,
               const Clock& clock)
    : store_(std::move(store)),
      cache_(std::move(cache)),
      clock_(clock),
      longest_wait_(options.l2_timeout),
      health_(std::make_shared<Health>(options.l2_max_abandoned, options.l2_eject_for)),
      threads_(std::max(options.l2_threads, 1U), options.l2_max_abandoned, kMaxQueued) {}

Deadline Loader::capped(Deadline deadline) const {
  return std::min(deadline, Deadline::at(clock_.now() + longest_wait_));
}

bool Loader::start(const std::shared_ptr<Call>& call) {
  for (std::size_t part = 0; part < call->parts.size(); ++part) {
    if (threads_.submit([call, part] { call->run(part); })) continue;
    const std::lock_guard lock(call->mutex);
    for (std::size_t rest = part; rest < call->parts.size(); ++rest) call->parts[rest] = Call::Part::kDone;
    return part > 0;
  }
  return true;
}

bool Loader::wait(Call& call, Deadline deadline) {
  std::unique_lock lock(call.mutex);
  const auto finished = [&call] {
    return std::ranges::all_of(call.parts, [](Call::Part p) { return p == Call::Part::kDone; });
  };
  if (deadline.is_never()) {
    call.done.wait(lock, finished);
    return true;
  }
  if (call.done.wait_until(lock, deadline.when(), finished)) return true;
  call.given_up = true;
  for (const Call::Part part : call.parts) {
    if (part != Call::Part::kRunning) continue;
    health_->left_behind(clock_.now());
    threads_.make_up_for(health_->running.load(std::memory_order_relaxed));
  }
  return false;
}

Reason Loader::contains(std::span<const BlockId> ids, std::vector<bool>& present, Deadline deadline) {
  present.assign(ids.size(), false);
  const TimePoint now = clock_.now();
  if (!health_->available(now)) return Reason::kUnavailable;
  const auto call = std::make_shared<ContainsCall>(store_, health_, deadline);
  call->ids.assign(ids.begin(), ids.end());
  call->parts.assign(1, Call::Part::kWaiting);
  if (store_->info().local_index) {
    call->work(0);
  } else {
    if (deadline.passed(now)) return Reason::kTimeout;
    if (!start(call)) return Reason::kBusy;
    if (!wait(*call, deadline)) return Reason::kTimeout;
  }
  present = std::move(call->present);
  return call->outcome;
}

void Loader::read(Pins memory, std::vector<bool> publish, Deadline deadline, std::vector<Reason>& outcomes,
                  Pins& loaded) {
  const std::size_t n = memory.size();
  outcomes.assign(n, Reason::kTimeout);
  const auto call = make_read(std::move(memory), std::move(publish), deadline);
  if (!deadline.passed(clock_.now())) {
    if (!start(call)) {
      std::ranges::fill(outcomes, Reason::kBusy);
    } else {
      wait(*call, deadline);
    }
  }
  const std::lock_guard lock(call->mutex);
  for (std::size_t part = 0; part < call->parts.size(); ++part) {
    const bool done = call->parts[part] == Call::Part::kDone;
    for (std::size_t i = call->starts[part]; i < call->starts[part + 1]; ++i) {
      if (done && outcomes[i] != Reason::kBusy) outcomes[i] = call->ops[i].result;
      if (outcomes[i] != Reason::kNone) {
        loaded.adopt({});
        continue;
      }
      cache_->repin(call->memory[i]);
      loaded.adopt(call->memory[i]);
    }
  }
}

std::shared_ptr<Loader::ReadCall> Loader::make_read(Pins memory, std::vector<bool> publish, Deadline deadline) {
  auto call = std::make_shared<ReadCall>(store_, health_, deadline);
  call->cache = cache_;
  call->publish = std::move(publish);
  call->ops.reserve(memory.size());
  std::uint64_t part_bytes = kPartBytes;
  for (const PinnedBlock& block : memory.blocks()) {
    if (part_bytes >= kPartBytes) {
      call->starts.push_back(call->ops.size());
      part_bytes = 0;
    }
    call->ops.push_back({cache_->id(block), {block.data, block.bytes}, 0, Reason::kMiss});
    part_bytes += block.bytes;
  }
  call->parts.assign(call->starts.size(), Call::Part::kWaiting);
  call->starts.push_back(call->ops.size());
  call->memory = std::move(memory);
  return call;
}

bool Loader::read_ahead(Pins memory, std::vector<bool> publish) {
  if (!health_->available(clock_.now())) return false;
  return start(make_read(std::move(memory), std::move(publish), Deadline::never()));
}

std::size_t Loader::erase(std::vector<BlockId> ids, Deadline deadline) {
  if (!store_->info().can_erase || !health_->available(clock_.now())) return 0;
  const auto call = std::make_shared<EraseCall>(store_, health_, deadline);
  call->ids = std::move(ids);
  call->parts.assign(1, Call::Part::kWaiting);
  if (deadline.passed(clock_.now()) || !start(call) || !wait(*call, deadline)) return 0;
  return call->erased;
}

void Loader::add_stats(CacheStats& stats) const {
  stats.abandoned = health_->abandoned.load(std::memory_order_relaxed);
  stats.abandoned_running = health_->running.load(std::memory_order_relaxed);
  stats.ejections = health_->ejections.load(std::memory_order_relaxed);
}

}  // namespace reprise
