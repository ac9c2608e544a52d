// The generation words of leases, in a small shared memory of their own: a client that maps it sees with one load, and
// without a message, whether what it read under a lease still counts.
//
// A word is odd while its lease lives and equals that lease's generation; ending the lease makes it even. It only ever
// grows, so a generation never comes back. Owns the memfd and the mapping. `take` and `give` may be called by any
// thread; a word is ended by whoever took it. Clients map the memfd read-only: where the kernel can, it is sealed
// against new writable mappings, and elsewhere a client that writes deceives only itself and its tenant, because what
// is handed out follows from a private copy.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "reprise/status.h"

namespace reprise {

struct LeaseWord {
  std::uint32_t index = 0;
  std::uint64_t generation = 0;
};

class LeaseWords {
 public:
  static constexpr std::uint32_t kCount = 65'536;

  /// What `still_valid` asks: a generation that no lease ever had (an even one) is never valid.
  [[nodiscard]] static bool valid(const std::atomic<std::uint64_t>& word, std::uint64_t generation) {
    // The reads of the blocks come before this load, whatever the processor would like.
    std::atomic_thread_fence(std::memory_order_acquire);
    return (generation & 1) != 0 && word.load(std::memory_order_acquire) == generation;
  }

  /// kIo when the kernel gives no memory.
  [[nodiscard]] static Result<std::shared_ptr<LeaseWords>> create();
  ~LeaseWords();
  LeaseWords(const LeaseWords&) = delete;
  LeaseWords& operator=(const LeaseWords&) = delete;

  /// The memfd of `bytes()` bytes: kCount words, word i at 8 * i. Valid as long as this object.
  [[nodiscard]] int fd() const { return fd_; }
  [[nodiscard]] std::uint64_t bytes() const { return kCount * sizeof(std::uint64_t); }

  /// A word that lives from now on; nullopt when all are taken.
  [[nodiscard]] std::optional<LeaseWord> take();
  /// The lease is over. No store that the caller makes, or lets others make, after this becomes visible before it.
  void end(std::uint32_t index);
  /// Back to the free ones. REQUIRES: ended.
  void give(std::uint32_t index);

 private:
  LeaseWords();

  int fd_ = -1;
  std::atomic<std::uint64_t>* words_ = nullptr;  // the mapping
  std::vector<std::uint64_t> values_;            // of each word; written by whoever holds the word
  std::mutex mutex_;
  std::vector<std::uint32_t> free_;  // guarded by mutex_; has room for all
};

}  // namespace reprise
