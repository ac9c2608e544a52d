// One contiguous piece of memory for block payloads: anonymous, or a memfd that other processes can map.
//
// The whole range is reserved as addresses at once and backed by pages when touched; a background thread touches the
// first `populate_bytes`, because a first touch costs several times a copy. All methods may be called from any thread;
// who may write which bytes is the caller's business. The arena owns the mapping, the memfd and the thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>

#include "reprise/options.h"
#include "reprise/status.h"

namespace reprise {

struct ArenaOptions {
  std::uint64_t reserve_bytes = 0;   ///< Addresses to reserve; rounded up to 2 MiB.
  std::uint64_t populate_bytes = 0;  ///< Prefix that is expected to be used: populated in the background.
  Memory kind = Memory::kAnonymous;
  bool huge_pages = true;  ///< Ask for transparent huge pages; a memfd gets them while it is populated.
  bool populate = true;    ///< False: pages come when first touched.
};

class Arena {
 public:
  /// Memory this process may hope to use: physical memory, or its control group's limit if that is lower.
  [[nodiscard]] static std::uint64_t usable_memory();

  /// kConfig, naming the limit, when the options cannot work on a machine with `memory` bytes. Allocates nothing.
  [[nodiscard]] static Result<void> check(const ArenaOptions& options, std::uint64_t memory);
  [[nodiscard]] static Result<void> check(const ArenaOptions& options) { return check(options, usable_memory()); }

  /// Returns before anything is populated. Fails with kConfig as check() does, kIo when the kernel refuses.
  [[nodiscard]] static Result<std::unique_ptr<Arena>> create(const ArenaOptions& options);

  /// Stops populating, which takes milliseconds, and unmaps.
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  [[nodiscard]] std::byte* data() const { return data_; }  ///< Aligned to 2 MiB.
  [[nodiscard]] std::uint64_t size() const { return size_; }
  /// The memfd, of exactly size() bytes and sealed against resizing; -1 if anonymous. Valid as long as the arena.
  [[nodiscard]] int fd() const { return fd_; }
  /// Share of `populate_bytes` backed by pages, 0 to 1. Stays 0 when not asked to populate.
  [[nodiscard]] double populated() const;
  /// Gives the pages of a page-aligned range back to the system; it reads as zeros afterwards.
  [[nodiscard]] Result<void> discard(std::uint64_t offset, std::uint64_t length);

 private:
  Arena() = default;
  Result<void> map(const ArenaOptions& options);
  void populate(const std::stop_token& stop, std::uint64_t bytes);

  std::byte* data_ = nullptr;
  std::uint64_t size_ = 0;
  int fd_ = -1;
  std::uint64_t populate_bytes_ = 0;
  bool collapse_ = false;  // of the populating thread: huge pages are still worth asking for
  std::atomic<std::uint64_t> populated_bytes_{0};
  std::jthread populator_;  // last: stops before the rest goes
};

}  // namespace reprise
