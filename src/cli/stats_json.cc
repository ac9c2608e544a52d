#include "cli/stats_json.h"

#include <nlohmann/json.hpp>

namespace reprise::cli {

using Json = nlohmann::ordered_json;

Json tier_json(const TierStats& stats) {
  return {{"name", stats.name},
          {"capacity_bytes", stats.capacity_bytes},
          {"used_bytes", stats.used_bytes},
          {"blocks", stats.blocks},
          {"hits", stats.hits},
          {"read_bytes", stats.read_bytes},
          {"writes", stats.writes},
          {"write_bytes", stats.write_bytes},
          {"evictions", stats.evictions},
          {"corrupt", stats.corrupt},
          {"foreign", stats.foreign},
          {"errors", stats.errors}};
}

Json stats_json(const CacheStats& stats) {
  Json reasons = Json::object();
  for (int i = 1; i < kReasonCount; ++i) {
    const std::uint64_t count = stats.reasons[static_cast<std::size_t>(i)];
    if (count > 0) reasons[std::string(to_string(static_cast<Reason>(i)))] = count;
  }
  return {{"l1", tier_json(stats.l1)},
          {"l2", tier_json(stats.l2)},
          {"requested", stats.requested},
          {"declined", stats.declined},
          {"leases", stats.leases},
          {"leased_blocks", stats.leased_blocks},
          {"leases_expired", stats.leases_expired},
          {"touches_dropped", stats.touches_dropped},
          {"ingest_queued_bytes", stats.ingest_queued_bytes},
          {"ingest_dropped", stats.ingest_dropped},
          {"abandoned", stats.abandoned},
          {"abandoned_running", stats.abandoned_running},
          {"ejections", stats.ejections},
          {"metadata_bytes", stats.metadata_bytes},
          {"fixed_bytes", stats.fixed_bytes},
          {"populated", stats.populated},
          {"reasons", std::move(reasons)}};
}

}  // namespace reprise::cli
