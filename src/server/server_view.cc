// What the server shows of itself (view.h), and the purge.

#include <algorithm>
#include <map>
#include <utility>

#include "server/server.h"

namespace reprise {

std::string_view to_string(Ending ending) {
  switch (ending) {
    case Ending::kPeerClosed: return "peer closed";
    case Ending::kBroken: return "broken";
    case Ending::kOutOfStep: return "out of step";
    case Ending::kDenied: return "denied";
    case Ending::kHandshake: return "handshake";
    case Ending::kStalled: return "stalled";
    case Ending::kIdle: return "idle";
    case Ending::kDraining: return "draining";
    case Ending::kFull: return "too many connections";
  }
  return "unknown";
}

std::chrono::seconds Server::uptime() const {
  return std::chrono::duration_cast<std::chrono::seconds>(TimePoint::clock::now() - started_);
}

std::vector<TenantView> Server::tenants() const {
  std::map<std::string, std::uint64_t> sessions;
  for (const auto& connection : connections()) {
    if (const auto session = connection->session()) ++sessions[session->tenant().name()];
  }
  std::vector<TenantView> all;
  for (const auto& tenant : tenant_list()) {
    TenantView& view = all.emplace_back();
    view.name = tenant->name();
    view.stats = tenant->engine().stats();
    view.sessions = sessions[view.name];
    view.reserved_bytes = tenant->reserved_bytes.load();
    view.limited = tenant->limited();
    const DepartureCounts counts = tenant->engine().departures();
    for (int i = 0; i < kDepartureWhyCount; ++i) {
      view.departures.emplace_back(to_string(static_cast<DepartureWhy>(i)), counts[static_cast<std::size_t>(i)]);
    }
  }
  return all;
}

ServerStatsView Server::server_stats() const {
  constexpr auto kRelaxed = std::memory_order_relaxed;
  ServerStatsView view;
  view.bytes_in = metrics_.bytes_in.load(kRelaxed);
  view.bytes_out = metrics_.bytes_out.load(kRelaxed);
  const TimePoint now = TimePoint::clock::now();
  const auto open = connections();
  for (const auto& connection : open) {
    const SessionView session = connection->view(now);
    view.bytes_in += session.bytes_in;
    view.bytes_out += session.bytes_out;
  }
  view.connections = open.size();
  view.connections_accepted = metrics_.accepted.load(kRelaxed);
  for (int i = 0; i < kEndingCount; ++i) {
    view.closed.emplace_back(to_string(static_cast<Ending>(i)),
                             metrics_.endings[static_cast<std::size_t>(i)].load(kRelaxed));
  }
  const auto add = [&](std::string name, const MessageMetrics& from) {
    MessageView& message = view.messages.emplace_back();
    message.name = std::move(name);
    message.requests = from.requests.load(kRelaxed);
    message.errors = from.errors.load(kRelaxed);
    for (std::size_t i = 0; i < from.latency.size(); ++i) message.latency[i] = from.latency[i].load(kRelaxed);
    message.latency_sum_ns = from.latency_sum_ns.load(kRelaxed);
  };
  for (const wire::MessageSpec& spec : wire::message_table()) {
    if (!spec.early) add(std::string(spec.name), metrics_.messages[static_cast<std::size_t>(spec.type)]);
  }
  add("unknown", metrics_.messages[ServerMetrics::kTypes - 1]);
  return view;
}

std::vector<NamespaceView> Server::namespaces() const {
  std::vector<NamespaceView> all;
  for (const auto& tenant : tenant_list()) {
    std::map<NamespaceId, NamespaceView> by_id;
    for (const auto& ns : tenant->namespaces()) by_id[ns->id()].spec = ns->spec();
    for (const NamespaceUsage& usage : tenant->engine().usage()) {
      NamespaceView& view = by_id[usage.id];
      view.blocks = usage.blocks;
      view.bytes = usage.bytes;
    }
    for (auto& [id, view] : by_id) {
      view.tenant = tenant->name();
      view.id = id;
      view.spec.salt.reset();  // a secret of the tenant's
      all.push_back(std::move(view));
    }
  }
  return all;
}

std::vector<SessionView> Server::sessions() const {
  std::vector<SessionView> all;
  const TimePoint now = TimePoint::clock::now();
  for (const auto& connection : connections()) all.push_back(connection->view(now));
  std::ranges::sort(all, {}, &SessionView::id);
  return all;
}

std::vector<ExplainView> Server::explain(const BlockKey& key, Deadline deadline) {
  std::vector<ExplainView> all;
  for (const auto& tenant : tenant_list()) {
    for (const auto& ns : tenant->namespaces()) {
      const auto found = tenant->engine().explain(ns->id(), key, deadline);
      if (!found) continue;
      if (found->where == Explained::Where::kNowhere && !found->last_departure) continue;
      ExplainView& view = all.emplace_back();
      view.tenant = tenant->name();
      view.ns = ns->id();
      view.where = to_string(found->where);
      view.bytes = found->bytes;
      view.hits = found->hits;
      view.readers = found->readers;
      if (found->where == Explained::Where::kL1) view.age = found->age;
      if (found->last_departure) {
        view.last_departure = to_string(found->last_departure->why);
        view.departed = found->last_departure->ago;
      }
      if (found->memory == nullptr) continue;
      for (const auto& connection : connections()) {
        if (connection->holds(found->memory)) view.holders.push_back(std::to_string(connection->id()));
      }
    }
  }
  return all;
}

Result<std::uint64_t> Server::purge(const std::string& tenant, std::optional<NamespaceId> ns, Deadline deadline) {
  std::uint64_t purged = 0;
  bool known = tenant.empty();
  for (const auto& each : tenant_list()) {
    if (!tenant.empty() && each->name() != tenant) continue;
    known = true;
    purged += each->engine().purge(ns, deadline);
  }
  if (!known) return fail(ErrorCode::kInvalid, "there is no tenant '" + tenant + "'");
  return purged;
}

}  // namespace reprise
