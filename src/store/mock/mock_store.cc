#include "store/mock/mock_store.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include "base/kernels.h"
#include "base/url.h"

namespace reprise {

MockStore::MockStore(MockOptions options)
    : info_{.name = "mock", .alignment = 1, .max_block_bytes = 1ULL << 40, .persistent = false, .can_erase = true},
      options_(options) {
  stats_.name = info_.name;
  stats_.capacity_bytes = options_.capacity;
}

Result<std::unique_ptr<Store>> MockStore::open(std::string_view text) {
  auto url = Url::parse(text);
  if (!url) return std::unexpected(url.error());
  if (!url->path().empty()) return fail(ErrorCode::kConfig, "mock: takes no path, got \"" + url->path() + "\"");
  const auto capacity = url->take_size("capacity", 0);
  if (!capacity) return std::unexpected(capacity.error());
  const auto delay = url->take_duration("delay", Duration(0));
  if (!delay) return std::unexpected(delay.error());
  if (const auto done = url->finish(); !done) return std::unexpected(done.error());
  return std::make_unique<MockStore>(MockOptions{.capacity = *capacity, .delay = *delay});
}

bool MockStore::wait(Deadline deadline) const {
  const TimePoint now = std::chrono::steady_clock::now();
  if (deadline.passed(now)) return false;
  if (options_.delay.count() <= 0) return true;
  if (!deadline.is_never() && deadline.when() - now <= options_.delay) {
    std::this_thread::sleep_until(deadline.when());
    return false;
  }
  std::this_thread::sleep_for(options_.delay);
  return true;
}

Result<void> MockStore::contains(std::span<const BlockId> ids, std::span<bool> present, Deadline deadline) {
  if (present.size() != ids.size()) return fail(ErrorCode::kInvalid, "contains: ids and present differ in length");
  const bool in_time = wait(deadline);
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < ids.size(); ++i) present[i] = in_time && blocks_.contains(ids[i]);
  return {};
}

void MockStore::read(std::span<ReadOp> ops, Deadline deadline) {
  const bool in_time = wait(deadline);
  for (ReadOp& op : ops) op.result = in_time ? read_one(op) : Reason::kTimeout;
}

Reason MockStore::read_one(ReadOp& op) {
  CopyPtr copy;
  {
    const std::lock_guard lock(mutex_);
    const auto found = blocks_.find(op.id);
    if (found == blocks_.end()) return Reason::kMiss;
    copy = found->second;
    if (copy->payload.size() != op.into.size()) {
      ++stats_.foreign;
      return Reason::kForeign;
    }
  }
  // Verified as any store does: a caller that passed a wrong checksum to write() finds out here.
  op.checksum = copy_block_checksum(op.into, copy->payload);
  const std::lock_guard lock(mutex_);
  if (op.checksum != copy->checksum) {
    ++stats_.corrupt;
    if (const auto found = blocks_.find(op.id); found != blocks_.end() && found->second == copy) {
      stats_.used_bytes -= copy->payload.size();
      --stats_.blocks;
      blocks_.erase(found);
    }
    return Reason::kCorrupt;
  }
  ++stats_.hits;
  stats_.read_bytes += op.into.size();
  return Reason::kNone;
}

void MockStore::write(std::span<WriteOp> ops, Deadline deadline) {
  const bool in_time = wait(deadline);
  for (WriteOp& op : ops) op.result = in_time ? write_one(op) : Reason::kTimeout;
}

Reason MockStore::write_one(const WriteOp& op) {
  const std::uint64_t bytes = op.payload.size();
  if (bytes == 0) return Reason::kUnsupported;
  if (options_.capacity != 0 && bytes > options_.capacity) return Reason::kFull;
  auto copy = std::make_shared<Copy>(Copy{{op.payload.begin(), op.payload.end()}, op.checksum});
  std::vector<CopyPtr> dropped;  // freed after the lock
  const std::lock_guard lock(mutex_);
  if (!blocks_.emplace(op.id, std::move(copy)).second) return Reason::kNone;
  order_.push_back(op.id);
  ++stats_.writes;
  ++stats_.blocks;
  stats_.write_bytes += bytes;
  stats_.used_bytes += bytes;
  while (options_.capacity != 0 && stats_.used_bytes > options_.capacity) {
    const auto victim = blocks_.find(order_.front());
    order_.pop_front();
    if (victim == blocks_.end()) continue;
    stats_.used_bytes -= victim->second->payload.size();
    --stats_.blocks;
    ++stats_.evictions;
    dropped.push_back(std::move(victim->second));
    blocks_.erase(victim);
  }
  return Reason::kNone;
}

Result<std::size_t> MockStore::erase(std::span<const BlockId> ids, Deadline deadline) {
  if (!wait(deadline)) return std::size_t{0};
  std::size_t erased = 0;
  const std::lock_guard lock(mutex_);
  for (const BlockId& id : ids) {
    const auto found = blocks_.find(id);
    if (found == blocks_.end()) continue;
    stats_.used_bytes -= found->second->payload.size();
    --stats_.blocks;
    ++erased;
    blocks_.erase(found);
    // A later write of the same id gets a place of its own.
    if (const auto place = std::find(order_.begin(), order_.end(), id); place != order_.end()) order_.erase(place);
  }
  return erased;
}

Result<void> MockStore::flush(Deadline) {
  return {};
}

TierStats MockStore::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

}  // namespace reprise
