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
  std::atomic<bool> ejected{false};
  std::atomic<TimePoint> next_probe{TimePoint::min()};

  Health(std::uint32_t max, Duration span) : max_running(std::max(max, 1U)), eject_for(span) {}

  /// Whether a call may be made; of an ejected store's callers, one at a time gets the probe.
  bool available(TimePoint now) {
    if (!ejected.load(std::memory_order_relaxed)) return true;
    TimePoint due = next_probe.load(std::memory_order_relaxed);
    return now >= due && next_probe.compare_exchange_strong(due, now + eject_for);
  }
  /// The same without taking the probe.
  bool would_be_available(TimePoint now) const {
    return !ejected.load(std::memory_order_relaxed) || now >= next_probe.load(std::memory_order_relaxed);
  }
  void left_behind() {
    abandoned.fetch_add(1, std::memory_order_relaxed);
    running.fetch_add(1, std::memory_order_relaxed);
  }
  /// True if that ejects the store.
  bool eject_if_over(TimePoint now) {
    if (running.load(std::memory_order_relaxed) < max_running) return false;
    next_probe.store(now + eject_for, std::memory_order_relaxed);
    if (ejected.exchange(true, std::memory_order_relaxed)) return false;
    ejections.fetch_add(1, std::memory_order_relaxed);
    return true;
  }
  void answered() {
    if (ejected.load(std::memory_order_relaxed)) ejected.store(false, std::memory_order_relaxed);
  }
  void came_back() {
    if (running.fetch_sub(1, std::memory_order_relaxed) <= max_running) answered();
  }
};

// One call to the store, in one or more parts that run on I/O threads. Shared by the caller and those threads, since
// either may be the last to need it.
struct Loader::Call {
  // kLeft: still running, but nobody waits for it. kDropped: will not run any more. kRefused: never got into the queue.
  enum class Part : std::uint8_t { kWaiting, kRunning, kLeft, kDone, kDropped, kRefused };

  Call(std::shared_ptr<Store> s, std::shared_ptr<Health> h, Deadline d)
      : store(std::move(s)), health(std::move(h)), deadline(d) {}
  virtual ~Call() = default;
  /// On an I/O thread, without the mutex. False if the store did not answer in time or at all. Must not throw.
  virtual bool work(std::size_t part, Deadline until) = 0;
  /// The part will not run: what it holds may go. Under the mutex.
  virtual void drop(std::size_t /*part*/) {}

  void run(std::size_t part) {
    Deadline until = deadline;
    {
      const std::lock_guard lock(mutex);
      if (parts[part] != Part::kWaiting) return;
      if (each.count() > 0) {
        if (health->ejected.load(std::memory_order_relaxed) && part > 0) {  // not one after the other into a hole
          drop_part(part);
          return;
        }
        until = overdue[part] = Deadline::after(each);
      }
      parts[part] = Part::kRunning;
    }
    const bool answered = work(part, until);
    const std::lock_guard lock(mutex);
    if (parts[part] == Part::kLeft) {
      health->came_back();
    } else if (answered) {
      health->answered();
    }
    parts[part] = Part::kDone;
    done.notify_all();
  }

  // All under the mutex.
  void drop_part(std::size_t part) {
    parts[part] = Part::kDropped;
    drop(part);
  }
  void leave_part(std::size_t part) {
    parts[part] = Part::kLeft;
    health->left_behind();
  }
  [[nodiscard]] bool has(Part a, Part b) const {
    return std::ranges::any_of(parts, [=](Part p) { return p == a || p == b; });
  }

  const std::shared_ptr<Store> store;
  const std::shared_ptr<Health> health;
  const Deadline deadline;
  Duration each{0};  // if set, every part has this long from its start, instead of `deadline`
  std::mutex mutex;
  std::condition_variable done;
  std::vector<Part> parts;        // guarded by mutex
  std::vector<Deadline> overdue;  // guarded by mutex; with `each`: when a running part should be back
};

