// A tenant's arena and its leases' generation words, as a daemon hands them to a client: three mappings.
//
// The arena is mapped read-only for everybody, and again writable, which only reservations see and no forked child
// inherits. Owns the descriptors, the mappings and the thread that backs them with pages. Immutable and thread-safe;
// shared by the sessions with one daemon and by every lease and reservation from it, which may outlive both.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <thread>

#include "base/file_descriptor.h"
#include "client/fork_guard.h"
#include "reprise/block.h"
#include "reprise/status.h"
#include "rpc/link.h"

namespace reprise {

class SharedMapping {
 public:
  /// Takes the descriptors of a welcome. kIo when they are not what the welcome says (number, size), could shrink under
  /// the reader, or cannot be mapped. With `populate`, page tables are filled in the background.
  [[nodiscard]] static Result<std::shared_ptr<SharedMapping>> create(Link::Opened& opened, bool populate);
  ~SharedMapping();
  SharedMapping(const SharedMapping&) = delete;
  SharedMapping& operator=(const SharedMapping&) = delete;

  /// Whether the arena that came with this welcome is the one mapped here.
  [[nodiscard]] bool same_memory(const Link::Opened& opened) const;

  /// The bytes [offset, offset + bytes) as a reader sees them; nullopt when they are not all inside.
  [[nodiscard]] std::optional<Bytes> readable(std::uint64_t offset, std::uint64_t bytes) const;
  /// The same to write to, for reservations alone.
  [[nodiscard]] std::optional<MutableBytes> writable(std::uint64_t offset, std::uint64_t bytes) const;
  /// nullptr for an index beyond the words.
  [[nodiscard]] const std::atomic<std::uint64_t>* word(std::uint32_t index) const;

  [[nodiscard]] std::uint64_t size() const { return size_; }
  /// Both mappings have the pages they are expected to need, or nobody asked for it.
  [[nodiscard]] bool populated() const { return populated_.load(std::memory_order_acquire); }

 private:
  SharedMapping() = default;
  [[nodiscard]] Result<void> map(std::uint32_t words);
  void populate(const std::stop_token& stop, std::uint64_t bytes);

  const ForkGuard fork_guard_;
  FileDescriptor arena_;
  FileDescriptor words_file_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
  std::uint64_t size_ = 0;
  std::byte* read_ = nullptr;
  std::byte* write_ = nullptr;
  std::atomic<std::uint64_t>* words_ = nullptr;
  std::uint32_t word_count_ = 0;
  std::atomic<bool> populated_ = false;
  std::jthread populator_;
};

}  // namespace reprise
