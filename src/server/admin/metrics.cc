#include "server/admin/metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <sstream>
#include <utility>
#include <vector>

namespace reprise::admin {

namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

ClientMetric sample(MetricType type, Labels labels, double value) {
  ClientMetric metric;
  metric.label = std::move(labels);
  (type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
  return metric;
}

MetricFamily single(const char* name, MetricType type, const char* help, double value, Labels labels = {}) {
  return {name, help, type, {sample(type, std::move(labels), value)}};
}

struct TierMetric {
  const char* name;
  MetricType type;
  const char* help;
  std::uint64_t TierStats::* value;
};

constexpr TierMetric kTier[] = {
    {"reprise_capacity_bytes", MetricType::Gauge, "Payload bytes the tier may hold.", &TierStats::capacity_bytes},
    {"reprise_used_bytes", MetricType::Gauge, "Payload bytes the tier holds.", &TierStats::used_bytes},
    {"reprise_blocks", MetricType::Gauge, "Blocks the tier holds.", &TierStats::blocks},
    {"reprise_hits_total", MetricType::Counter, "Blocks that acquire or get served from the tier.", &TierStats::hits},
    {"reprise_read_bytes_total", MetricType::Counter, "Bytes read from the tier.", &TierStats::read_bytes},
    {"reprise_writes_total", MetricType::Counter, "Blocks stored in the tier.", &TierStats::writes},
    {"reprise_written_bytes_total", MetricType::Counter, "Bytes stored in the tier.", &TierStats::write_bytes},
    {"reprise_evictions_total", MetricType::Counter, "Blocks evicted to make room.", &TierStats::evictions},
    {"reprise_corrupt_total", MetricType::Counter, "Copies dropped for a failed checksum.", &TierStats::corrupt},
    {"reprise_foreign_total", MetricType::Counter, "Copies not used because they belong to something else.",
     &TierStats::foreign},
    {"reprise_tier_errors_total", MetricType::Counter, "Failed operations of the tier.", &TierStats::errors},
};

struct TenantMetric {
  const char* name;
  MetricType type;
  const char* help;
  double (*value)(const TenantView&);
};

constexpr TenantMetric kTenant[] = {
    {"reprise_requested_total", MetricType::Counter, "Blocks asked for by acquire and get.",
     [](const TenantView& t) { return double(t.stats.requested); }},
    {"reprise_declined_total", MetricType::Counter, "Offered blocks that no tier kept.",
     [](const TenantView& t) { return double(t.stats.declined); }},
    {"reprise_leases", MetricType::Gauge, "Live leases.", [](const TenantView& t) { return double(t.stats.leases); }},
    {"reprise_leased_blocks", MetricType::Gauge, "Blocks of live leases, counted once for each lease.",
     [](const TenantView& t) { return double(t.stats.leased_blocks); }},
    {"reprise_leases_expired_total", MetricType::Counter, "Leases that ran out before they were released.",
     [](const TenantView& t) { return double(t.stats.leases_expired); }},
    {"reprise_reserved_bytes", MetricType::Gauge, "Memory of reservations not committed yet.",
     [](const TenantView& t) { return double(t.reserved_bytes); }},
    {"reprise_sessions", MetricType::Gauge, "Sessions.", [](const TenantView& t) { return double(t.sessions); }},
    {"reprise_limited_total", MetricType::Counter, "Requests refused by the tenant's operation rate.",
     [](const TenantView& t) { return double(t.limited); }},
    {"reprise_touches_dropped_total", MetricType::Counter, "Touch records lost to a full queue.",
     [](const TenantView& t) { return double(t.stats.touches_dropped); }},
    {"reprise_ingest_queued_bytes", MetricType::Gauge, "Bytes that wait to be written to L2.",
     [](const TenantView& t) { return double(t.stats.ingest_queued_bytes); }},
    {"reprise_ingest_dropped_total", MetricType::Counter, "Blocks not written to L2 because the queue was full.",
     [](const TenantView& t) { return double(t.stats.ingest_dropped); }},
    {"reprise_abandoned_total", MetricType::Counter, "L2 operations left behind at their deadline.",
     [](const TenantView& t) { return double(t.stats.abandoned); }},
    {"reprise_abandoned_running", MetricType::Gauge, "L2 operations left behind that still run.",
     [](const TenantView& t) { return double(t.stats.abandoned_running); }},
    {"reprise_ejections_total", MetricType::Counter, "Times L2 was ejected for a while.",
     [](const TenantView& t) { return double(t.stats.ejections); }},
    {"reprise_metadata_bytes", MetricType::Gauge, "Memory of index, entries, policy and ghosts.",
     [](const TenantView& t) { return double(t.stats.metadata_bytes); }},
    {"reprise_fixed_bytes", MetricType::Gauge, "Memory of tables whose size does not depend on the capacity.",
     [](const TenantView& t) { return double(t.stats.fixed_bytes); }},
    {"reprise_populated_ratio", MetricType::Gauge, "Share of the arena that is backed by pages already.",
     [](const TenantView& t) { return t.stats.populated; }},
};

void add_tenants(const std::vector<TenantView>& tenants, std::vector<MetricFamily>& families) {
  for (const TierMetric& metric : kTier) {
    MetricFamily family{metric.name, metric.help, metric.type, {}};
    for (const TenantView& tenant : tenants) {
      for (const TierStats* tier : {&tenant.stats.l1, &tenant.stats.l2}) {
        if (tier == &tenant.stats.l2 && tier->name.empty()) continue;  // There is none.
        const char* name = tier == &tenant.stats.l1 ? "l1" : "l2";
        family.metric.push_back(
            sample(metric.type, {{"tenant", tenant.name}, {"tier", name}}, double(tier->*metric.value)));
      }
    }
    families.push_back(std::move(family));
  }
  for (const TenantMetric& metric : kTenant) {
    MetricFamily family{metric.name, metric.help, metric.type, {}};
    for (const TenantView& tenant : tenants) {
      family.metric.push_back(sample(metric.type, {{"tenant", tenant.name}}, metric.value(tenant)));
    }
    families.push_back(std::move(family));
  }
}

void add_reasons(const std::vector<TenantView>& tenants, std::vector<MetricFamily>& families) {
  MetricFamily ended{"reprise_short_answers_total",
                     "Answers of acquire and get that hold fewer blocks than asked for, by reason.",
                     MetricType::Counter,
                     {}};
  MetricFamily left{"reprise_departures_total", "Blocks that left memory, by reason.", MetricType::Counter, {}};
  for (const TenantView& tenant : tenants) {
    for (int i = 1; i < kReasonCount; ++i) {  // Without kNone: nothing was missing.
      const std::string reason(to_string(static_cast<Reason>(i)));
      ended.metric.push_back(sample(MetricType::Counter, {{"tenant", tenant.name}, {"reason", reason}},
                                    double(tenant.stats.reasons[static_cast<std::size_t>(i)])));
    }
    for (const auto& [reason, count] : tenant.departures) {
      left.metric.push_back(sample(MetricType::Counter, {{"tenant", tenant.name}, {"reason", reason}}, double(count)));
    }
  }
  families.push_back(std::move(ended));
  families.push_back(std::move(left));
}

ClientMetric histogram(const MessageView& message) {
  ClientMetric metric;
  metric.label = {{"message", message.name}};
  std::uint64_t below = 0;
  for (int i = 0; i < MessageView::kBuckets; ++i) {
    below += message.latency[i];
    metric.histogram.bucket.push_back({below, latency_bound(i)});
  }
  below += message.latency[MessageView::kBuckets];
  metric.histogram.bucket.push_back({below, INFINITY});
  metric.histogram.sample_count = below;
  metric.histogram.sample_sum = double(message.latency_sum_ns) * 1e-9;
  return metric;
}

void add_server(const ServerView& view, std::vector<MetricFamily>& families) {
  const ServerStatsView stats = view.server_stats();
  families.push_back(single("reprise_build_info", MetricType::Gauge, "Always 1; the version is in the label.", 1,
                            {{"version", REPRISE_VERSION}}));
  families.push_back(
      single("reprise_ready", MetricType::Gauge, "1 while sessions are accepted.", view.ready() ? 1 : 0));
  families.push_back(
      single("reprise_uptime_seconds", MetricType::Gauge, "Since the server started.", double(view.uptime().count())));
  families.push_back(single("reprise_resident_memory_bytes", MetricType::Gauge, "Resident memory of the process.",
                            double(resident_bytes())));
  families.push_back(
      single("reprise_connections", MetricType::Gauge, "Connections of clients.", double(stats.connections)));
  families.push_back(single("reprise_connections_accepted_total", MetricType::Counter, "Connections accepted.",
                            double(stats.connections_accepted)));
  MetricFamily closed{"reprise_connections_closed_total", "Connections ended, by reason.", MetricType::Counter, {}};
  for (const auto& [reason, count] : stats.closed) {
    closed.metric.push_back(sample(MetricType::Counter, {{"reason", reason}}, double(count)));
  }
  families.push_back(std::move(closed));
  families.push_back(single("reprise_received_bytes_total", MetricType::Counter,
                            "Bytes received on the sockets of clients.", double(stats.bytes_in)));
  families.push_back(single("reprise_sent_bytes_total", MetricType::Counter, "Bytes sent on the sockets of clients.",
                            double(stats.bytes_out)));
  MetricFamily requests{"reprise_requests_total", "Requests carried out, by message.", MetricType::Counter, {}};
  MetricFamily errors{"reprise_request_errors_total", "Requests answered with an error.", MetricType::Counter, {}};
  MetricFamily latency{"reprise_request_duration_seconds",
                       "From the whole request's arrival to the handing over of its reply.",
                       MetricType::Histogram,
                       {}};
  for (const MessageView& message : stats.messages) {
    requests.metric.push_back(sample(MetricType::Counter, {{"message", message.name}}, double(message.requests)));
    errors.metric.push_back(sample(MetricType::Counter, {{"message", message.name}}, double(message.errors)));
    latency.metric.push_back(histogram(message));
  }
  for (MetricFamily* family : {&requests, &errors, &latency}) families.push_back(std::move(*family));
}

}  // namespace

std::string metrics_text(const ServerView& view) {
  std::vector<MetricFamily> families;
  add_server(view, families);
  const std::vector<TenantView> tenants = view.tenants();
  add_tenants(tenants, families);
  add_reasons(tenants, families);
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, families);
  return out.str();
}

double latency_bound(int i) {
  return std::ldexp(1e-6, i);
}

double latency_quantile(const MessageView& message, double share) {
  std::uint64_t count = 0;
  for (const std::uint64_t bucket : message.latency) count += bucket;
  const double wanted = share * double(count);
  double below = 0;
  for (int i = 0; i < MessageView::kBuckets; ++i) {
    const double here = double(message.latency[i]);
    if (here > 0 && below + here >= wanted) {
      const double low = i == 0 ? 0 : latency_bound(i - 1);
      return low + (latency_bound(i) - low) * (wanted - below) / here;
    }
    below += here;
  }
  return count == 0 ? 0 : latency_bound(MessageView::kBuckets - 1);
}

std::uint64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::uint64_t pages = 0, resident = 0;
  if (!(statm >> pages >> resident)) return 0;
  return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace reprise::admin
