// From a block's hash to its slot, for many readers and one writer at a time.
//
// Buckets of one cache line: seven cells of {32-bit fingerprint, slot} and a count of the entries that found the bucket
// full and went on to a later one; a search stops at a bucket that nobody went past. Readers take no lock and may call
// at any time; what they find must be verified against the entry itself. Writers are serialised by the caller. When
// the table grows, readers finish in the old one, which is kept until the index dies (all old ones together are
// smaller than the new one): they can miss what was inserted since, never find something wrong.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/table.h"
#include "reprise/block.h"
#include "reprise/eviction.h"

namespace reprise {

/// Well-mixed hash of a block's identity; the same in every process.
[[nodiscard]] inline std::uint64_t identity_hash(const NamespaceId& ns, const BlockKey& key) {
  std::uint64_t h = (key.word(0) ^ ns.word(0)) * 0x9E3779B97F4A7C15ULL;
  h ^= (h >> 32) ^ key.word(1) ^ ns.word(1);
  h *= 0xD6E8FEB86659FD93ULL;
  h ^= h >> 32;
  h *= 0xD6E8FEB86659FD93ULL;
  return h ^ (h >> 29);
}

class BlockIndex {
 public:
  BlockIndex();

  /// Entries there is room for.
  [[nodiscard]] std::uint64_t limit() const { return limit_; }
  /// Starts a larger table; `enumerate` calls its argument for every (hash, slot) to carry over. Writers only.
  using Insert = std::function<void(std::uint64_t hash, BlockSlot slot)>;
  void grow(std::uint64_t entries, const std::function<void(const Insert&)>& enumerate);
  /// Writers only. The hash must not be present with this slot.
  void insert(std::uint64_t hash, BlockSlot slot);
  /// Writers only. A no-op if absent.
  void erase(std::uint64_t hash, BlockSlot slot);

  [[nodiscard]] std::uint64_t bytes() const;
  [[nodiscard]] std::uint64_t size() const { return size_; }

 private:
  static constexpr int kCells = 7;
  struct alignas(64) Bucket {
    std::atomic<std::uint64_t> cells[kCells];  // (fingerprint << 32) | (slot + 1); 0 = empty
    std::atomic<std::uint64_t> passed_by;
  };
  struct Buckets {
    explicit Buckets(std::uint64_t n) : table(n), count(n) {}
    Table<Bucket> table;
    std::uint64_t count;
    [[nodiscard]] std::uint64_t home(std::uint64_t hash) const {
      return static_cast<std::uint64_t>((static_cast<unsigned __int128>(hash) * count) >> 64);
    }
    [[nodiscard]] std::uint64_t after(std::uint64_t b) const { return b + 1 == count ? 0 : b + 1; }
  };
  static std::uint64_t cell_of(std::uint64_t hash, BlockSlot slot) { return (hash << 32) | (slot + 1ULL); }
  static void insert_into(Buckets& buckets, std::uint64_t hash, BlockSlot slot);

 public:
  /// Walks the candidates for one hash. Usable without a lock.
  class Probe {
   public:
    Probe(const BlockIndex& index, std::uint64_t hash) : Probe(index.current_.load(std::memory_order_acquire), hash) {}
    /// The next slot whose fingerprint agrees, or kNoSlot.
    BlockSlot next() {
      for (;;) {
        while (matches_ != 0) {
          const int cell = __builtin_ctz(matches_);
          matches_ &= matches_ - 1;
          // Read again: it may have changed since, to empty or to anybody's.
          const std::uint64_t value = buckets_->table[bucket_].cells[cell].load(std::memory_order_acquire);
          if (value != 0) return static_cast<BlockSlot>(value) - 1;
        }
        if (buckets_->table[bucket_].passed_by.load(std::memory_order_acquire) == 0 || ++walked_ >= buckets_->count) {
          return kNoSlot;
        }
        bucket_ = buckets_->after(bucket_);
        look();
      }
    }

   private:
    friend class BlockIndex;
    Probe(const Buckets* buckets, std::uint64_t hash)
        : buckets_(buckets), bucket_(buckets->home(hash)), wanted_(static_cast<std::uint32_t>(hash)) {
      look();
    }
    // All cells without a branch: which of them agrees is nothing a processor could predict.
    void look() {
      const Bucket& bucket = buckets_->table[bucket_];
      for (int i = 0; i < kCells; ++i) {
        const bool agrees =
            static_cast<std::uint32_t>(bucket.cells[i].load(std::memory_order_relaxed) >> 32) == wanted_;
        matches_ |= static_cast<std::uint32_t>(agrees) << i;
      }
    }

    const Buckets* buckets_;
    std::uint64_t bucket_;
    std::uint64_t walked_ = 0;
    std::uint32_t wanted_;
    std::uint32_t matches_ = 0;
  };

  /// One version of the table, for a caller with many hashes: fetches lines ahead, then probes.
  class Reader {
   public:
    explicit Reader(const BlockIndex& index) : buckets_(index.current_.load(std::memory_order_acquire)) {}
    void prefetch(std::uint64_t hash) const { __builtin_prefetch(&buckets_->table[buckets_->home(hash)]); }
    [[nodiscard]] Probe probe(std::uint64_t hash) const { return {buckets_, hash}; }

   private:
    const Buckets* buckets_;
  };

 private:
  std::atomic<Buckets*> current_;
  std::vector<std::unique_ptr<Buckets>> tables_;  // the last one is current
  std::uint64_t size_ = 0;
  std::uint64_t limit_ = 0;
};

}  // namespace reprise
