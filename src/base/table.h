// A fixed array of plain records whose memory is reserved at once and backed by pages only where it is touched.
//
// For tables that grow with the cache: records never move, growing costs nothing, and untouched records cost nothing.
// Asks for huge pages, because a chain of 2,048 blocks touches thousands of records far apart. Not thread-safe by
// itself; the records may be atomics.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>

namespace reprise {

template <typename T>
class Table {
 public:
  Table() = default;
  /// `count` zero-filled records. `empty()` tells if the reservation failed.
  explicit Table(std::size_t count) : count_(count) {
    static_assert(std::is_trivially_destructible_v<T>);
    static constexpr std::size_t kHuge = std::size_t{2} << 20;
    mapped_ = (count * sizeof(T) + kHuge - 1) / kHuge * kHuge + kHuge;
    void* base = ::mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
      mapped_ = 0;
      count_ = 0;
      return;
    }
    base_ = base;
    void* aligned = base;
    std::size_t space = mapped_;
    records_ = static_cast<T*>(std::align(kHuge, count * sizeof(T), aligned, space));
    if (count * sizeof(T) >= kHuge) ::madvise(base, mapped_, MADV_HUGEPAGE);
  }
  ~Table() {
    if (base_ != nullptr) ::munmap(base_, mapped_);
  }
  Table(Table&& other) noexcept { swap(other); }
  Table& operator=(Table&& other) noexcept {
    swap(other);
    return *this;
  }

  [[nodiscard]] bool empty() const { return records_ == nullptr; }
  [[nodiscard]] std::size_t size() const { return count_; }
  T& operator[](std::size_t i) { return records_[i]; }
  const T& operator[](std::size_t i) const { return records_[i]; }

 private:
  void swap(Table& other) noexcept {
    std::swap(base_, other.base_);
    std::swap(mapped_, other.mapped_);
    std::swap(records_, other.records_);
    std::swap(count_, other.count_);
  }

  void* base_ = nullptr;
  std::size_t mapped_ = 0;
  T* records_ = nullptr;
  std::size_t count_ = 0;
};

}  // namespace reprise
