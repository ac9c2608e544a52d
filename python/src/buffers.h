// Blocks in and out of Python objects: the buffer protocol first, else DLPack in the memory of the CPU. Nothing is
// copied.
//
// Everything here needs the GIL; the spans may be used without it while the object that holds them lives.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "reprise/block.h"

namespace reprise::python {

/// One object's contiguous bytes, held (exported) as long as this lives.
class HeldBuffer {
 public:
  /// Throws ValueError, beginning with `what`, when the object is not contiguous or, with `writable`, read-only;
  /// TypeError when it has no bytes at all.
  HeldBuffer(nanobind::handle object, bool writable, const std::string& what);
  ~HeldBuffer();
  HeldBuffer(const HeldBuffer&) = delete;
  HeldBuffer& operator=(const HeldBuffer&) = delete;

  [[nodiscard]] std::byte* data() const { return data_; }
  [[nodiscard]] std::size_t size() const { return size_; }
  /// Of one element, and its struct-module letter where the buffer protocol told it ("" otherwise).
  [[nodiscard]] std::size_t item_bytes() const { return item_bytes_; }

 private:
  void hold_buffer(nanobind::handle object, bool writable, const std::string& what);
  void hold_tensor(nanobind::handle object, bool writable, const std::string& what);

  Py_buffer view_{};
  bool has_view_ = false;
  nanobind::ndarray<> tensor_;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t item_bytes_ = 1;
};

/// Blocks of one size, from a sequence of buffers of exactly one block each, or from one buffer of whole blocks.
class HeldBlocks {
 public:
  /// `name` is the argument's. Throws ValueError with the numbers when a size is wrong; see HeldBuffer for the rest.
  HeldBlocks(nanobind::handle object, std::uint64_t block_bytes, bool writable, const char* name);

  [[nodiscard]] std::vector<Bytes> readable() const { return {blocks_.begin(), blocks_.end()}; }
  [[nodiscard]] std::span<const MutableBytes> writable() const { return blocks_; }

 private:
  std::deque<HeldBuffer> held_;
  std::vector<MutableBytes> blocks_;
};

/// True for what `hold_buffer` or `hold_tensor` can take: the buffer protocol, or __dlpack__.
[[nodiscard]] bool has_bytes(nanobind::handle object);

}  // namespace reprise::python