struct Loader::ContainsCall final : Call {
  using Call::Call;
  bool work(std::size_t, Deadline until) override {
    outcome = ask_store(*store, ids, present, until);
    // A store that gives up at its deadline cannot say that it does not know: what it found counts, the rest is no
    // miss.
    const bool all = outcome == Reason::kNone && std::ranges::find(present, false) == present.end();
    if (!all && until.passed(std::chrono::steady_clock::now())) outcome = Reason::kTimeout;
    return outcome == Reason::kNone;
  }
  // A store of somebody else's may throw; that is an unavailable store.
  static Reason ask_store(Store& store, std::span<const BlockId> ids, std::vector<bool>& present, Deadline until) {
    present.assign(ids.size(), false);
    try {
      const auto flags = std::make_unique<bool[]>(ids.size());
      if (!store.contains(ids, std::span(flags.get(), ids.size()), until)) return Reason::kUnavailable;
      present.assign(flags.get(), flags.get() + ids.size());
      return Reason::kNone;
    } catch (...) {
      return Reason::kUnavailable;
    }
  }
  std::vector<BlockId> ids;
  std::vector<bool> present;
  Reason outcome = Reason::kTimeout;
};

struct Loader::EraseCall final : Call {
  using Call::Call;
  bool work(std::size_t, Deadline until) override {
    try {
      const auto result = store->erase(ids, until);
      erased = result.value_or(0);
      return result.has_value();
    } catch (...) {
      return false;
    }
  }
  std::vector<BlockId> ids;
  std::size_t erased = 0;
};

