// The policies that come with Reprise, by factory. PolicyRegistry::with_builtins() names them; docs/policies.md
// describes them. Each object is one EvictionPolicy: called by one thread at a time, owner of all its state.
#pragma once

#include <memory>

#include "reprise/eviction.h"

namespace reprise::eviction {

[[nodiscard]] std::unique_ptr<EvictionPolicy> make_lru(const PolicyConfig& config);
[[nodiscard]] std::unique_ptr<EvictionPolicy> make_fifo(const PolicyConfig& config);
[[nodiscard]] std::unique_ptr<EvictionPolicy> make_s3fifo(const PolicyConfig& config);
[[nodiscard]] std::unique_ptr<EvictionPolicy> make_adaptive(const PolicyConfig& config);

}  // namespace reprise::eviction
