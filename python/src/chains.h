// Chain in Python: owns its keys and its namespace, where the core's is a view of both.
//
// Immutable, so any thread may use one.
#pragma once

#include <nanobind/nanobind.h>

#include <memory>
#include <utility>
#include <vector>

#include "reprise/chain.h"

namespace reprise::python {

struct OwnedChain {
  std::shared_ptr<const Namespace> ns;  // shared with the Python object, which may die first
  std::vector<BlockKey> keys;
  MatchRule rule;

  [[nodiscard]] Chain view() const { return {*ns, keys, rule}; }
};

/// The chains of one call. The owners are kept by the caller's arguments as long as the call runs.
struct ChainList {
  std::vector<Chain> chains;
  std::vector<nanobind::object> owners;  // a list could change while the GIL is released

  /// Of the first chain; the core checks that all agree.
  [[nodiscard]] std::uint64_t block_bytes() const { return chains.front().ns->block_bytes(); }
};

/// From a Chain or a sequence of them. Throws ValueError when there is none.
[[nodiscard]] ChainList chains_of(nanobind::handle argument);

void bind_chains(nanobind::module_& m);

}  // namespace reprise::python
