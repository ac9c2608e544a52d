#include "store/disk/catalog.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace reprise::disk {
namespace {

// Three quarters full at most, growing by 1.4: 5.3 to 7.5 bytes a block, 40 with the entry.
constexpr std::size_t kFullNumerator = 3;
constexpr std::size_t kFullDenominator = 4;
constexpr double kGrowth = 1.4;
constexpr std::size_t kMaxKinds = 65'535;

}  // namespace

Catalog::Catalog(std::uint32_t max_records, std::uint64_t seed)
    : bits_(static_cast<std::uint32_t>(std::bit_width(std::max(max_records, 2U) - 1))),
      mask_((1U << bits_) - 1),
      seed_(seed),
      slots_(64, kEmpty) {}

std::uint64_t Catalog::hash(const NamespaceId& ns, const BlockKey& key) const {
  // Seeded, because keys may come from whoever sends prompts.
  const auto product = static_cast<unsigned __int128>(key.word(0) ^ seed_) * ((key.word(1) ^ ns.word(0)) | 1);
  std::uint64_t h = static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
  h = (h ^ ns.word(1) ^ key.word(0)) * 0x9E3779B97F4A7C15ULL;
  return h ^ (h >> 32) ^ (h << 29);
}

std::size_t Catalog::home(std::uint64_t hash_value) const {
  return static_cast<std::size_t>((static_cast<unsigned __int128>(hash_value) * slots_.size()) >> 64);
}

std::size_t Catalog::position(const BlockId& id) const {
  std::size_t at = home(hash(id.ns, id.key));
  while (slots_[at] != kEmpty) {
    const Entry& e = entry(slots_[at]);
    if (e.key == id.key && kinds_[e.kind].ns == id.ns) break;
    at = at + 1 == slots_.size() ? 0 : at + 1;
  }
  return at;
}

void Catalog::remove_at(std::size_t hole) {
  // Backward shift: no gravestones, so that a table of much coming and going does not silt up.
  std::size_t at = hole;
  for (;;) {
    at = at + 1 == slots_.size() ? 0 : at + 1;
    if (slots_[at] == kEmpty) break;
    const Entry& e = entry(slots_[at]);
    const std::size_t want = home(hash(kinds_[e.kind].ns, e.key));
    const bool stays = hole <= at ? (hole < want && want <= at) : (hole < want || want <= at);
    if (stays) continue;
    slots_[hole] = slots_[at];
    hole = at;
  }
  slots_[hole] = kEmpty;
}

void Catalog::insert(std::uint32_t number, const BlockId& id) {
  slots_[position(id)] = number;
  Entry& e = entry(number);
  e.state = kLive;
  ++blocks_;
  payload_bytes_ += kinds_[e.kind].length;
}

void Catalog::kill(std::uint32_t number) {
  Entry& e = entry(number);
  e.state = kDead;
  --blocks_;
  payload_bytes_ -= kinds_[e.kind].length;
}

std::optional<std::uint16_t> Catalog::kind_of(const NamespaceId& ns, std::uint32_t length) {
  const auto found = kind_index_.find({ns, length});
  if (found != kind_index_.end()) {
    ++kinds_[found->second].users;
    return found->second;
  }
  std::uint16_t kind = 0;
  if (!free_kinds_.empty()) {
    kind = free_kinds_.back();
    free_kinds_.pop_back();
  } else if (kinds_.size() < kMaxKinds) {
    kind = static_cast<std::uint16_t>(kinds_.size());
    kinds_.emplace_back();
  } else {
    return std::nullopt;
  }
  kinds_[kind] = {ns, length, 1};
  kind_index_.emplace(std::pair(ns, length), kind);
  return kind;
}

void Catalog::release_kind(std::uint16_t kind) {
  if (--kinds_[kind].users > 0) return;
  kind_index_.erase({kinds_[kind].ns, kinds_[kind].length});
  free_kinds_.push_back(kind);
}

