// Cache in Python.
#pragma once

#include <nanobind/nanobind.h>

namespace reprise::python {

void bind_cache(nanobind::module_& m);

}  // namespace reprise::python
