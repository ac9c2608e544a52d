// Memory that direct I/O accepts: starts at a page, extends to one. Owned, movable, not initialised.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

#include "reprise/block.h"

namespace reprise {

inline constexpr std::size_t kPageBytes = 4096;

/// `bytes` rounded up to a whole page.
[[nodiscard]] constexpr std::uint64_t page_ceil(std::uint64_t bytes) {
  return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
}
[[nodiscard]] inline bool page_aligned(const void* p) {
  return reinterpret_cast<std::uintptr_t>(p) % kPageBytes == 0;
}

class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  /// Holds page_ceil(bytes) bytes.
  explicit AlignedBuffer(std::size_t bytes)
      : size_(page_ceil(bytes)),
        data_(static_cast<std::byte*>(::operator new(size_ == 0 ? 1 : size_, std::align_val_t{kPageBytes}))) {}

  [[nodiscard]] std::byte* data() const { return data_.get(); }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] MutableBytes span() const { return {data_.get(), size_}; }

 private:
  struct Free {
    void operator()(std::byte* p) const { ::operator delete(p, std::align_val_t{kPageBytes}); }
  };
  std::size_t size_ = 0;
  std::unique_ptr<std::byte, Free> data_;
};

}  // namespace reprise
