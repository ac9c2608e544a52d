#include "l1/index.h"

namespace reprise {
namespace {

// 75 % of the cells used: few buckets overflow, so nearly every search reads one line.
constexpr std::uint64_t buckets_for(std::uint64_t entries) {
  return entries * 4 / 21 + 1;
}

}  // namespace

BlockIndex::BlockIndex() : limit_(5) {
  tables_.push_back(std::make_unique<Buckets>(buckets_for(limit_)));
  current_.store(tables_.back().get(), std::memory_order_release);
}

void BlockIndex::grow(std::uint64_t entries, const std::function<void(const Insert&)>& enumerate) {
  auto next = std::make_unique<Buckets>(buckets_for(entries));
  enumerate([&](std::uint64_t hash, BlockSlot slot) { insert_into(*next, hash, slot); });
  current_.store(next.get(), std::memory_order_release);
  tables_.push_back(std::move(next));
  limit_ = entries;
}

void BlockIndex::insert_into(Buckets& buckets, std::uint64_t hash, BlockSlot slot) {
  for (std::uint64_t b = buckets.home(hash);; b = buckets.after(b)) {
    Bucket& bucket = buckets.table[b];
    for (auto& cell : bucket.cells) {
      if (cell.load(std::memory_order_relaxed) == 0) {
        cell.store(cell_of(hash, slot), std::memory_order_release);
        return;
      }
    }
    bucket.passed_by.fetch_add(1, std::memory_order_release);  // before the cell appears further on
  }
}

void BlockIndex::insert(std::uint64_t hash, BlockSlot slot) {
  insert_into(*tables_.back(), hash, slot);
  ++size_;
}

void BlockIndex::erase(std::uint64_t hash, BlockSlot slot) {
  Buckets& buckets = *tables_.back();
  const std::uint64_t home = buckets.home(hash);
  const std::uint64_t wanted = cell_of(hash, slot);
  std::uint64_t b = home;
  for (std::uint64_t walked = 0; walked < buckets.count; ++walked, b = buckets.after(b)) {
    for (auto& cell : buckets.table[b].cells) {
      if (cell.load(std::memory_order_relaxed) != wanted) continue;
      cell.store(0, std::memory_order_release);
      for (std::uint64_t passed = home; passed != b; passed = buckets.after(passed)) {
        buckets.table[passed].passed_by.fetch_sub(1, std::memory_order_release);
      }
      --size_;
      return;
    }
    if (buckets.table[b].passed_by.load(std::memory_order_relaxed) == 0) return;
  }
}

std::uint64_t BlockIndex::bytes() const {
  std::uint64_t total = 0;
  for (const auto& table : tables_) total += table->count * sizeof(Bucket);
  return total;
}

}  // namespace reprise
