// An Env that makes another one fail, on demand and while in use. Thread-safe. With no fault set it passes the contract
// like the form it wraps.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/env.h"

namespace reprise::testing {

class FaultEnv final : public Env {
 public:
  static constexpr std::uint64_t kNever = ~0ULL;

  explicit FaultEnv(Env& inner) : inner_(inner) {}

  /// After `skip` more requests, the next `count` come back with `status` and are not carried out (a write is carried
  /// out by half: that is what a failed write looks like on the medium).
  void fail_reads(IoStatus status, std::uint64_t skip = 0, std::uint64_t count = kNever) {
    const std::lock_guard lock(mutex_);
    reads_ = {status, skip, count};
  }
  void fail_writes(IoStatus status, std::uint64_t skip = 0, std::uint64_t count = kNever) {
    const std::lock_guard lock(mutex_);
    writes_ = {status, skip, count};
  }
  /// Creating and allocating files fails with kNoSpace once this many bytes have been allocated or written from now on.
  void space(std::uint64_t bytes) { space_.store(bytes); }
  /// The next `count` reads flip one bit of what they bring.
  void flip_bits(std::uint64_t count) { flips_.store(count); }
  /// Reads block until release().
  void hang_reads() { hang(true); }
  void release() { hang(false); }
  [[nodiscard]] bool wait_hanging(int n) const {
    for (int i = 0; i < 10'000 && hanging_.load() < n; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return hanging_.load() >= n;
  }
  /// The directory is gone: paths cannot be opened, made or listed, until make_directory (if `may_return`) or heal().
  void remove_directory(bool may_return) {
    gone_.store(true);
    may_return_.store(may_return);
  }
  void heal() {
    fail_reads(IoStatus::kOk, 0, 0);
    fail_writes(IoStatus::kOk, 0, 0);
    space(kNever);
    flip_bits(0);
    gone_.store(false);
    release();
  }
  [[nodiscard]] std::uint64_t read_requests() const { return read_requests_.load(); }

  IoResult<std::unique_ptr<File>> open(const std::string& path, OpenMode mode, Direct direct) override {
    if (gone_.load()) return gone(path);
    if (mode == OpenMode::kCreate && space_.load() == 0) return full(path);
    auto file = inner_.open(path, mode, direct);
    if (!file) return std::unexpected(file.error());
    return std::make_unique<FaultFile>(*this, std::move(*file));
  }
  void read(std::span<const ReadRequest> requests, const Done& done, Deadline deadline) override {
    hang_here();
    read_requests_.fetch_add(requests.size());
    carry_out(
        requests, reads_,
        [&](auto good, const std::vector<std::size_t>& back) {
          inner_.read(
              good,
              [&](std::size_t i, IoStatus status) {
                if (status == IoStatus::kOk && take(flips_)) flip(good[i]);
                done(back[i], status);
              },
              deadline);
        },
        done, [](const ReadRequest&) {});
  }
  void write(std::span<const WriteRequest> requests, const Done& done, Deadline deadline) override {
    carry_out(
        requests, writes_,
        [&](auto good, const std::vector<std::size_t>& back) {
          inner_.write(good, [&](std::size_t i, IoStatus status) { done(back[i], status); }, deadline);
        },
        done,
        [&](const WriteRequest& torn) {
          const WriteRequest half{torn.file, torn.offset, torn.pieces.first((torn.pieces.size() + 1) / 2)};
          inner_.write(std::span(&half, 1), [](std::size_t, IoStatus) {}, Deadline::never());
        });
  }
  IoResult<std::vector<std::string>> list(const std::string& directory) override {
    if (gone_.load()) return gone(directory);
    return inner_.list(directory);
  }
  IoResult<std::vector<std::string>> list_directories(const std::string& directory) override {
    if (gone_.load()) return gone(directory);
    return inner_.list_directories(directory);
  }
  IoResult<FileInfo> info(const std::string& path) override {
    if (gone_.load()) return gone(path);
    return inner_.info(path);
  }
  IoResult<void> rename(const std::string& from, const std::string& to) override {
    if (gone_.load()) return gone(to);
    return inner_.rename(from, to);
  }
  IoResult<void> remove(const std::string& path) override {
    if (gone_.load()) return gone(path);
    return inner_.remove(path);
  }
  IoResult<void> make_directory(const std::string& path) override {
    if (gone_.load() && !may_return_.load()) return gone(path);
    gone_.store(false);
    return inner_.make_directory(path);
  }
  IoResult<std::uint64_t> free_space(const std::string& directory) override {
    if (space_.load() != kNever) return space_.load();
    return inner_.free_space(directory);
  }
  IoResult<std::unique_ptr<File>> lock(const std::string& path) override {
    if (gone_.load()) return gone(path);
    return inner_.lock(path);
  }

 private:
  struct Rule {
    IoStatus status = IoStatus::kOk;
    std::uint64_t skip = 0;
    std::uint64_t count = 0;
  };

  struct FaultFile final : File {
    FaultFile(FaultEnv& of, std::unique_ptr<File> file) : env(of), inner(std::move(file)) {}
    bool direct() const override { return inner->direct(); }
    IoResult<std::uint64_t> size() const override { return inner->size(); }
    IoResult<void> truncate(std::uint64_t bytes) override { return inner->truncate(bytes); }
    IoResult<void> allocate(std::uint64_t bytes) override {
      std::uint64_t left = env.space_.load();
      if (left != kNever) {
        if (left < bytes) return std::unexpected(IoError{IoStatus::kNoSpace, "allocate: no space"});
        env.space_.store(left - bytes);
      }
      return inner->allocate(bytes);
    }
    IoResult<void> sync() override { return inner->sync(); }
    IoResult<void> mark_used() override { return inner->mark_used(); }

    FaultEnv& env;
    const std::unique_ptr<File> inner;
  };

  static std::unexpected<IoError> gone(const std::string& path) {
    return std::unexpected(IoError{IoStatus::kNotFound, path + ": the directory is gone"});
  }
  static std::unexpected<IoError> full(const std::string& path) {
    return std::unexpected(IoError{IoStatus::kNoSpace, path + ": no space"});
  }
  static bool take(std::atomic<std::uint64_t>& left) {
    std::uint64_t now = left.load();
    while (now > 0) {
      if (left.compare_exchange_weak(now, now - 1)) return true;
    }
    return false;
  }
  static void flip(const ReadRequest& request) {
    const MutableBytes piece = request.pieces.front();
    piece[piece.size() / 2] ^= std::byte{0x10};
  }
  IoStatus next(Rule& rule) {
    const std::lock_guard lock(mutex_);
    if (rule.count == 0) return IoStatus::kOk;
    if (rule.skip > 0) {
      --rule.skip;
      return IoStatus::kOk;
    }
    if (rule.count != kNever) --rule.count;
    return rule.status;
  }

  template <typename Request, typename Good, typename Torn>
  void carry_out(std::span<const Request> requests, Rule& rule, Good good, const Done& done, Torn torn) {
    std::vector<Request> healthy;
    std::vector<std::size_t> back;
    std::vector<std::pair<std::size_t, IoStatus>> sick;
    for (std::size_t i = 0; i < requests.size(); ++i) {
      Request request = requests[i];
      request.file = static_cast<const FaultFile*>(request.file)->inner.get();
      if (const IoStatus status = next(rule); status != IoStatus::kOk) {
        torn(request);
        sick.emplace_back(i, status);
      } else {
        healthy.push_back(request);
        back.push_back(i);
      }
    }
    good(std::span<const Request>(healthy), back);
    for (const auto& [i, status] : sick) done(i, status);
  }

  void hang(bool on) {
    {
      const std::lock_guard lock(mutex_);
      hang_ = on;
    }
    wake_.notify_all();
  }
  void hang_here() {
    std::unique_lock lock(mutex_);
    if (!hang_) return;
    hanging_.fetch_add(1);
    wake_.wait(lock, [this] { return !hang_; });
    hanging_.fetch_sub(1);
  }

  Env& inner_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool hang_ = false;  // guarded by mutex_
  Rule reads_;         // guarded by mutex_
  Rule writes_;        // guarded by mutex_
  std::atomic<std::uint64_t> space_{kNever};
  std::atomic<std::uint64_t> flips_{0};
  std::atomic<std::uint64_t> read_requests_{0};
  std::atomic<int> hanging_{0};
  std::atomic<bool> gone_{false};
  std::atomic<bool> may_return_{true};
};

}  // namespace reprise::testing
