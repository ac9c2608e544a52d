// A store that misbehaves on demand, for tests of whoever sits on top of one.
//
// `FaultyStore` wraps any store and obeys a `StoreFaults`, which the test keeps: both are thread-safe, so faults may be
// switched on and off while calls are in flight. Every switch says which operations it concerns.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "reprise/store.h"

namespace reprise::testing {

enum StoreOp : unsigned {
  kOpContains = 1,
  kOpRead = 2,
  kOpWrite = 4,
  kOpErase = 8,
  kOpFlush = 16,
  kOpAll = 31,
};

class StoreFaults {
 public:
  static constexpr std::uint64_t kForever = ~0ULL;

  /// Calls wait this long first, whatever their deadline says.
  void delay(Duration by, unsigned ops = kOpAll) {
    const std::lock_guard lock(mutex_);
    delay_ = by;
    delay_ops_ = ops;
  }
  /// Calls block until release(), then go through: to a caller that has left, that is a late write into its buffers.
  /// With `until_deadline` they give up at their deadline, as a well-behaved store does.
  void hang(unsigned ops = kOpAll, bool until_deadline = false) {
    const std::lock_guard lock(mutex_);
    hang_ops_ = ops;
    until_deadline_ = until_deadline;
  }
  void release() {
    {
      const std::lock_guard lock(mutex_);
      hang_ops_ = 0;
    }
    wake_.notify_all();
  }
  /// The next `blocks` blocks (contains, erase and flush: calls) of these operations come back with `reason` and do
  /// not reach the store behind. Reads scribble over their buffers first: what failed must not be looked at.
  void fail(Reason reason, unsigned ops = kOpAll, std::uint64_t blocks = kForever) {
    const std::lock_guard lock(mutex_);
    reason_ = reason;
    fail_ops_ = ops;
    fail_left_ = blocks;
  }
  /// Everything back to normal, hanging calls included.
  void heal() {
    fail(Reason::kNone, 0, 0);
    delay(Duration(0), 0);
    release();
  }

  [[nodiscard]] std::uint64_t calls(StoreOp op) const { return calls_[slot(op)].load(); }
  /// Calls blocked right now.
  [[nodiscard]] int hanging() const { return hanging_.load(); }
  /// Waits until at least `n` calls are blocked; false after ten seconds.
  bool wait_hanging(int n) const {
    for (int i = 0; i < 10'000 && hanging_.load() < n; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return hanging_.load() >= n;
  }

  // For FaultyStore.
  /// False: give up, the deadline passed.
  bool enter(StoreOp op, Deadline deadline) {
    calls_[slot(op)].fetch_add(1);
    std::unique_lock lock(mutex_);
    if ((delay_ops_ & op) != 0 && delay_.count() > 0) {
      const Duration by = delay_;
      lock.unlock();
      std::this_thread::sleep_for(by);
      lock.lock();
    }
    const auto free = [&] { return (hang_ops_ & op) == 0; };
    if (free()) return true;
    hanging_.fetch_add(1);
    bool in_time = true;
    if (until_deadline_ && !deadline.is_never()) {
      in_time = wake_.wait_until(lock, deadline.when(), free);
    } else {
      wake_.wait(lock, free);
    }
    hanging_.fetch_sub(1);
    return in_time;
  }
  /// kNone: go on.
  Reason next(StoreOp op) {
    const std::lock_guard lock(mutex_);
    if ((fail_ops_ & op) == 0 || fail_left_ == 0) return Reason::kNone;
    if (fail_left_ != kForever) --fail_left_;
    return reason_;
  }

 private:
  static std::size_t slot(StoreOp op) { return static_cast<std::size_t>(__builtin_ctz(op)); }

  std::mutex mutex_;
  std::condition_variable wake_;
  Duration delay_{0};
  unsigned delay_ops_ = 0;
  unsigned hang_ops_ = 0;
  bool until_deadline_ = false;
  unsigned fail_ops_ = 0;
  std::uint64_t fail_left_ = 0;
  Reason reason_ = Reason::kNone;
  std::atomic<int> hanging_{0};
  std::array<std::atomic<std::uint64_t>, 5> calls_{};
};

class FaultyStore final : public Store {
 public:
  // The faults are shared: the store usually belongs to an engine while the test holds the switches.
  FaultyStore(std::unique_ptr<Store> inner, std::shared_ptr<StoreFaults> faults)
      : inner_(std::move(inner)), faults_(std::move(faults)) {}

