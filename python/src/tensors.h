// An engine's KV tensor as the recipe of its blocks wants it: address, sizes, strides. Nothing is copied; strides are
// whatever they are.
//
// Needs the GIL; the memory may be used without it as long as the holder lives.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <string>

#include "layout/block_pieces.h"

namespace reprise::python {

/// One tensor, held as long as this lives. Torch tensors of any type by their own methods, everything else by the
/// buffer protocol.
class HeldTensor {
 public:
  /// `block_dim` may count from the end. Throws ValueError, beginning with `what`, for one that is not in the memory of
  /// the CPU, and for a block dimension that it has not; TypeError for what is neither tensor nor buffer.
  HeldTensor(nanobind::handle object, std::int64_t block_dim, const std::string& what);
  [[nodiscard]] const TensorView& view() const { return view_; }
  [[nodiscard]] bool writable() const { return !buffer_.held || buffer_.view.readonly == 0; }

 private:
  // Released also when the constructor throws.
  struct Exported {
    Exported() = default;
    ~Exported() {
      if (held) PyBuffer_Release(&view);
    }
    Exported(const Exported&) = delete;
    Exported& operator=(const Exported&) = delete;
    Py_buffer view{};
    bool held = false;
  };

  void hold_torch(nanobind::handle object, const std::string& what);
  void hold_buffer(nanobind::handle object, const std::string& what);

  nanobind::object object_;
  Exported buffer_;
  TensorView view_;
};

/// True for what HeldTensor can take.
[[nodiscard]] bool is_tensor(nanobind::handle object);

}  // namespace reprise::python
