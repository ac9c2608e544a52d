// What several calls take: timeouts, tokens, one chain or several. Needs the GIL, but for `without_gil`.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "reprise/deadline.h"

namespace reprise::python {

/// Seconds from now; None is never, 0 or less has passed already. Throws ValueError for what is not a number of
/// seconds.
[[nodiscard]] Deadline deadline_of(std::optional<double> seconds);

/// Token ids from a sequence of ints, or from a contiguous buffer of 32- or 64-bit integers (array, numpy, torch).
/// Throws ValueError, with the position, for one that is not in [0, 2^32).
[[nodiscard]] std::vector<std::uint32_t> tokens_of(nanobind::handle tokens);

/// Block numbers of an engine, in the same forms; `name` is the argument's.
[[nodiscard]] std::vector<std::uint32_t> block_ids_of(nanobind::handle ids, const char* name);

/// What `call` returns; the GIL is released while it runs, so it touches no Python object.
template <typename Call>
auto without_gil(Call&& call) {
  const nanobind::gil_scoped_release released;
  return std::forward<Call>(call)();
}

}  // namespace reprise::python
