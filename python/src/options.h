// Keyword arguments of Cache.open to CacheOptions, by the table every other form of an option comes from.
#pragma once

#include <nanobind/nanobind.h>

#include "reprise/options.h"

namespace reprise::python {

/// Names are those of docs/configuration.md with '_' for '.' and '-'. Values are text as there, or numbers (bytes for
/// sizes, seconds for durations), bools and timedeltas. Throws TypeError for an unknown name, with the nearest one; a
/// ConfigError for a value that cannot be.
[[nodiscard]] CacheOptions options_of(const nanobind::kwargs& arguments);

}  // namespace reprise::python