struct Loader::ReadCall final : Call {
  using Call::Call;
  bool work(std::size_t part, Deadline until) override {
    const std::span<ReadOp> mine = std::span(ops).subspan(starts[part], starts[part + 1] - starts[part]);
    try {
      store->read(mine, until);
    } catch (...) {
      for (ReadOp& op : mine) op.result = Reason::kUnavailable;
    }
    bool answered = false;
    const std::lock_guard lock(mutex);  // against forget
    for (std::size_t i = starts[part]; i < starts[part + 1]; ++i) {
      if (ops[i].result == Reason::kNone && publish[i]) cache->publish(memory[i], ops[i].checksum, true);
      answered = answered || (ops[i].result != Reason::kTimeout && ops[i].result != Reason::kUnavailable);
    }
    return answered;
  }
  void drop(std::size_t part) override {
    for (std::size_t i = starts[part]; i < starts[part + 1]; ++i) cache->unpin(memory.take(i).slot);
  }
  std::shared_ptr<MemoryCache> cache;
  Pins memory;                // pinned as long as anybody may write to it
  std::vector<bool> publish;  // guarded by mutex
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

bool Loader::available() {
  leave_overdue();
  return health_->available(clock_.now());
}

bool Loader::start(const std::shared_ptr<Call>& call) {
  for (std::size_t part = 0; part < call->parts.size(); ++part) {
    if (threads_.submit([call, part] { call->run(part); })) continue;
    const std::lock_guard lock(call->mutex);
    for (std::size_t rest = part; rest < call->parts.size(); ++rest) {
      call->parts[rest] = Call::Part::kRefused;
      call->drop(rest);
    }
    return part > 0;
  }
  return true;
}

bool Loader::wait(Call& call, Deadline deadline) {
  {
    std::unique_lock lock(call.mutex);
    const auto finished = [&call] { return !call.has(Call::Part::kWaiting, Call::Part::kRunning); };
    if (deadline.is_never()) {
      call.done.wait(lock, finished);
      return true;
    }
    if (call.done.wait_until(lock, deadline.when(), finished)) return true;
    for (std::size_t part = 0; part < call.parts.size(); ++part) {
      if (call.parts[part] == Call::Part::kWaiting) call.drop_part(part);
      if (call.parts[part] == Call::Part::kRunning) call.leave_part(part);
    }
  }
  after_leaving();
  return false;
}

void Loader::after_leaving() {
  threads_.make_up_for(health_->running.load(std::memory_order_relaxed));
  if (!health_->eject_if_over(clock_.now())) return;
  const auto span = std::chrono::duration_cast<std::chrono::milliseconds>(health_->eject_for);
  log::warn("L2 does not answer: left alone for " + std::to_string(span.count()) + " ms");
}

std::vector<std::shared_ptr<Loader::ReadCall>> Loader::running_reads() {
  std::vector<std::shared_ptr<ReadCall>> running;
  const std::lock_guard lock(mutex_);
  if (reads_.empty()) return running;
  for (const auto& call : reads_) {
    if (auto held = call.lock()) running.push_back(std::move(held));
  }
  reads_.assign(running.begin(), running.end());
  return running;
}

// Nobody waits for a read_ahead, so whoever comes next finds out that it hangs.
void Loader::leave_overdue() {
  bool left = false;
  const TimePoint now = std::chrono::steady_clock::now();
  for (const auto& call : running_reads()) {
    const std::lock_guard lock(call->mutex);
    for (std::size_t part = 0; part < call->overdue.size(); ++part) {
      if (call->parts[part] != Call::Part::kRunning || !call->overdue[part].passed(now)) continue;
      call->leave_part(part);
      left = true;
    }
  }
  if (left) after_leaving();
}

void Loader::forget(std::span<const BlockId> ids) {
  const auto running = running_reads();
  if (running.empty()) return;
  const auto less = [](const BlockId& a, const BlockId& b) { return a.key != b.key ? a.key < b.key : a.ns < b.ns; };
  std::vector<BlockId> sorted(ids.begin(), ids.end());
  std::ranges::sort(sorted, less);
  for (const auto& call : running) {
    const std::lock_guard lock(call->mutex);
    for (std::size_t i = 0; i < call->ops.size(); ++i) {
      if (std::ranges::binary_search(sorted, call->ops[i].id, less)) call->publish[i] = false;
    }
  }
}

Reason Loader::ask_index(std::span<const BlockId> ids, std::vector<bool>& present, Deadline deadline, bool will_read) {
  const Reason outcome = ContainsCall::ask_store(*store_, ids, present, deadline);
  if (std::ranges::find(present, true) == present.end()) return outcome;
  // The index answers even while its device does not; the probe is the read that follows.
  if (will_read ? health_->available(clock_.now()) : health_->would_be_available(clock_.now())) return outcome;
  present.assign(ids.size(), false);
  return Reason::kUnavailable;
}

Reason Loader::contains(std::span<const BlockId> ids, std::vector<bool>& present, Deadline deadline, bool will_read) {
  present.assign(ids.size(), false);
  if (ids.empty()) return Reason::kNone;
  leave_overdue();
  if (store_->info().local_index) return ask_index(ids, present, deadline, will_read);
  const TimePoint now = clock_.now();
  if (deadline.passed(now)) return health_->would_be_available(now) ? Reason::kTimeout : Reason::kUnavailable;
  if (!health_->available(now)) return Reason::kUnavailable;
  const auto call = std::make_shared<ContainsCall>(store_, health_, deadline);
  call->ids.assign(ids.begin(), ids.end());
  call->parts.assign(1, Call::Part::kWaiting);
  if (!start(call)) return Reason::kBusy;
  if (!wait(*call, deadline)) return Reason::kTimeout;
  present = std::move(call->present);
  return call->outcome;
}

void Loader::read(Pins memory, std::vector<bool> publish, Deadline deadline, std::vector<Reason>& outcomes,
                  Pins& loaded) {
  outcomes.assign(memory.size(), Reason::kTimeout);
  if (memory.empty()) return;
  const auto call = make_read(std::move(memory), std::move(publish), deadline);
  if (!deadline.passed(clock_.now())) {
    start(call);
    wait(*call, deadline);
  }
  const std::lock_guard lock(call->mutex);
  for (std::size_t part = 0; part < call->parts.size(); ++part) {
    for (std::size_t i = call->starts[part]; i < call->starts[part + 1]; ++i) {
      if (call->parts[part] == Call::Part::kDone) outcomes[i] = call->ops[i].result;
      if (call->parts[part] == Call::Part::kRefused) outcomes[i] = Reason::kBusy;
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
  const std::lock_guard lock(mutex_);
  reads_.emplace_back(call);
  return call;
}

bool Loader::read_ahead(Pins memory, std::vector<bool> publish) {
  if (memory.empty()) return true;
  if (!available()) return false;
  const auto call = make_read(std::move(memory), std::move(publish), Deadline::never());
  {
    const std::lock_guard lock(call->mutex);
    call->each = longest_wait_;
    call->overdue.assign(call->parts.size(), Deadline::never());
  }
  return start(call);
}

std::size_t Loader::erase(std::vector<BlockId> ids, Deadline deadline) {
  if (!store_->info().can_erase || deadline.passed(clock_.now()) || !available()) return 0;
  const auto call = std::make_shared<EraseCall>(store_, health_, deadline);
  call->ids = std::move(ids);
  call->parts.assign(1, Call::Part::kWaiting);
  if (!start(call) || !wait(*call, deadline)) return 0;
  return call->erased;
}

void Loader::add_stats(CacheStats& stats) const {
  stats.abandoned = health_->abandoned.load(std::memory_order_relaxed);
  stats.abandoned_running = health_->running.load(std::memory_order_relaxed);
  stats.ejections = health_->ejections.load(std::memory_order_relaxed);
}

}  // namespace reprise
