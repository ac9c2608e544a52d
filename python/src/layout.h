// KvPieces in Python: gather and scatter between an engine's paged KV tensors and blocks.
#pragma once

#include <nanobind/nanobind.h>

namespace reprise::python {

void bind_layout(nanobind::module_& m);

}  // namespace reprise::python
