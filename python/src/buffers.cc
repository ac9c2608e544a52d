#include "buffers.h"

#include <string>

namespace nb = nanobind;

namespace reprise::python {
namespace {

[[noreturn]] void raise_value_error(const std::string& message) {
  throw nb::value_error(message.c_str());
}

std::string type_text(nb::handle object) {
  return nb::type_name(object.type()).c_str();
}

}  // namespace

bool has_bytes(nb::handle object) {
  return PyObject_CheckBuffer(object.ptr()) != 0 || nb::hasattr(object, "__dlpack__");
}

HeldBuffer::HeldBuffer(nb::handle object, bool writable, const std::string& what) {
  if (PyObject_CheckBuffer(object.ptr()) != 0) {
    hold_buffer(object, writable, what);
  } else if (nb::hasattr(object, "__dlpack__")) {
    hold_tensor(object, writable, what);
  } else {
    throw nb::type_error((what + ": '" + type_text(object) +
                          "' has neither the buffer protocol nor DLPack; pass bytes, an array or a tensor")
                             .c_str());
  }
}

HeldBuffer::~HeldBuffer() {
  if (has_view_) PyBuffer_Release(&view_);
}

void HeldBuffer::hold_buffer(nb::handle object, bool writable, const std::string& what) {
  if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_FULL_RO) != 0) throw nb::python_error();
  has_view_ = true;
  const bool contiguous = PyBuffer_IsContiguous(&view_, 'C') != 0;
  const bool refused = writable && view_.readonly != 0;
  if (!contiguous || refused) {
    // The destructor does not run for what was not constructed.
    const std::string size = std::to_string(view_.len);
    PyBuffer_Release(&view_);
    has_view_ = false;
    raise_value_error(what + ": '" + type_text(object) + "' of " + size + " bytes is " +
                      (contiguous ? "read-only; it must be writable" : "not C-contiguous"));
  }
  data_ = static_cast<std::byte*>(view_.buf);
  size_ = static_cast<std::size_t>(view_.len);
  item_bytes_ = static_cast<std::size_t>(view_.itemsize);
}

void HeldBuffer::hold_tensor(nb::handle object, bool writable, const std::string& what) {
  if (!nb::try_cast(object, tensor_)) {
    raise_value_error(what + ": '" + type_text(object) + "' cannot be exported by DLPack");
  }
  if (tensor_.device_type() != nb::device::cpu::value) {
    raise_value_error(what + ": '" + type_text(object) + "' is not in the memory of the CPU (DLPack device type " +
                      std::to_string(tensor_.device_type()) + ")");
  }
  std::int64_t expected = 1;
  for (std::size_t i = tensor_.ndim(); i-- > 0;) {
    if (tensor_.shape(i) != 1 && tensor_.stride(i) != expected) {
      raise_value_error(what + ": '" + type_text(object) + "' of " + std::to_string(tensor_.nbytes()) +
                        " bytes is not C-contiguous");
    }
    expected *= static_cast<std::int64_t>(tensor_.shape(i));
  }
  static_cast<void>(writable);  // DLPack, as these objects speak it, cannot say that memory is read-only.
  data_ = static_cast<std::byte*>(tensor_.data());
  size_ = tensor_.nbytes();
  item_bytes_ = tensor_.itemsize();
}

HeldBlocks::HeldBlocks(nb::handle object, std::uint64_t block_bytes, bool writable, const char* name) {
  const std::string needed = std::to_string(block_bytes);
  if (has_bytes(object)) {
    const HeldBuffer& all = held_.emplace_back(object, writable, name);
    if (all.size() % block_bytes != 0) {
      raise_value_error(std::string(name) + ": " + std::to_string(all.size()) +
                        " bytes are not whole blocks of block_bytes = " + needed);
    }
    for (std::size_t at = 0; at < all.size(); at += block_bytes) blocks_.emplace_back(all.data() + at, block_bytes);
    return;
  }
  if (PySequence_Check(object.ptr()) == 0) {
    throw nb::type_error(
        (std::string(name) + ": expected a sequence of buffers, or one buffer, not '" + type_text(object) + "'")
            .c_str());
  }
  std::size_t index = 0;
  for (nb::handle item : nb::borrow<nb::object>(object)) {
    const std::string what = std::string(name) + "[" + std::to_string(index++) + "]";
    const HeldBuffer& one = held_.emplace_back(item, writable, what);
    if (one.size() != block_bytes) {
      raise_value_error(what + " has " + std::to_string(one.size()) + " bytes; block_bytes is " + needed);
    }
    blocks_.emplace_back(one.data(), block_bytes);
  }
}

}  // namespace reprise::python
