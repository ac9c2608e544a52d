// Namespace in Python: keyword arguments, all of them mandatory but `extras`.
#pragma once

#include <nanobind/nanobind.h>

namespace reprise::python {

void bind_namespaces(nanobind::module_& m);

}  // namespace reprise::python
