// Answers and counters in Python: small objects that never change.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>

#include "reprise/stats.h"

namespace reprise::python {

struct PyStats : CacheStats {
  std::uint64_t deferred_releases = 0;  ///< Leases and reservations left while views of them lived.
};

void bind_answers(nanobind::module_& m);
void bind_stats(nanobind::module_& m);

}  // namespace reprise::python
