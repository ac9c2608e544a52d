// How much lies in the directory of an `fs:` store, and what of it goes: an approximate count that is kept up by
// whoever writes, a little with each block, and that finds what is too old or was used longest ago.
//
// The directory belongs to many writers, so nobody knows exactly. The files are spread over 256 first-level directories
// by key ("slots"), evenly; the census walks through them again and again, from a random start, and adds what this
// process itself wrote and removed since it counted a slot. Slots not counted yet are taken for average. Removal is
// bounded by what this process writes: writers that do not know of each other together remove what is needed, and not
// many times that.
//
// added(), removed() and the figures are for any thread; tidy() too, where one thread at a time walks and the others
// leave it their part of the work.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "base/env.h"
#include "reprise/store.h"
#include "store/fs/layout.h"

namespace reprise::fs {

struct CensusOptions {
  std::uint64_t capacity = 0;     ///< Payload bytes; 0: nothing goes for want of room.
  std::uint64_t ttl_seconds = 0;  ///< 0: nothing goes for its age.
  std::uint64_t seed = 0;         ///< Where the first walk begins.
};

class Census {
 public:
  /// `env` and `layout` outlive it.
  Census(Env& env, const Layout& layout, CensusOptions options);

  /// A file came (or, with negative bytes, grew smaller in the place of another: `files` is 0 then).
  void added(const BlockId& id, std::int64_t payload_bytes, std::int64_t files = 1);
  void removed(const BlockId& id, std::int64_t payload_bytes);

  /// After `blocks` blocks of `bytes` bytes were written: walks on, at most kLooksPerBlock files and directories for
  /// each, and removes at most twice the bytes.
  void tidy(std::uint64_t blocks, std::uint64_t bytes, WallTime now, Deadline deadline);

  [[nodiscard]] std::uint64_t used_bytes() const { return total(&Slot::bytes); }
  [[nodiscard]] std::uint64_t blocks() const { return total(&Slot::files); }
  [[nodiscard]] std::uint64_t evictions() const { return evictions_.load(std::memory_order_relaxed); }

  static constexpr std::uint64_t kLooksPerBlock = 16;
  static constexpr std::uint64_t kMaxLooks = 4096;  ///< In one call.
  static constexpr std::size_t kMaxNamespaces = 4096;
  static constexpr std::size_t kMaxCandidates = 512;

 private:
  struct Slot {
    std::atomic<std::int64_t> bytes{0};
    std::atomic<std::int64_t> files{0};
    std::atomic<bool> known{false};
  };
  struct Candidate {
    WallTime used;
    std::string path;
    int slot;
  };
  // What a slot held when its walk began, to be replaced by what the walk finds.
  struct Count {
    std::int64_t bytes = 0;
    std::int64_t files = 0;
  };

  [[nodiscard]] std::uint64_t total(std::atomic<std::int64_t> Slot::* figure) const;
  void walk(std::uint64_t looks, WallTime now, Deadline deadline);
  std::uint64_t begin_round();
  void begin_slot();
  std::uint64_t enter_namespace();
  void end_slot();
  std::uint64_t look_into(const std::string& directory, WallTime now);
  void consider(WallTime used, std::string path);
  void evict(std::uint64_t bytes, Deadline deadline);
  bool drop(const std::string& path, int slot, std::int64_t bytes);

  Env& env_;
  const Layout& layout_;
  const CensusOptions options_;
  std::array<Slot, kSlots> slots_;
  std::atomic<std::uint64_t> evictions_{0};
  std::atomic<std::uint64_t> owed_blocks_{0};
  std::atomic<std::uint64_t> owed_bytes_{0};
  // Held by the thread that walks; what follows is that thread's.
  std::atomic_flag walking_;
  int slot_ = 0;        // being walked, or next
  int slots_left_ = 0;  // of this round
  bool in_slot_ = false;
  Count before_, found_;
  std::vector<std::string> namespaces_;   // of this round
  std::size_t entered_ = 0;               // of them, in this slot
  std::vector<std::string> directories_;  // of this slot, not looked into yet
  std::vector<Candidate> candidates_;     // a heap, the most recently used on top
};

}  // namespace reprise::fs
