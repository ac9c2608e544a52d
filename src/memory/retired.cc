// Slabs that are retired, and pages that go back to the system. See slabs.h.

#include <algorithm>

#include "memory/slabs.h"

namespace reprise {
namespace {

constexpr std::uint32_t kFreeBit = 0x80000000;
constexpr std::uint64_t kPage = 4096;
constexpr std::uint32_t kUnitsSearched = 4096;  // for one retired slab

}  // namespace

std::uint64_t SlabAllocator::retired_bytes(std::uint32_t slab_number, std::uint64_t live) const {
  const Slab& slab = slabs_[slab_number];
  const std::uint64_t block_bytes = classes_[slab.size_class].block_bytes;
  // Where pages end inside blocks, a block can lie in one more than it fills; a page's divisor never does.
  std::uint64_t pages = (block_bytes + kPage - 1) / kPage * kPage;
  if (block_bytes % kPage != 0 && kPage % block_bytes != 0) pages += kPage;
  return std::min(slab.blocks * block_bytes, live * pages);
}

std::uint64_t SlabAllocator::counted_bytes(std::uint32_t slab_number) const {
  const Slab& slab = slabs_[slab_number];
  if (slab.state == State::kRetired) return retired_bytes(slab_number, slab.live);
  return slab.blocks * classes_[slab.size_class].block_bytes;
}

void SlabAllocator::retire(std::uint32_t slab_number) {
  Slab& slab = slabs_[slab_number];
  if (slab.state != State::kClosed) return;
  cut_bytes_ -= counted_bytes(slab_number);
  slab.state = State::kRetired;
  cut_bytes_ += counted_bytes(slab_number);
  slab.dirty = units_of(classes_[slab.size_class].block_bytes) == 1;
  if (slab.dirty) push(dirty_, slab_number);
}

void SlabAllocator::free_retired(std::uint32_t unit) {
  Slab& slab = slabs_[unit];
  cut_bytes_ -= retired_bytes(unit, slab.live + 1ULL) - retired_bytes(unit, slab.live);
  if (slab.cleaning) {  // end_discard goes on
    slab.freed = true;
  } else if (slab.live == 0) {
    release(unit);
  } else if (!slab.dirty) {
    slab.dirty = true;
    push(dirty_, unit);
  }
}

std::optional<SlabAllocator::Victim> SlabAllocator::next_retired() {
  const auto units = static_cast<std::uint32_t>(slabs_.size());
  for (std::uint32_t i = 0; i < std::min(units, kUnitsSearched); ++i) {
    cursor_ = cursor_ + 1 < units ? cursor_ + 1 : 0;
    const Slab& slab = slabs_[cursor_];
    if (slab.state != State::kRetired || slab.live == 0) continue;
    return Victim{cursor_, classes_[slab.size_class].block_bytes, slab.live};
  }
  return std::nullopt;
}

void SlabAllocator::list_free_pages(std::uint32_t unit, Discard& out) const {
  const Slab& slab = slabs_[unit];
  const std::uint64_t block_bytes = classes_[slab.size_class].block_bytes;
  const std::uint64_t start = unit * kSlabBytes;
  const std::uint64_t pages = (slab.pages + kPage - 1) / kPage * kPage;
  std::uint64_t free_from = 0;
  for (std::uint32_t i = 0; i < slab.fresh; ++i) {
    if ((slab.chunks[i] & kFreeBit) != 0) continue;
    const std::uint64_t first = i * block_bytes / kPage * kPage;
    if (first > free_from) out.ranges.emplace_back(start + free_from, first - free_from);
    const std::uint64_t end = ((i + 1) * block_bytes + kPage - 1) / kPage * kPage;
    out.kept += static_cast<std::uint32_t>(end - std::max(first, free_from));
    free_from = end;
  }
  if (pages > free_from) out.ranges.emplace_back(start + free_from, pages - free_from);
}

bool SlabAllocator::begin_discard(Discard& out) {
  if (!wants_discard()) return false;
  out.kept = 0;
  out.ranges.clear();
  // First what no new slab can use.
  out.slab = dirty_ != kNone ? dirty_ : warm_;
  Slab& slab = slabs_[out.slab];
  if (out.slab == dirty_) {
    remove(dirty_, out.slab);
    slab.dirty = false;
    slab.cleaning = true;
    slab.freed = false;
    list_free_pages(out.slab, out);
  } else {
    remove(warm_, out.slab);
    slab.state = State::kCleaned;
    out.ranges.emplace_back(out.slab * kSlabBytes, (slab.pages + kPage - 1) / kPage * kPage);
  }
  page_bytes_ -= slab.pages;
  page_bytes_ += out.kept;
  slab.pages = out.kept;
  return true;
}

void SlabAllocator::end_discard(const Discard& discard) {
  Slab& slab = slabs_[discard.slab];
  if (slab.state == State::kCleaned) {
    slab.state = State::kFree;
    lowest_free_ = std::min(lowest_free_, discard.slab);
    return;
  }
  slab.cleaning = false;
  if (slab.live == 0) {
    release(discard.slab);
    return;
  }
  slab.dirty = slab.freed;
  if (slab.dirty) push(dirty_, discard.slab);
}

}  // namespace reprise
