// Block keys in Python: bytes of 16.
#pragma once

#include <nanobind/nanobind.h>

#include <vector>

#include "reprise/keys.h"

namespace reprise::python {

/// From a sequence of 16-byte buffers, or one buffer of 16 bytes a key. Throws ValueError with the numbers.
[[nodiscard]] std::vector<BlockKey> keys_of(nanobind::handle keys);
[[nodiscard]] nanobind::list list_of(const std::vector<BlockKey>& keys);

void bind_keys(nanobind::module_& m);

}  // namespace reprise::python
