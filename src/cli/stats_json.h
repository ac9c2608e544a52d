// Counters of a cache as JSON. Pure functions.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "reprise/stats.h"

namespace reprise::cli {

/// Every field by its name; {"name", "capacity_bytes", ...}.
[[nodiscard]] nlohmann::ordered_json tier_json(const TierStats& stats);
/// Every field by its name, the tiers as objects, `reasons` by name where they occurred.
[[nodiscard]] nlohmann::ordered_json stats_json(const CacheStats& stats);

}  // namespace reprise::cli
