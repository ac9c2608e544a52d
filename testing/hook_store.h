// A store that calls the test before every operation: to block one call and let the next one pass, to throw, to look at
// what is written. Thread-safe if the hooks are. Owns a mock store, which keeps the blocks.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>

#include "reprise/store.h"
#include "store/mock/mock_store.h"

namespace reprise::testing {

/// A door calls stop at. Opens once, for everybody.
class Gate {
 public:
  void pass() {
    std::unique_lock lock(mutex_);
    ++stopped_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_; });
  }
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  /// Waits until `n` calls have come this far in all.
  void await(int n) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return stopped_ >= n; });
  }
  [[nodiscard]] bool is_open() {
    const std::lock_guard lock(mutex_);
    return open_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int stopped_ = 0;
  bool open_ = false;
};

class HookStore final : public Store {
 public:
  struct Hooks {
    StoreInfo info{.name = "hook", .alignment = 1, .max_block_bytes = 1ULL << 40, .can_erase = true};
    std::function<void()> contains, read, write, erase, flush;
    std::function<void(std::span<WriteOp>)> written;
    MockStore mock;
    std::atomic<int> contains_calls{0}, read_calls{0}, write_calls{0};
  };
  /// The hooks are shared: the store usually belongs to an engine, and to calls it left behind, while the test holds
  /// them.
  explicit HookStore(std::shared_ptr<Hooks> hooks) : hooks_(std::move(hooks)) {}

  [[nodiscard]] const StoreInfo& info() const override { return hooks_->info; }
  [[nodiscard]] Result<void> contains(std::span<const BlockId> ids, std::span<bool> present, Deadline) override {
    ++hooks_->contains_calls;
    if (hooks_->contains) hooks_->contains();
    return hooks_->mock.contains(ids, present, Deadline::never());
  }
  void read(std::span<ReadOp> ops, Deadline) override {
    ++hooks_->read_calls;
    if (hooks_->read) hooks_->read();
    hooks_->mock.read(ops, Deadline::never());
  }
  void write(std::span<WriteOp> ops, Deadline) override {
    ++hooks_->write_calls;
    if (hooks_->write) hooks_->write();
    hooks_->mock.write(ops, Deadline::never());
    if (hooks_->written) hooks_->written(ops);
  }
  [[nodiscard]] Result<std::size_t> erase(std::span<const BlockId> ids, Deadline) override {
    if (hooks_->erase) hooks_->erase();
    return hooks_->mock.erase(ids, Deadline::never());
  }
  [[nodiscard]] Result<void> flush(Deadline deadline) override {
    if (hooks_->flush) hooks_->flush();
    return hooks_->mock.flush(deadline);
  }
  [[nodiscard]] TierStats stats() const override { return hooks_->mock.stats(); }

 private:
  std::shared_ptr<Hooks> hooks_;
};

}  // namespace reprise::testing
