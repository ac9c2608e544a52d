// A store in this process's memory: for tests, for measuring the engine without a disk, and as the smallest example of
// a backend. Thread-safe. Owns copies of what is written.
//
// `mock:?capacity=64MiB&delay=2ms`: without a capacity it keeps everything; with one, the oldest blocks go first.
// `delay` is waited in every call, up to the call's deadline.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "reprise/store.h"

namespace reprise {

struct MockOptions {
  std::uint64_t capacity = 0;  ///< Payload bytes; 0 = no bound.
  Duration delay{0};
};

class MockStore final : public Store {
 public:
  explicit MockStore(MockOptions options = {});
  /// Fails with kConfig, naming the option.
  [[nodiscard]] static Result<std::unique_ptr<Store>> open(std::string_view url);

  [[nodiscard]] const StoreInfo& info() const override { return info_; }
  [[nodiscard]] Result<void> contains(std::span<const BlockId> ids, std::span<bool> present,
                                      Deadline deadline) override;
  void read(std::span<ReadOp> ops, Deadline deadline) override;
  void write(std::span<WriteOp> ops, Deadline deadline) override;
  [[nodiscard]] Result<std::size_t> erase(std::span<const BlockId> ids, Deadline deadline) override;
  [[nodiscard]] Result<void> flush(Deadline deadline) override;
  [[nodiscard]] TierStats stats() const override;

 private:
  struct Copy {
    std::vector<std::byte> payload;
    std::uint64_t checksum;
  };
  struct IdHash {
    std::size_t operator()(const BlockId& id) const noexcept {
      return std::hash<BlockKey>()(id.key) ^ std::hash<NamespaceId>()(id.ns);
    }
  };
  // Shared with readers, who copy out of it after the lock is released.
  using CopyPtr = std::shared_ptr<const Copy>;

  /// False when the deadline passed first.
  [[nodiscard]] bool wait(Deadline deadline) const;
  Reason read_one(ReadOp& op);
  Reason write_one(const WriteOp& op);

  const StoreInfo info_;
  const MockOptions options_;
  mutable std::mutex mutex_;
  std::unordered_map<BlockId, CopyPtr, IdHash> blocks_;  // guarded by mutex_
  std::deque<BlockId> order_;                            // guarded by mutex_; oldest first, may hold erased ids
  TierStats stats_;                                      // guarded by mutex_
};

}  // namespace reprise
