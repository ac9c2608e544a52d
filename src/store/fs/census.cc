#include "store/fs/census.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/stored_block.h"

namespace reprise::fs {
namespace {

std::string slot_name(int slot) {
  static constexpr char kDigits[] = "0123456789abcdef";
  return {kDigits[slot >> 4], kDigits[slot & 15]};
}

bool late(Deadline deadline) {
  return !deadline.is_never() && deadline.passed(std::chrono::steady_clock::now());
}

constexpr auto kOldestLast = [](const auto& a, const auto& b) { return a.used < b.used; };

}  // namespace

Census::Census(Env& env, const Layout& layout, CensusOptions options)
    : env_(env), layout_(layout), options_(options), slot_(static_cast<int>(options.seed % kSlots)) {
  // Where nothing is counted, what this process does is all there is to tell.
  const auto there = env_.list_directories(layout_.root());
  const bool empty = there && std::ranges::none_of(*there, [](const auto& name) { return is_hex(name, 32); });
  if (empty || (options_.capacity == 0 && options_.ttl_seconds == 0)) {
    for (Slot& slot : slots_) slot.known.store(true, std::memory_order_relaxed);
  }
}

void Census::added(const BlockId& id, std::int64_t payload_bytes, std::int64_t files) {
  Slot& slot = slots_[static_cast<std::size_t>(slot_of(id))];
  slot.bytes.fetch_add(payload_bytes, std::memory_order_relaxed);
  slot.files.fetch_add(files, std::memory_order_relaxed);
}

void Census::removed(const BlockId& id, std::int64_t payload_bytes) {
  added(id, -payload_bytes, -1);
}

std::uint64_t Census::total(std::atomic<std::int64_t> Slot::* figure) const {
  std::int64_t sum = 0;
  std::int64_t known_sum = 0;
  std::int64_t known = 0;
  for (const Slot& slot : slots_) {
    const std::int64_t value = (slot.*figure).load(std::memory_order_relaxed);
    sum += value;
    if (!slot.known.load(std::memory_order_relaxed)) continue;
    known_sum += value;
    ++known;
  }
  if (known > 0 && known < kSlots) sum = std::max(sum, known_sum * kSlots / known);
  return static_cast<std::uint64_t>(std::max<std::int64_t>(sum, 0));
}

void Census::tidy(std::uint64_t blocks, std::uint64_t bytes, WallTime now, Deadline deadline) {
  if (options_.capacity == 0 && options_.ttl_seconds == 0) return;
  owed_blocks_.fetch_add(blocks, std::memory_order_relaxed);
  owed_bytes_.fetch_add(bytes, std::memory_order_relaxed);
  if (walking_.test_and_set(std::memory_order_acquire)) return;  // Another thread walks, or the next one will.
  const std::uint64_t looks = owed_blocks_.exchange(0, std::memory_order_relaxed) * kLooksPerBlock;
  const std::uint64_t may_go = owed_bytes_.exchange(0, std::memory_order_relaxed) * 2;
  walk(std::min(looks, kMaxLooks), now, deadline);
  if (options_.capacity != 0) evict(may_go, deadline);
  walking_.clear(std::memory_order_release);
}

void Census::walk(std::uint64_t looks, WallTime now, Deadline deadline) {
  std::uint64_t done = 0;
  while (done < looks && !late(deadline)) {
    if (!in_slot_ && slots_left_ == 0) {
      done += begin_round();
    } else if (!in_slot_) {
      begin_slot();
    } else if (!directories_.empty()) {
      const std::string directory = std::move(directories_.back());
      directories_.pop_back();
      done += look_into(directory, now);
    } else if (entered_ < namespaces_.size()) {
      done += enter_namespace();
    } else {
      end_slot();
    }
  }
}

std::uint64_t Census::begin_round() {
  slots_left_ = kSlots;
  namespaces_.clear();
  auto names = env_.list_directories(layout_.root());
  if (!names) return 1;
  for (std::string& name : *names) {
    if (is_hex(name, 32) && namespaces_.size() < kMaxNamespaces) namespaces_.push_back(std::move(name));
  }
  return 1;
}

void Census::begin_slot() {
  in_slot_ = true;
  entered_ = 0;
  found_ = {};
  const Slot& slot = slots_[static_cast<std::size_t>(slot_)];
  before_ = {slot.bytes.load(std::memory_order_relaxed), slot.files.load(std::memory_order_relaxed)};
}

std::uint64_t Census::enter_namespace() {
  const std::string path = layout_.root() + "/" + namespaces_[entered_++] + "/" + slot_name(slot_);
  const auto leaves = env_.list_directories(path);
  if (!leaves) return 1;
  for (const std::string& leaf : *leaves) {
    if (is_hex(leaf, 2)) directories_.push_back(path + "/" + leaf);
  }
  return 1;
}

void Census::end_slot() {
  // What was written or removed here during the walk stays on top: counted twice at worst, until the next round.
  Slot& slot = slots_[static_cast<std::size_t>(slot_)];
  slot.bytes.fetch_add(found_.bytes - before_.bytes, std::memory_order_relaxed);
  slot.files.fetch_add(found_.files - before_.files, std::memory_order_relaxed);
  slot.known.store(true, std::memory_order_relaxed);
  in_slot_ = false;
  slot_ = (slot_ + 1) % kSlots;
  --slots_left_;
}

std::uint64_t Census::look_into(const std::string& directory, WallTime now) {
  const auto names = env_.list(directory);
  if (!names) return 1;
  const auto ttl = std::chrono::seconds(options_.ttl_seconds);
  for (const std::string& name : *names) {
    if (!is_hex(name, 32)) continue;
    std::string path = directory + "/" + name;
    const auto info = env_.info(path);
    if (!info || info->bytes < kStoredBlockHeaderBytes) continue;
    const auto bytes = static_cast<std::int64_t>(info->bytes - kStoredBlockHeaderBytes);
    if (options_.ttl_seconds != 0 && now - info->written >= ttl) {
      if (env_.remove(path)) evictions_.fetch_add(1, std::memory_order_relaxed);
      continue;
    }
    found_.bytes += bytes;
    ++found_.files;
    if (options_.capacity != 0) consider(std::max(info->used, info->written), std::move(path));
  }
  return 1 + names->size();
}

void Census::consider(WallTime used, std::string path) {
  if (candidates_.size() == kMaxCandidates) {
    if (used >= candidates_.front().used) return;
    std::ranges::pop_heap(candidates_, kOldestLast);
    candidates_.pop_back();
  }
  candidates_.push_back({used, std::move(path), slot_});
  std::ranges::push_heap(candidates_, kOldestLast);
}

void Census::evict(std::uint64_t bytes, Deadline deadline) {
  if (used_bytes() <= options_.capacity || candidates_.empty()) return;
  std::ranges::sort(candidates_, [](const Candidate& a, const Candidate& b) { return a.used > b.used; });
  std::uint64_t gone = 0;
  while (gone < bytes && !candidates_.empty() && used_bytes() > options_.capacity && !late(deadline)) {
    const Candidate oldest = std::move(candidates_.back());
    candidates_.pop_back();
    const auto info = env_.info(oldest.path);
    // Used since it was looked at, or gone already: not the oldest any more.
    if (!info || std::max(info->used, info->written) > oldest.used) continue;
    const std::uint64_t payload = info->bytes - std::min<std::uint64_t>(info->bytes, kStoredBlockHeaderBytes);
    if (drop(oldest.path, oldest.slot, static_cast<std::int64_t>(payload))) gone += std::max<std::uint64_t>(payload, 1);
  }
  std::ranges::make_heap(candidates_, kOldestLast);
}

bool Census::drop(const std::string& path, int slot, std::int64_t bytes) {
  if (!env_.remove(path)) return false;
  evictions_.fetch_add(1, std::memory_order_relaxed);
  Slot& at = slots_[static_cast<std::size_t>(slot)];
  at.bytes.fetch_sub(bytes, std::memory_order_relaxed);
  at.files.fetch_sub(1, std::memory_order_relaxed);
  return true;
}

}  // namespace reprise::fs