std::uint32_t Catalog::append(std::uint32_t slot, const Record& record) {
  std::vector<Entry>& entries = tables_[slot].entries;
  if (entries.size() == entries.capacity()) return kEmpty;  // the log reserves no more than was announced
  const auto kind = kind_of(record.id.ns, record.length);
  if (!kind) return kEmpty;
  entries.push_back({record.id.key, record.checksum, record.page, *kind, kDead});
  return (slot << bits_) | static_cast<std::uint32_t>(entries.size() - 1);
}

void Catalog::make_room(std::unique_lock<std::mutex>& lock, std::size_t n) {
  while ((blocks_ + n) * kFullDenominator > slots_.size() * kFullNumerator) {
    const std::size_t size = std::max(static_cast<std::size_t>(static_cast<double>(slots_.size()) * kGrowth),
                                      (blocks_ + n) * kFullDenominator / kFullNumerator + 1);
    lock.unlock();
    std::vector<std::uint32_t> bigger(size, kEmpty);
    lock.lock();
    if (bigger.size() <= slots_.size()) continue;
    slots_.swap(bigger);
    for (const std::uint32_t number : bigger) {
      if (number == kEmpty) continue;
      const Entry& e = entry(number);
      std::size_t at = home(hash(kinds_[e.kind].ns, e.key));
      while (slots_[at] != kEmpty) at = at + 1 == slots_.size() ? 0 : at + 1;
      slots_[at] = number;
    }
    lock.unlock();  // `bigger` holds the old table and goes without the lock
    bigger = {};
    lock.lock();
  }
}

std::optional<std::uint32_t> Catalog::add_segment(SegmentPtr segment, std::uint32_t records) {
  std::vector<Entry> entries;
  entries.reserve(records);
  const std::lock_guard lock(mutex_);
  std::uint32_t slot = 0;
  if (!free_.empty()) {
    slot = free_.back();
    free_.pop_back();
  } else if (tables_.size() + 1 < (1ULL << (32 - bits_))) {
    slot = static_cast<std::uint32_t>(tables_.size());
    tables_.emplace_back();
  } else {
    return std::nullopt;
  }
  tables_[slot] = {std::move(segment), std::move(entries)};
  return slot;
}

std::uint64_t Catalog::remove_segment(std::uint32_t slot) {
  Table gone;  // freed, and its file perhaps closed, without the lock
  const std::lock_guard lock(mutex_);
  std::uint64_t removed = 0;
  Table& table = tables_[slot];
  for (std::size_t i = 0; i < table.entries.size(); ++i) {
    const Entry& e = table.entries[i];
    if (e.state != kDead) {
      const std::uint32_t number = (slot << bits_) | static_cast<std::uint32_t>(i);
      remove_at(position({kinds_[e.kind].ns, e.key}));
      kill(number);
      ++removed;
    }
  }
  for (const Entry& e : table.entries) release_kind(e.kind);
  std::swap(gone, table);
  free_.push_back(slot);
  return removed;
}

void Catalog::shrink(std::uint32_t slot) {
  std::size_t size = 0;
  {
    const std::lock_guard lock(mutex_);
    size = tables_[slot].entries.size();
  }
  std::vector<Entry> exact;
  exact.reserve(size);
  const std::lock_guard lock(mutex_);
  std::vector<Entry>& entries = tables_[slot].entries;
  if (entries.size() != size) return;
  exact.assign(entries.begin(), entries.end());
  entries.swap(exact);
}

std::uint64_t Catalog::publish(std::uint32_t slot, std::span<const Record> records, bool replace) {
  std::unique_lock lock(mutex_);
  make_room(lock, records.size());
  std::uint64_t added = 0;
  for (const Record& record : records) {
    const std::uint32_t number = append(slot, record);
    if (number == kEmpty) continue;
    const std::size_t at = position(record.id);
    const bool there = slots_[at] != kEmpty;
    if (there && !replace) continue;
    if (there) {
      const std::uint32_t old = slots_[at];
      remove_at(at);
      kill(old);
    }
    if (record.tombstone()) continue;
    insert(number, record.id);
    ++added;
  }
  return added;
}

