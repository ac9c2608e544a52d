// Who gets which bytes of an arena: slabs of 8 MiB, each cut into blocks of one exact size.
//
// Pure bookkeeping over offsets; it never touches the memory. Not thread-safe: the caller's lock guards it. Cutting a
// slab allocates that slab's table (4 bytes a block); allocating from and freeing into slabs allocates nothing.
//
// A namespace has one block size, so sizes are few. When one size starves while another holds the memory, the caller
// empties a slab of the other size: `emptiest_slab`, `close`, move or evict its `live_blocks`, and the slab is free.
//
// A block that cannot go must not keep 8 MiB: addresses are free, pages are not. `retire` makes a slab count for the
// pages of its live blocks only, and another slab is cut elsewhere in the addresses. The pages behind the rest, and
// those of slabs given back, stay where they are until pages run short; then `begin_discard` names them.
// The bound: pages of the arena <= max_slab_bytes, plus what callers are between begin and end of a discard with (8 MiB
// each), plus what was populated and lies behind the last block of a slab (sizes that do not divide 8 MiB). It holds if
// callers discard, until there is nothing to, before they write to what they allocated. With transparent huge pages the
// kernel may free the rest of a partly discarded one only when memory runs short.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace reprise {

struct SlabOptions {
  std::uint64_t arena_bytes = 0;     ///< Offsets handed out are below this. See SlabAllocator::arena_bytes_for.
  std::uint64_t max_slab_bytes = 0;  ///< Limit on blocks x block size, summed over all cut slabs.
  std::uint32_t alignment = 4096;    ///< Block sizes are rounded up to this power of two; offsets are multiples of it.
};

class SlabAllocator {
 public:
  static constexpr std::uint64_t kSlabBytes = 8ULL << 20;
  /// Owners are at most this: the top bit of an owner's word marks free chunks.
  static constexpr std::uint32_t kMaxOwner = 0x7FFFFFFF;

  /// Addresses to reserve so that neither sizes that divide a slab badly (just above a half) nor retired slabs run out
  /// of them soon.
  [[nodiscard]] static std::uint64_t arena_bytes_for(std::uint64_t max_slab_bytes);

  explicit SlabAllocator(const SlabOptions& options);

  /// Offset of a free block of at least `bytes` (> 0), from the fullest slab of that size; else from a new slab where
  /// one was given back lately, or at the lowest free address. nullopt: no free block of the size, and no slab can be
  /// cut. `owner` <= kMaxOwner.
  [[nodiscard]] std::optional<std::uint64_t> allocate(std::uint64_t bytes, std::uint32_t owner);
  /// REQUIRES: `offset` came from allocate and was not freed since. The same for owner and set_owner.
  void free(std::uint64_t offset);
  void set_owner(std::uint64_t offset, std::uint32_t owner);
  [[nodiscard]] std::uint32_t owner(std::uint64_t offset) const;

  /// Blocks of this size that can be allocated without cutting a slab.
  [[nodiscard]] std::uint64_t free_chunks(std::uint64_t bytes) const;
  /// Whether a slab for this size, of at least one block, could be cut now, or a short one lengthened.
  [[nodiscard]] bool can_cut(std::uint64_t bytes) const;
  /// Whether there are addresses for a slab of this size. If not, retiring does not help; only emptying does.
  [[nodiscard]] bool has_addresses(std::uint64_t bytes) const;

  struct Victim {
    std::uint32_t slab = 0;
    std::uint64_t block_bytes = 0;
    std::uint32_t live = 0;
  };
  /// The open slab of another size that is cheapest to empty for `wanted_bytes`: first those whose live blocks fit into
  /// free blocks of their size elsewhere, then fewest live bytes. One may not be enough: go on until can_cut. A slab
  /// that turns out not to be emptiable stays closed while others are tried, and is reopened after. To move a block out
  /// of a closed slab, allocate its size only while free_chunks() > 0: otherwise that would cut a slab.
  [[nodiscard]] std::optional<Victim> emptiest_slab(std::uint64_t wanted_bytes) const;
  /// Appends {offset, owner} of every live block of the slab.
  void live_blocks(std::uint32_t slab, std::vector<std::pair<std::uint64_t, std::uint32_t>>& out) const;
  /// No more allocation from the slab. It is given back with its last live block (at once if it has none), and its
  /// number may then mean another slab.
  void close(std::uint32_t slab);
  /// Undoes close; a no-op for a slab that is not closed.
  void reopen(std::uint32_t slab);
  /// Makes close final: the slab counts for `retired_bytes` of its live blocks from now on. A no-op if not closed.
  void retire(std::uint32_t slab);
  /// What a retired slab of this many live blocks counts for: the pages they can lie in, at most the whole slab.
  [[nodiscard]] std::uint64_t retired_bytes(std::uint32_t slab, std::uint64_t live) const;
  /// What the slab counts for now.
  [[nodiscard]] std::uint64_t counted_bytes(std::uint32_t slab) const;
  /// Another retired slab with each call, round robin; nullopt when a bounded search found none.
  [[nodiscard]] std::optional<Victim> next_retired();

