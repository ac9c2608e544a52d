#include "views.h"

#include <utility>

namespace nb = nanobind;

namespace reprise::python {
namespace {

// What a memoryview's `obj` is.
struct BlockView {
  std::shared_ptr<Viewed> owner;
  std::byte* data;
  std::size_t size;
  bool readonly;
};

int get_buffer(PyObject* self, Py_buffer* view, int flags) {
  BlockView& block = *nb::inst_ptr<BlockView>(self);
  if (!block.owner->viewable()) {
    view->obj = nullptr;
    PyErr_SetString(PyExc_BufferError, "the memory of this view was given back");
    return -1;
  }
  const int rc = PyBuffer_FillInfo(view, self, block.data, static_cast<Py_ssize_t>(block.size), block.readonly, flags);
  if (rc == 0) block.owner->view_opened();
  return rc;
}

void release_buffer(PyObject* self, Py_buffer* /*view*/) {
  nb::inst_ptr<BlockView>(self)->owner->view_closed();
}

PyType_Slot kBufferSlots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(&get_buffer)},
                              {Py_bf_releasebuffer, reinterpret_cast<void*>(&release_buffer)},
                              {0, nullptr}};

}  // namespace

nb::object memoryview_of(std::shared_ptr<Viewed> owner, std::byte* data, std::size_t size, bool readonly) {
  const nb::object block = nb::cast(BlockView{std::move(owner), data, size, readonly});
  nb::object view = nb::steal(PyMemoryView_FromObject(block.ptr()));
  if (!view.is_valid()) throw nb::python_error();
  return view;
}

MappedMemory::~MappedMemory() {
  const nb::gil_scoped_release released;
  keeper_.reset();
}

void bind_views(nb::module_& m) {
  nb::class_<BlockView>(m, "BlockView", nb::type_slots(kBufferSlots), "What the memoryviews of blocks lean on.");
}

}  // namespace reprise::python
