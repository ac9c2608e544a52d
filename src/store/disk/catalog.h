// What is where: the disk tier's index in memory, at most 40 bytes a block.
//
// Every segment has a table of 32-byte entries in the order they were published, with the whole identity and the
// payload's checksum; a hash table of 4-byte numbers finds entries by identity. Thread-safe. Segments are shared: a
// call that has looked up a block keeps the segment's file open while it reads, whatever happens to the segment
// meanwhile.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/env.h"
#include "store/disk/format.h"

namespace reprise::disk {

/// One file of the log. Immutable once made, but for the file's contents.
struct Segment {
  SegmentTag tag;
  std::string path;
  std::unique_ptr<File> file;
};
// Shared by the catalog, the log and the calls in flight; the last of them closes the file.
using SegmentPtr = std::shared_ptr<Segment>;

/// Where a block is. `slot` and `entry` name it within the catalog as long as `segment` is there.
struct Place {
  SegmentPtr segment;
  std::uint32_t slot = 0;
  std::uint32_t entry = 0;
  std::uint32_t page = 0;
  std::uint32_t length = 0;
  std::uint64_t checksum = 0;
};

class Catalog {
 public:
  /// No segment will hold more than `max_records`; there can be 2^32 / max_records segments, roughly.
  Catalog(std::uint32_t max_records, std::uint64_t seed);
  Catalog(const Catalog&) = delete;
  Catalog& operator=(const Catalog&) = delete;

  /// Room for `records` entries is made at once. nullopt when there are too many segments.
  [[nodiscard]] std::optional<std::uint32_t> add_segment(SegmentPtr segment, std::uint32_t records);
  /// Forgets a segment; returns how many blocks went with it.
  std::uint64_t remove_segment(std::uint32_t slot);
  /// Gives back the room a finished segment did not need.
  void shrink(std::uint32_t slot);

  /// Adds what was written. A block that is there already stays where it is. Returns how many are new; with `replace`
  /// the later record wins and tombstones remove, which is how a log is replayed.
  std::uint64_t publish(std::uint32_t slot, std::span<const Record> records, bool replace = false);
  /// Adds a copy of the block at `from`; false when the block is no longer there, so that the copy is dead.
  bool publish_moved(std::uint32_t slot, const Record& record, const Place& from);

  enum class Found : std::uint8_t { kNo, kYes, kOtherLength };
  /// `length` 0 fits any.
  [[nodiscard]] Found find(const BlockId& id, std::uint64_t length, Place& out) const;
  /// Notes that the block was read.
  void mark_hit(const Place& place);
  /// Forgets the copy at `place`, if it is still the one that would be found.
  bool drop(const BlockId& id, const Place& place);
  /// Forgets a block wherever it is.
  bool erase(const BlockId& id);

  /// Everything published to the segment, dead entries too, ordered by page.
  [[nodiscard]] std::vector<Record> records(std::uint32_t slot) const;
  struct Hot {
    Record record;
    Place place;
  };
  /// Live blocks of the segment that were read since they were written, up to so many bytes of payload extents.
  [[nodiscard]] std::vector<Hot> hot(std::uint32_t slot, std::uint64_t max_bytes) const;

  [[nodiscard]] std::uint64_t blocks() const;
  [[nodiscard]] std::uint64_t payload_bytes() const;
  [[nodiscard]] std::uint64_t memory_bytes() const;

 private:
  enum State : std::uint8_t { kDead = 0, kLive = 1, kHit = 2 };
  struct Entry {
    BlockKey key;
    std::uint64_t checksum;
    std::uint32_t page;
    std::uint16_t kind;  // index into kinds_
    std::uint8_t state;
  };
  static_assert(sizeof(Entry) == 32);
  struct Table {
    SegmentPtr segment;
    std::vector<Entry> entries;
  };
  /// Blocks of one namespace have one length, so namespace and length are kept once.
  struct Kind {
    NamespaceId ns;
    std::uint32_t length = 0;
    std::uint32_t users = 0;
  };
  struct KindHash {
    std::size_t operator()(const std::pair<NamespaceId, std::uint32_t>& k) const noexcept {
      return std::hash<NamespaceId>()(k.first) + k.second;
    }
  };
  static constexpr std::uint32_t kEmpty = ~0U;

  // All below: with mutex_ held.
  [[nodiscard]] std::uint64_t hash(const NamespaceId& ns, const BlockKey& key) const;
  [[nodiscard]] std::size_t home(std::uint64_t hash_value) const;
  [[nodiscard]] Entry& entry(std::uint32_t number) { return tables_[number >> bits_].entries[number & mask_]; }
  [[nodiscard]] const Entry& entry(std::uint32_t number) const {
    return tables_[number >> bits_].entries[number & mask_];
  }
  /// Position of the block in slots_, or of the empty slot where it would go.
  [[nodiscard]] std::size_t position(const BlockId& id) const;
  void remove_at(std::size_t position);
  void insert(std::uint32_t number, const BlockId& id);
  void kill(std::uint32_t number);
  [[nodiscard]] bool current(const Place& place) const;
  [[nodiscard]] std::optional<std::uint16_t> kind_of(const NamespaceId& ns, std::uint32_t length);
  void release_kind(std::uint16_t kind);
  std::uint32_t append(std::uint32_t slot, const Record& record);
  /// With `lock` held on entry and return: makes room for n more, allocating while it is not held.
  void make_room(std::unique_lock<std::mutex>& lock, std::size_t n);

  const std::uint32_t bits_;
  const std::uint32_t mask_;
  const std::uint64_t seed_;
  mutable std::mutex mutex_;
  std::vector<Table> tables_;         // by slot; a null segment is a free slot
  std::vector<std::uint32_t> free_;   // free slots
  std::vector<std::uint32_t> slots_;  // open addressing, linear probing; entry numbers or kEmpty
  std::vector<Kind> kinds_;           // grows when a namespace is first seen, the one allocation under the lock
  std::vector<std::uint16_t> free_kinds_;
  std::unordered_map<std::pair<NamespaceId, std::uint32_t>, std::uint16_t, KindHash> kind_index_;
  std::uint64_t blocks_ = 0;
  std::uint64_t payload_bytes_ = 0;
};

}  // namespace reprise::disk