  /// Whole pages that nobody owns, and that nobody will until end_discard.
  struct Discard {
    static constexpr std::size_t kMaxRanges = kSlabBytes / 4096;
    std::uint32_t slab = 0;
    std::uint32_t kept = 0;                                       ///< Bytes that stay, in other pages.
    std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;  ///< Offset, length. Reserve kMaxRanges.
  };
  /// False while the pages are within the limit, or nothing is left to discard.
  [[nodiscard]] bool begin_discard(Discard& out);
  void end_discard(const Discard& discard);
  [[nodiscard]] bool wants_discard() const {
    return page_bytes_ > options_.max_slab_bytes && (dirty_ != kNone || warm_ != kNone);
  }

  struct Report {
    std::uint64_t live_bytes = 0;      ///< Of allocated blocks, at rounded size.
    std::uint64_t cut_bytes = 0;       ///< Blocks x block size of all slabs, of retired ones less: see retired_bytes.
                                       ///< Never above max_slab_bytes.
    std::uint64_t page_bytes = 0;      ///< That may be backed by pages, as far as slabs and discards tell.
    std::uint64_t slabs = 0;           ///< Cut now, including at most one empty slab per size kept for reuse.
    std::uint64_t metadata_bytes = 0;  ///< Heap bytes of the bookkeeping.
  };
  [[nodiscard]] Report report() const;

 private:
  static constexpr std::uint32_t kNone = 0xFFFFFFFF;
  // Slabs of a size are listed by fullness, in sixteenths; full ones come last.
  static constexpr std::uint32_t kBuckets = 17;
  static constexpr std::uint32_t kFull = 16;

  // kInside: a later unit of a large block. kCleaned: free, but being discarded.
  enum class State : std::uint8_t { kFree, kOpen, kClosed, kRetired, kInside, kCleaned };

  // A slab is named by its first unit; units that are not the first of a slab have an entry that says so.
  struct Slab {
    std::unique_ptr<std::uint32_t[]> chunks;  // owner of a live block, else kFreeBit | next free one
    std::uint32_t size_class = 0;
    std::uint32_t blocks = 0;
    std::uint32_t live = 0;
    std::uint32_t free_head = 0;  // first of the freed ones
    std::uint32_t fresh = 0;      // blocks from here on were never used
    std::uint32_t prev = kNone;   // of its size and bucket; of the dirty or the warm ones
    std::uint32_t next = kNone;
    std::uint32_t pages = 0;  // bytes of this unit that may be backed by pages
    std::uint8_t bucket = 0;
    State state = State::kFree;
    bool dirty = false;     // retired, and has pages to discard
    bool cleaning = false;  // retired, and being discarded
    bool freed = false;     // a block of it meanwhile
  };

  struct SizeClass {
    std::uint64_t block_bytes = 0;
    std::uint64_t free_chunks = 0;  // in open slabs
    std::uint32_t empty = kNone;    // the one empty slab kept
    std::uint32_t growing = kNone;  // an open slab cut short for want of memory
    std::uint32_t mask = 0;         // non-empty buckets
    std::array<std::uint32_t, kBuckets> heads{};
  };

  [[nodiscard]] std::uint64_t rounded(std::uint64_t bytes) const;
  [[nodiscard]] std::uint32_t units_of(std::uint64_t block_bytes) const;
  [[nodiscard]] std::uint32_t find_class(std::uint64_t block_bytes) const;
  [[nodiscard]] std::uint32_t chunk_index(const Slab& slab, std::uint64_t offset) const;
  [[nodiscard]] std::uint64_t blocks_at(std::uint32_t unit, std::uint64_t block_bytes) const;
  [[nodiscard]] bool takes(std::uint32_t unit, std::uint32_t own_class, bool with_empty) const;
  [[nodiscard]] std::uint32_t free_run(std::uint64_t block_bytes, std::uint32_t own_class, bool with_empty) const;
  [[nodiscard]] std::uint32_t head_of(std::uint32_t unit) const;
  [[nodiscard]] std::optional<Victim> cheapest_window(std::uint64_t wanted, std::uint32_t own_class) const;
  [[nodiscard]] bool movable(const Slab& slab) const;

  std::uint32_t cut(std::uint32_t size_class);
  [[nodiscard]] std::uint32_t place_for(std::uint32_t size_class) const;
  void lengthen(std::uint32_t unit, std::uint64_t blocks);
  void note_pages(std::uint32_t unit);
  void free_retired(std::uint32_t unit);
  void list_free_pages(std::uint32_t unit, Discard& out) const;
  void push(std::uint32_t& head, std::uint32_t unit);
  void remove(std::uint32_t& head, std::uint32_t unit);
  bool release_an_empty(std::uint32_t other_than);
  void release(std::uint32_t unit);
  void link(std::uint32_t unit);
  void unlink(std::uint32_t unit);
  void refile(std::uint32_t unit);

  const SlabOptions options_;
  std::vector<Slab> slabs_;  // one entry per unit of kSlabBytes
  std::vector<SizeClass> classes_;
  std::uint32_t lowest_free_ = 0;  // no unit below is free
  std::uint32_t warm_ = kNone;     // list of free units with pages
  std::uint32_t dirty_ = kNone;    // list of retired slabs with pages to discard
  std::uint32_t cursor_ = 0;       // of next_retired
  std::uint64_t page_bytes_ = 0;
  std::uint64_t live_bytes_ = 0;
  std::uint64_t cut_bytes_ = 0;
  std::uint64_t cut_slabs_ = 0;
  std::uint64_t chunk_words_ = 0;
};

}  // namespace reprise
