// Builds an engine from options and registries: the one place where policies, stores and the engine meet.
//
// A free function, thread-safe; the engine it makes uses the process's steady clock.
#pragma once

#include <memory>

#include "engine/engine.h"

namespace reprise {

/// kConfig, naming the option, when the options cannot work or a factory refuses; kInternal when a factory throws.
[[nodiscard]] Result<std::unique_ptr<Engine>> make_engine(const CacheOptions& options, const PolicyRegistry& policies,
                                                          const StoreRegistry& stores, EngineExtras extras = {});

}  // namespace reprise
