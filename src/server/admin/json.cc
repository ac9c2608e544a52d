#include "server/admin/json.h"

#include <nlohmann/json.hpp>

#include "server/admin/metrics.h"

namespace reprise::admin {

namespace {

using Json = nlohmann::ordered_json;

std::string text(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Json counts(const std::vector<std::pair<std::string, std::uint64_t>>& pairs) {
  Json out = Json::object();
  for (const auto& [name, count] : pairs) out[name] = count;
  return out;
}

void add(TierStats& sum, const TierStats& tier) {
  if (sum.name.empty()) sum.name = tier.name;
  for (const auto member : {&TierStats::capacity_bytes, &TierStats::used_bytes, &TierStats::blocks, &TierStats::hits,
                            &TierStats::read_bytes, &TierStats::writes, &TierStats::write_bytes, &TierStats::evictions,
                            &TierStats::corrupt, &TierStats::foreign, &TierStats::errors}) {
    sum.*member += tier.*member;
  }
}

/// `populated` becomes the mean over capacity.
void add(CacheStats& sum, const CacheStats& stats) {
  const double before = double(sum.l1.capacity_bytes);
  const double here = double(stats.l1.capacity_bytes);
  if (before + here > 0) sum.populated = (sum.populated * before + stats.populated * here) / (before + here);
  add(sum.l1, stats.l1);
  add(sum.l2, stats.l2);
  for (const auto member :
       {&CacheStats::requested, &CacheStats::declined, &CacheStats::leases, &CacheStats::leased_blocks,
        &CacheStats::leases_expired, &CacheStats::touches_dropped, &CacheStats::ingest_queued_bytes,
        &CacheStats::ingest_dropped, &CacheStats::abandoned, &CacheStats::abandoned_running, &CacheStats::ejections,
        &CacheStats::metadata_bytes, &CacheStats::fixed_bytes}) {
    sum.*member += stats.*member;
  }
  for (std::size_t i = 0; i < sum.reasons.size(); ++i) sum.reasons[i] += stats.reasons[i];
}

Json tier_json(const TierStats& tier) {
  return {{"name", tier.name},
          {"capacity_bytes", tier.capacity_bytes},
          {"used_bytes", tier.used_bytes},
          {"blocks", tier.blocks},
          {"hits", tier.hits},
          {"read_bytes", tier.read_bytes},
          {"writes", tier.writes},
          {"written_bytes", tier.write_bytes},
          {"evictions", tier.evictions},
          {"corrupt", tier.corrupt},
          {"foreign", tier.foreign},
          {"errors", tier.errors}};
}

Json cache_json(const CacheStats& stats) {
  Json reasons = Json::object();
  for (int i = 1; i < kReasonCount; ++i) {
    reasons[std::string(to_string(static_cast<Reason>(i)))] = stats.reasons[static_cast<std::size_t>(i)];
  }
  return {{"l1", tier_json(stats.l1)},
          {"l2", stats.l2.name.empty() ? Json() : tier_json(stats.l2)},
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

Json message_json(const MessageView& message) {
  Json buckets = Json::array();
  for (const std::uint64_t bucket : message.latency) buckets.push_back(bucket);
  return {{"name", message.name},
          {"requests", message.requests},
          {"errors", message.errors},
          {"latency_p50_seconds", latency_quantile(message, 0.5)},
          {"latency_p99_seconds", latency_quantile(message, 0.99)},
          {"latency_sum_seconds", double(message.latency_sum_ns) * 1e-9},
          {"latency_buckets", std::move(buckets)}};
}

Json server_json(const ServerStatsView& stats) {
  Json messages = Json::array();
  for (const MessageView& message : stats.messages) messages.push_back(message_json(message));
  return {{"connections", stats.connections},
          {"connections_accepted", stats.connections_accepted},
          {"connections_closed", counts(stats.closed)},
          {"received_bytes", stats.bytes_in},
          {"sent_bytes", stats.bytes_out},
          {"messages", std::move(messages)}};
}

Json range_json(const std::optional<IndexRange>& range) {
  return range ? Json{{"first", range->first}, {"count", range->count}} : Json();
}

Json seconds_json(const std::optional<std::chrono::seconds>& seconds) {
  return seconds ? Json(seconds->count()) : Json();
}

}  // namespace

std::string stats_json(const ServerView& view) {
  CacheStats sum;
  std::uint64_t sessions = 0, reserved = 0, limited = 0;
  Json tenants = Json::array();
  for (const TenantView& tenant : view.tenants()) {
    add(sum, tenant.stats);
    sessions += tenant.sessions;
    reserved += tenant.reserved_bytes;
    limited += tenant.limited;
    tenants.push_back({{"name", tenant.name},
                       {"sessions", tenant.sessions},
                       {"reserved_bytes", tenant.reserved_bytes},
                       {"limited", tenant.limited},
                       {"departures", counts(tenant.departures)},
                       {"cache", cache_json(tenant.stats)}});
  }
  const Json totals = {{"sessions", sessions},
                       {"leases", sum.leases},
                       {"reserved_bytes", reserved},
                       {"limited", limited},
                       {"cache", cache_json(sum)}};
  return text({{"version", REPRISE_VERSION},
               {"state", view.state()},
               {"ready", view.ready()},
               {"uptime_seconds", view.uptime().count()},
               {"resident_memory_bytes", resident_bytes()},
               {"totals", totals},
               {"tenants", std::move(tenants)},
               {"server", server_json(view.server_stats())}});
}

std::string namespaces_json(const std::vector<NamespaceView>& namespaces) {
  Json out = Json::array();
  for (const NamespaceView& ns : namespaces) {
    Json one = {{"tenant", ns.tenant}, {"namespace", ns.id.hex()}, {"blocks", ns.blocks}, {"used_bytes", ns.bytes}};
    if (ns.spec.model.empty()) {
      one["spec"] = nullptr;
    } else {
      Json extras = Json::object();
      for (const auto& [name, value] : ns.spec.extras) extras[name] = value;
      // Without the salt, which may be a tenant's secret.
      one["spec"] = {{"model", ns.spec.model},
                     {"revision", ns.spec.revision},
                     {"dtype", ns.spec.dtype},
                     {"layout", ns.spec.layout},
                     {"block_tokens", ns.spec.block_tokens},
                     {"block_bytes", ns.spec.block_bytes},
                     {"layers", range_json(ns.spec.layers)},
                     {"heads", range_json(ns.spec.heads)},
                     {"extras", std::move(extras)}};
    }
    out.push_back(std::move(one));
  }
  return text(out);
}

std::string sessions_json(const std::vector<SessionView>& sessions) {
  Json out = Json::array();
  for (const SessionView& session : sessions) {
    out.push_back({{"id", session.id},
                   {"tenant", session.tenant},
                   {"client", session.client},
                   {"peer", session.peer},
                   {"state", session.state},
                   {"age_seconds", session.age.count()},
                   {"idle_seconds", session.idle.count()},
                   {"leases", session.leases},
                   {"reserved_bytes", session.reserved_bytes},
                   {"requests", session.requests},
                   {"received_bytes", session.bytes_in},
                   {"sent_bytes", session.bytes_out}});
  }
  return text(out);
}

std::string explain_json(const std::vector<ExplainView>& found) {
  Json out = Json::array();
  for (const ExplainView& view : found) {
    out.push_back({{"tenant", view.tenant},
                   {"namespace", view.ns.hex()},
                   {"where", view.where},
                   {"block_bytes", view.bytes},
                   {"age_seconds", seconds_json(view.age)},
                   {"hits", view.hits},
                   {"readers", view.readers},
                   {"holders", view.holders},
                   {"last_departure", view.last_departure.empty() ? Json() : Json(view.last_departure)},
                   {"departed_seconds", seconds_json(view.departed)}});
  }
  return text(out);
}

std::string config_json(const std::vector<ServerView::ConfigEntry>& entries) {
  Json out = Json::array();
  for (const auto& entry : entries) {
    out.push_back({{"name", entry.name}, {"value", entry.value}, {"source", entry.source}});
  }
  return text(out);
}

std::string purged_json(std::uint64_t blocks) {
  return text({{"purged_blocks", blocks}});
}

std::string error_json(std::string_view what) {
  return text({{"error", what}});
}

}  // namespace reprise::admin