  [[nodiscard]] const StoreInfo& info() const override { return inner_->info(); }
  void introduce(const Namespace& ns) override { inner_->introduce(ns); }

  [[nodiscard]] Result<void> contains(std::span<const BlockId> ids, std::span<bool> present,
                                      Deadline deadline) override {
    if (const auto fault = call_fault(kOpContains, deadline); !fault) return fault;
    return inner_->contains(ids, present, deadline);
  }
  void read(std::span<ReadOp> ops, Deadline deadline) override {
    each(kOpRead, ops, deadline, [&](std::span<ReadOp> op) { inner_->read(op, deadline); });
  }
  void write(std::span<WriteOp> ops, Deadline deadline) override {
    each(kOpWrite, ops, deadline, [&](std::span<WriteOp> op) { inner_->write(op, deadline); });
  }
  [[nodiscard]] Result<std::size_t> erase(std::span<const BlockId> ids, Deadline deadline) override {
    if (const auto fault = call_fault(kOpErase, deadline); !fault) return std::unexpected(fault.error());
    return inner_->erase(ids, deadline);
  }
  [[nodiscard]] Result<void> flush(Deadline deadline) override {
    if (const auto fault = call_fault(kOpFlush, deadline); !fault) return fault;
    return inner_->flush(deadline);
  }
  [[nodiscard]] TierStats stats() const override { return inner_->stats(); }

 private:
  Result<void> call_fault(StoreOp op, Deadline deadline) {
    if (!faults_->enter(op, deadline)) return reprise::fail(ErrorCode::kIo, "faulty store: deadline passed");
    const Reason reason = faults_->next(op);
    if (reason == Reason::kNone) return {};
    return reprise::fail(ErrorCode::kIo, "faulty store: " + std::string(to_string(reason)));
  }
  static void scribble(ReadOp& op) { std::fill(op.into.begin(), op.into.end(), std::byte{0xDB}); }
  static void scribble(WriteOp&) {}

  // Healthy neighbours go on together, so that a batch stays a batch.
  template <typename Op, typename Call>
  void each(StoreOp kind, std::span<Op> ops, Deadline deadline, Call call) {
    if (!faults_->enter(kind, deadline)) {
      for (Op& op : ops) op.result = Reason::kTimeout;
      return;
    }
    std::size_t begin = 0;
    for (std::size_t i = 0; i < ops.size(); ++i) {
      const Reason reason = faults_->next(kind);
      if (reason == Reason::kNone) continue;
      if (i > begin) call(ops.subspan(begin, i - begin));
      begin = i + 1;
      scribble(ops[i]);
      ops[i].result = reason;
    }
    if (begin < ops.size()) call(ops.subspan(begin));
  }

  std::unique_ptr<Store> inner_;
  std::shared_ptr<StoreFaults> faults_;
};

/// What a test registers: every store `inner` makes comes wrapped and obeys `faults`.
inline StoreRegistry::Factory faulty(StoreRegistry::Factory inner, std::shared_ptr<StoreFaults> faults) {
  return
      [inner = std::move(inner), faults = std::move(faults)](std::string_view url) -> Result<std::unique_ptr<Store>> {
        auto made = inner(url);
        if (!made) return std::unexpected(made.error());
        return std::make_unique<FaultyStore>(std::move(*made), faults);
      };
}

}  // namespace reprise::testing
