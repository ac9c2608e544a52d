#include "tensors.h"

namespace nb = nanobind;

namespace reprise::python {

namespace {

bool is_torch(nb::handle object) {
  return nb::hasattr(object, "data_ptr") && nb::hasattr(object, "element_size");
}

}  // namespace

bool is_tensor(nb::handle object) {
  return is_torch(object) || PyObject_CheckBuffer(object.ptr()) != 0;
}

HeldTensor::HeldTensor(nb::handle object, std::int64_t block_dim, const std::string& what)
    : object_(nb::borrow(object)) {
  if (is_torch(object)) {
    hold_torch(object, what);
  } else if (PyObject_CheckBuffer(object.ptr()) != 0) {
    hold_buffer(object, what);
  } else {
    throw nb::type_error((what + ": '" + nb::type_name(object.type()).c_str() +
                          "' is neither a torch tensor nor has it the buffer protocol")
                             .c_str());
  }
  const auto dims = static_cast<std::int64_t>(view_.shape.size());
  if (block_dim < -dims || block_dim >= dims) {
    throw nb::value_error(
        (what + ": the block dimension is " + std::to_string(block_dim) + " of " + std::to_string(dims) + " dimensions")
            .c_str());
  }
  view_.block_dim = static_cast<std::size_t>(block_dim < 0 ? block_dim + dims : block_dim);
}

// Not by DLPack: it lacks some of torch's types, and a recipe wants no more than addresses.
void HeldTensor::hold_torch(nb::handle object, const std::string& what) {
  const std::string device = nb::str(object.attr("device").attr("type")).c_str();
  if (device != "cpu") {
    throw nb::value_error((what + ": the tensor is on '" + device + "', not in the memory of the CPU").c_str());
  }
  view_.data = reinterpret_cast<std::byte*>(nb::cast<std::uintptr_t>(object.attr("data_ptr")()));
  view_.item_bytes = nb::cast<std::size_t>(object.attr("element_size")());
  for (nb::handle size : object.attr("shape")) view_.shape.push_back(nb::cast<std::int64_t>(size));
  for (nb::handle stride : object.attr("stride")()) view_.stride.push_back(nb::cast<std::int64_t>(stride));
}

void HeldTensor::hold_buffer(nb::handle object, const std::string& what) {
  Py_buffer& view = buffer_.view;
  if (PyObject_GetBuffer(object.ptr(), &view, PyBUF_STRIDED_RO | PyBUF_FORMAT) != 0) throw nb::python_error();
  buffer_.held = true;
  view_.data = static_cast<std::byte*>(view.buf);
  view_.item_bytes = static_cast<std::size_t>(view.itemsize);
  for (int d = 0; d < view.ndim; ++d) {
    if (view.itemsize == 0 || view.strides[d] % view.itemsize != 0) {
      throw nb::value_error((what + ": a stride of " + std::to_string(view.strides[d]) +
                             " bytes is not whole elements of " + std::to_string(view.itemsize))
                                .c_str());
    }
    view_.shape.push_back(view.shape[d]);
    view_.stride.push_back(view.strides[d] / view.itemsize);
  }
}

}  // namespace reprise::python