bool Catalog::publish_moved(std::uint32_t slot, const Record& record, const Place& from) {
  const std::lock_guard lock(mutex_);
  const std::uint32_t number = append(slot, record);
  if (number == kEmpty || !current(from)) return false;
  const std::size_t at = position(record.id);
  const std::uint32_t old = (from.slot << bits_) | from.entry;
  if (slots_[at] != old) return false;
  slots_[at] = number;
  entry(number).state = kLive;
  entry(old).state = kDead;
  return true;
}

bool Catalog::current(const Place& place) const {
  return place.slot < tables_.size() && tables_[place.slot].segment == place.segment &&
         place.entry < tables_[place.slot].entries.size();
}

Catalog::Found Catalog::find(const BlockId& id, std::uint64_t length, Place& out) const {
  const std::lock_guard lock(mutex_);
  const std::uint32_t number = slots_[position(id)];
  if (number == kEmpty) return Found::kNo;
  const Entry& e = entry(number);
  const std::uint32_t have = kinds_[e.kind].length;
  if (length != 0 && have != length) return Found::kOtherLength;
  out = {tables_[number >> bits_].segment, number >> bits_, number & mask_, e.page, have, e.checksum};
  return Found::kYes;
}

void Catalog::mark_hit(const Place& place) {
  const std::lock_guard lock(mutex_);
  if (!current(place)) return;
  Entry& e = tables_[place.slot].entries[place.entry];
  if (e.state == kLive) e.state = kHit;
}

bool Catalog::drop(const BlockId& id, const Place& place) {
  const std::lock_guard lock(mutex_);
  if (!current(place)) return false;
  const std::size_t at = position(id);
  const std::uint32_t number = (place.slot << bits_) | place.entry;
  if (slots_[at] != number) return false;
  remove_at(at);
  kill(number);
  return true;
}

bool Catalog::erase(const BlockId& id) {
  const std::lock_guard lock(mutex_);
  const std::size_t at = position(id);
  const std::uint32_t number = slots_[at];
  if (number == kEmpty) return false;
  remove_at(at);
  kill(number);
  return true;
}

std::vector<Record> Catalog::records(std::uint32_t slot) const {
  std::size_t size = 0;
  {
    const std::lock_guard lock(mutex_);
    size = tables_[slot].entries.size();
  }
  std::vector<Record> all;
  all.reserve(size);
  {
    const std::lock_guard lock(mutex_);
    for (const Entry& e : tables_[slot].entries) {
      if (all.size() == size) break;
      all.push_back({{kinds_[e.kind].ns, e.key}, e.checksum, kinds_[e.kind].length, e.page});
    }
  }
  std::ranges::sort(all, {}, &Record::page);  // only tombstones of one group share a page
  return all;
}

std::vector<Catalog::Hot> Catalog::hot(std::uint32_t slot, std::uint64_t max_bytes) const {
  std::vector<Hot> found;
  found.reserve(max_bytes / kPageBytes);
  std::uint64_t bytes = 0;
  const std::lock_guard lock(mutex_);
  const Table& table = tables_[slot];
  // Newest first: of a segment's blocks those are the likelier to be read again.
  for (std::size_t i = table.entries.size(); i-- > 0;) {
    const Entry& e = table.entries[i];
    const std::uint32_t length = kinds_[e.kind].length;
    if (e.state != kHit || bytes + payload_extent(length) > max_bytes) continue;
    bytes += payload_extent(length);
    found.push_back({{{kinds_[e.kind].ns, e.key}, e.checksum, length, e.page},
                     {table.segment, slot, static_cast<std::uint32_t>(i), e.page, length, e.checksum}});
  }
  return found;
}

std::uint64_t Catalog::blocks() const {
  const std::lock_guard lock(mutex_);
  return blocks_;
}
std::uint64_t Catalog::payload_bytes() const {
  const std::lock_guard lock(mutex_);
  return payload_bytes_;
}
std::uint64_t Catalog::memory_bytes() const {
  const std::lock_guard lock(mutex_);
  std::uint64_t bytes =
      slots_.capacity() * sizeof(std::uint32_t) + tables_.capacity() * sizeof(Table) + kinds_.capacity() * sizeof(Kind);
  for (const Table& table : tables_) bytes += table.entries.capacity() * sizeof(Entry);
  return bytes;
}

}  // namespace reprise::disk
