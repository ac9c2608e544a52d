#include "memory/slabs.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <tuple>

namespace reprise {
namespace {

constexpr std::uint32_t kFreeBit = 0x80000000;
constexpr std::uint32_t kEndOfList = 0x7FFFFFFF;
// How many of the least full slabs of a size are compared; they are within a sixteenth of each other.
constexpr int kCompared = 64;

}  // namespace

std::uint64_t SlabAllocator::arena_bytes_for(std::uint64_t max_slab_bytes) {
  // The worst block size uses just over half of its units, and as many may be retired; and the last slab of each size
  // may be a short one.
  constexpr std::uint64_t kShortSlabs = 16;
  return (4 * max_slab_bytes + kSlabBytes - 1) / kSlabBytes * kSlabBytes + kShortSlabs * kSlabBytes;
}

SlabAllocator::SlabAllocator(const SlabOptions& options) : options_(options) {
  assert(std::has_single_bit(options.alignment) && options.alignment <= kSlabBytes);
  slabs_.resize((options.arena_bytes + kSlabBytes - 1) / kSlabBytes);
}

std::optional<std::uint64_t> SlabAllocator::allocate(std::uint64_t bytes, std::uint32_t owner) {
  assert(bytes > 0 && owner <= kMaxOwner);
  const std::uint64_t block_bytes = rounded(bytes);
  std::uint32_t index = find_class(block_bytes);
  if (index == kNone) {
    if (!can_cut(bytes)) return std::nullopt;
    index = static_cast<std::uint32_t>(classes_.size());
    SizeClass& added = classes_.emplace_back();
    added.block_bytes = block_bytes;
    added.heads.fill(kNone);
  }
  SizeClass& size_class = classes_[index];
  const std::uint32_t partial = size_class.mask & ~(1U << kFull);
  std::uint32_t unit = 0;
  if (partial != 0) {
    unit = size_class.heads[static_cast<std::uint32_t>(std::bit_width(partial)) - 1];
  } else {
    unit = cut(index);
    if (unit == kNone) return std::nullopt;
  }
  Slab& slab = slabs_[unit];
  std::uint32_t chunk = slab.free_head;
  if (chunk != kEndOfList) {
    slab.free_head = slab.chunks[chunk] & ~kFreeBit;
  } else {
    chunk = slab.fresh++;
  }
  slab.chunks[chunk] = owner;
  if (slab.live++ == 0) size_class.empty = kNone;
  --size_class.free_chunks;
  live_bytes_ += block_bytes;
  refile(unit);
  return unit * kSlabBytes + chunk * block_bytes;
}

void SlabAllocator::free(std::uint64_t offset) {
  const auto unit = static_cast<std::uint32_t>(offset / kSlabBytes);
  Slab& slab = slabs_[unit];
  SizeClass& size_class = classes_[slab.size_class];
  const std::uint32_t chunk = chunk_index(slab, offset);
  assert(chunk < slab.fresh && (slab.chunks[chunk] & kFreeBit) == 0);
  slab.chunks[chunk] = slab.free_head | kFreeBit;
  slab.free_head = chunk;
  --slab.live;
  live_bytes_ -= size_class.block_bytes;
  if (slab.state == State::kRetired) {
    free_retired(unit);
    return;
  }
  if (slab.state == State::kClosed) {
    if (slab.live == 0) release(unit);
    return;
  }
  ++size_class.free_chunks;
  if (slab.live > 0) {
    refile(unit);
  } else if (size_class.empty == kNone) {
    size_class.empty = unit;
    refile(unit);
  } else {
    release(unit);
  }
}

void SlabAllocator::set_owner(std::uint64_t offset, std::uint32_t owner) {
  assert(owner <= kMaxOwner);
  Slab& slab = slabs_[offset / kSlabBytes];
  slab.chunks[chunk_index(slab, offset)] = owner;
}

std::uint32_t SlabAllocator::owner(std::uint64_t offset) const {
  const Slab& slab = slabs_[offset / kSlabBytes];
  const std::uint32_t word = slab.chunks[chunk_index(slab, offset)];
  assert((word & kFreeBit) == 0);
  return word;
}

std::uint64_t SlabAllocator::free_chunks(std::uint64_t bytes) const {
  const std::uint32_t index = find_class(rounded(bytes));
  return index == kNone ? 0 : classes_[index].free_chunks;
}

bool SlabAllocator::can_cut(std::uint64_t bytes) const {
  const std::uint64_t block_bytes = rounded(bytes);
  const std::uint32_t own = find_class(block_bytes);
  // What cutting would first take back: the empty slabs kept for other sizes.
  std::uint64_t budget = options_.max_slab_bytes - cut_bytes_;
  for (std::uint32_t i = 0; i < classes_.size(); ++i) {
    const SizeClass& other = classes_[i];
    if (i != own && other.empty != kNone) budget += slabs_[other.empty].blocks * other.block_bytes;
  }
  if (budget < block_bytes) return false;
  return (own != kNone && classes_[own].growing != kNone) || free_run(block_bytes, own, true) != kNone;
}

bool SlabAllocator::has_addresses(std::uint64_t bytes) const {
  const std::uint32_t own = find_class(rounded(bytes));
  return (own != kNone && classes_[own].growing != kNone) || free_run(rounded(bytes), kNone, false) != kNone;
}

void SlabAllocator::live_blocks(std::uint32_t slab_number,
                                std::vector<std::pair<std::uint64_t, std::uint32_t>>& out) const {
  const Slab& slab = slabs_[slab_number];
  if (slab.blocks == 0) return;
  const std::uint64_t block_bytes = classes_[slab.size_class].block_bytes;
  for (std::uint32_t i = 0; i < slab.fresh; ++i) {
    if ((slab.chunks[i] & kFreeBit) == 0) out.emplace_back(slab_number * kSlabBytes + i * block_bytes, slab.chunks[i]);
  }
}

void SlabAllocator::close(std::uint32_t slab_number) {
  Slab& slab = slabs_[slab_number];
  if (slab.state != State::kOpen) return;
  if (slab.live == 0) {
    release(slab_number);
    return;
  }
  unlink(slab_number);
  slab.state = State::kClosed;
  SizeClass& size_class = classes_[slab.size_class];
  size_class.free_chunks -= slab.blocks - slab.live;
  if (size_class.growing == slab_number) size_class.growing = kNone;
}

void SlabAllocator::reopen(std::uint32_t slab_number) {
  Slab& slab = slabs_[slab_number];
  if (slab.state != State::kClosed) return;
  slab.state = State::kOpen;
  SizeClass& size_class = classes_[slab.size_class];
  size_class.free_chunks += slab.blocks - slab.live;
  if (slab.blocks < blocks_at(slab_number, size_class.block_bytes)) size_class.growing = slab_number;
  link(slab_number);
}

std::optional<SlabAllocator::Victim> SlabAllocator::emptiest_slab(std::uint64_t wanted_bytes) const {
  const std::uint64_t wanted = rounded(wanted_bytes);
  const std::uint32_t own = find_class(wanted);
  // A block larger than a slab needs neighbouring units, wherever they are; more budget alone would not help it.
  if (wanted > kSlabBytes && free_run(wanted, own, true) == kNone) return cheapest_window(wanted, own);
  std::optional<Victim> best;
  std::pair<bool, std::uint64_t> best_cost;
  for (std::uint32_t i = 0; i < classes_.size(); ++i) {
    const SizeClass& other = classes_[i];
    if (i == own || other.mask == 0) continue;
    int left = kCompared;
    for (std::uint32_t unit = other.heads[static_cast<std::uint32_t>(std::countr_zero(other.mask))];
         unit != kNone && left > 0; unit = slabs_[unit].next, --left) {
      const Slab& slab = slabs_[unit];
      const std::pair<bool, std::uint64_t> cost{!movable(slab), slab.live * other.block_bytes};
      if (best && cost >= best_cost) continue;
      best_cost = cost;
      best = Victim{unit, other.block_bytes, slab.live};
    }
  }
  return best;
}

std::optional<SlabAllocator::Victim> SlabAllocator::cheapest_window(std::uint64_t wanted, std::uint32_t own) const {
  const std::uint32_t units = units_of(wanted);
  std::optional<Victim> best;
  std::uint64_t best_cost = 0;
  for (std::uint32_t first = 0; first * kSlabBytes + wanted <= options_.arena_bytes; ++first) {
    std::uint64_t cost = 0;
    std::optional<Victim> member;
    bool possible = true;
    for (std::uint32_t unit = first; unit < first + units && possible; ++unit) {
      const std::uint32_t head = head_of(unit);
      const Slab& slab = slabs_[head];
      if (slab.state == State::kFree || (unit != first && head == head_of(unit - 1))) continue;
      const std::uint64_t block_bytes = classes_[slab.size_class].block_bytes;
      possible = slab.state == State::kOpen && slab.size_class != own;
      cost += slab.live * block_bytes;
      if (slab.live > 0 && !member) member = Victim{head, block_bytes, slab.live};
    }
    if (!possible || !member || (best && cost >= best_cost)) continue;
    best = member;
    best_cost = cost;
  }
  return best;
}

SlabAllocator::Report SlabAllocator::report() const {
  return {live_bytes_, cut_bytes_, page_bytes_, cut_slabs_,
          slabs_.capacity() * sizeof(Slab) + classes_.capacity() * sizeof(SizeClass) + chunk_words_ * 4};
}

std::uint64_t SlabAllocator::rounded(std::uint64_t bytes) const {
  return (bytes + options_.alignment - 1) & ~static_cast<std::uint64_t>(options_.alignment - 1);
}

std::uint32_t SlabAllocator::units_of(std::uint64_t block_bytes) const {
  return block_bytes <= kSlabBytes ? 1 : static_cast<std::uint32_t>((block_bytes + kSlabBytes - 1) / kSlabBytes);
}

std::uint32_t SlabAllocator::find_class(std::uint64_t block_bytes) const {
  for (std::uint32_t i = 0; i < classes_.size(); ++i) {
    if (classes_[i].block_bytes == block_bytes) return i;
  }
  return kNone;
}

std::uint32_t SlabAllocator::chunk_index(const Slab& slab, std::uint64_t offset) const {
  // 32-bit division, twice as fast: inside a slab both are below 2^32, and a larger block starts its slab.
  const auto inside = static_cast<std::uint32_t>(offset % kSlabBytes);
  if (slab.blocks == 1) return 0;
  return inside / static_cast<std::uint32_t>(classes_[slab.size_class].block_bytes);
}

std::uint64_t SlabAllocator::blocks_at(std::uint32_t unit, std::uint64_t block_bytes) const {
  const std::uint64_t left = options_.arena_bytes - unit * kSlabBytes;
  if (block_bytes > kSlabBytes) return block_bytes <= left ? 1 : 0;
  return std::min(left, kSlabBytes) / block_bytes;
}

bool SlabAllocator::takes(std::uint32_t unit, std::uint32_t own_class, bool with_empty) const {
  const Slab& slab = slabs_[unit];
  if (slab.state == State::kFree) return true;
  if (!with_empty) return false;
  const Slab& head = slabs_[head_of(unit)];
  return head.state == State::kOpen && head.live == 0 && head.size_class != own_class;
}

std::uint32_t SlabAllocator::free_run(std::uint64_t block_bytes, std::uint32_t own_class, bool with_empty) const {
  const std::uint32_t units = units_of(block_bytes);
  std::uint32_t run = 0;
  for (std::uint32_t unit = with_empty ? 0 : lowest_free_; unit < slabs_.size(); ++unit) {
    run = takes(unit, own_class, with_empty) ? run + 1 : 0;
    if (run < units) continue;
    const std::uint32_t first = unit + 1 - units;
    if (blocks_at(first, block_bytes) > 0) return first;
  }
  return kNone;
}

std::uint32_t SlabAllocator::head_of(std::uint32_t unit) const {
  while (slabs_[unit].state == State::kInside) --unit;
  return unit;
}

bool SlabAllocator::movable(const Slab& slab) const {
  // Its own free blocks are no place to go.
  return classes_[slab.size_class].free_chunks - (slab.blocks - slab.live) >= slab.live;
}

std::uint32_t SlabAllocator::cut(std::uint32_t index) {
  SizeClass& size_class = classes_[index];
  const std::uint64_t block_bytes = size_class.block_bytes;
  const std::uint64_t whole = std::max(kSlabBytes / block_bytes, std::uint64_t{1}) * block_bytes;
  std::uint32_t unit = place_for(index);
  while (unit == kNone || options_.max_slab_bytes - cut_bytes_ < whole) {
    if (!release_an_empty(index)) break;
    unit = place_for(index);
  }
  // A short slab at the end of the budget makes a capacity of N blocks hold exactly N. It grows with the budget, which
  // retired slabs give back bit by bit: or there would soon be many short ones.
  const std::uint64_t budget = (options_.max_slab_bytes - cut_bytes_) / block_bytes;
  if (unit == kNone || budget == 0) return kNone;
  const std::uint64_t room = blocks_at(unit, block_bytes);
  Slab& slab = slabs_[unit];
  if (slab.state == State::kOpen) {
    lengthen(unit, std::min(room - slab.blocks, budget));
    return unit;
  }
  for (std::uint32_t i = 0; i < units_of(block_bytes); ++i) {
    if (slabs_[unit + i].pages > 0) remove(warm_, unit + i);
  }
  slab.blocks = static_cast<std::uint32_t>(std::min(room, budget));
  slab.chunks = std::make_unique_for_overwrite<std::uint32_t[]>(room);
  slab.size_class = index;
  slab.live = 0;
  slab.free_head = kEndOfList;
  slab.fresh = 0;
  slab.state = State::kOpen;
  for (std::uint32_t i = 1; i < units_of(block_bytes); ++i) slabs_[unit + i].state = State::kInside;
  while (lowest_free_ < slabs_.size() && slabs_[lowest_free_].state != State::kFree) ++lowest_free_;
  size_class.free_chunks += slab.blocks;
  size_class.empty = unit;
  if (slab.blocks < room) size_class.growing = unit;
  cut_bytes_ += slab.blocks * block_bytes;
  chunk_words_ += room;
  ++cut_slabs_;
  note_pages(unit);
  link(unit);
  return unit;
}

std::uint32_t SlabAllocator::place_for(std::uint32_t index) const {
  const SizeClass& size_class = classes_[index];
  if (size_class.growing != kNone) return size_class.growing;
  const bool warm = warm_ != kNone && size_class.block_bytes <= kSlabBytes;
  if (warm && blocks_at(warm_, size_class.block_bytes) > 0) return warm_;
  return free_run(size_class.block_bytes, index, false);
}

void SlabAllocator::lengthen(std::uint32_t unit, std::uint64_t blocks) {
  Slab& slab = slabs_[unit];
  SizeClass& size_class = classes_[slab.size_class];
  unlink(unit);
  slab.blocks += static_cast<std::uint32_t>(blocks);
  link(unit);
  size_class.free_chunks += blocks;
  if (slab.blocks == blocks_at(unit, size_class.block_bytes)) size_class.growing = kNone;
  cut_bytes_ += blocks * size_class.block_bytes;
  note_pages(unit);
}

void SlabAllocator::note_pages(std::uint32_t unit) {
  std::uint64_t left = slabs_[unit].blocks * classes_[slabs_[unit].size_class].block_bytes;
  for (; left > 0; ++unit) {
    const std::uint64_t here = std::min(left, kSlabBytes);
    left -= here;
    Slab& slab = slabs_[unit];
    if (here <= slab.pages) continue;
    page_bytes_ += here - slab.pages;
    slab.pages = static_cast<std::uint32_t>(here);
  }
}

bool SlabAllocator::release_an_empty(std::uint32_t other_than) {
  for (std::uint32_t i = 0; i < classes_.size(); ++i) {
    if (i == other_than || classes_[i].empty == kNone) continue;
    release(classes_[i].empty);
    return true;
  }
  return false;
}

void SlabAllocator::release(std::uint32_t unit) {
  Slab& slab = slabs_[unit];
  SizeClass& size_class = classes_[slab.size_class];
  assert(slab.live == 0);
  if (slab.state == State::kOpen) {
    unlink(unit);
    size_class.free_chunks -= slab.blocks;
  }
  if (size_class.empty == unit) size_class.empty = kNone;
  if (size_class.growing == unit) size_class.growing = kNone;
  if (slab.dirty) remove(dirty_, unit);
  cut_bytes_ -= counted_bytes(unit);
  chunk_words_ -= blocks_at(unit, size_class.block_bytes);
  --cut_slabs_;
  for (std::uint32_t i = 0, units = units_of(size_class.block_bytes); i < units; ++i) {
    const std::uint32_t pages = slabs_[unit + i].pages;
    slabs_[unit + i] = Slab{};
    slabs_[unit + i].pages = pages;
    if (pages > 0) push(warm_, unit + i);
  }
  lowest_free_ = std::min(lowest_free_, unit);
}

void SlabAllocator::push(std::uint32_t& head, std::uint32_t unit) {
  slabs_[unit].prev = kNone;
  slabs_[unit].next = head;
  if (head != kNone) slabs_[head].prev = unit;
  head = unit;
}

void SlabAllocator::remove(std::uint32_t& head, std::uint32_t unit) {
  const Slab& slab = slabs_[unit];
  (slab.prev != kNone ? slabs_[slab.prev].next : head) = slab.next;
  if (slab.next != kNone) slabs_[slab.next].prev = slab.prev;
}

void SlabAllocator::link(std::uint32_t unit) {
  Slab& slab = slabs_[unit];
  SizeClass& size_class = classes_[slab.size_class];
  slab.bucket = static_cast<std::uint8_t>(std::uint64_t{slab.live} * kFull / slab.blocks);
  std::uint32_t& head = size_class.heads[slab.bucket];
  slab.prev = kNone;
  slab.next = head;
  if (head != kNone) slabs_[head].prev = unit;
  head = unit;
  size_class.mask |= 1U << slab.bucket;
}

void SlabAllocator::unlink(std::uint32_t unit) {
  const Slab& slab = slabs_[unit];
  SizeClass& size_class = classes_[slab.size_class];
  if (slab.prev != kNone) {
    slabs_[slab.prev].next = slab.next;
  } else {
    size_class.heads[slab.bucket] = slab.next;
    if (slab.next == kNone) size_class.mask &= ~(1U << slab.bucket);
  }
  if (slab.next != kNone) slabs_[slab.next].prev = slab.prev;
}

void SlabAllocator::refile(std::uint32_t unit) {
  const Slab& slab = slabs_[unit];
  if (slab.bucket == std::uint64_t{slab.live} * kFull / slab.blocks) return;
  unlink(unit);
  link(unit);
}

}  // namespace reprise
