// What the admin pages may see of a server, and the two things they may do to it.
//
// Values only, each a snapshot; Server implements it, admin tests have a double. Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "reprise/deadline.h"
#include "reprise/keys.h"
#include "reprise/namespace.h"
#include "reprise/stats.h"
#include "reprise/status.h"

namespace reprise {

struct TenantView {
  std::string name;
  CacheStats stats;
  std::uint64_t sessions = 0;
  std::uint64_t reserved_bytes = 0;                               ///< Of reservations not committed yet.
  std::uint64_t limited = 0;                                      ///< Requests refused by the operation rate.
  std::vector<std::pair<std::string, std::uint64_t>> departures;  ///< Blocks that left memory, by why.
};

struct NamespaceView {
  std::string tenant;
  NamespaceId id;
  NamespaceSpec spec;  ///< Empty model: nobody has opened it since the server started.
  std::uint64_t blocks = 0;
  std::uint64_t bytes = 0;
};

struct SessionView {
  std::uint64_t id = 0;
  std::string tenant;
  std::string client;  ///< What the client calls itself.
  std::string peer;    ///< "unix pid 123 uid 1000", "10.0.0.7:41234 tls".
  std::string state;   ///< "open", "handshake", "dismissed: reason".
  std::chrono::seconds age{};
  std::chrono::seconds idle{};
  std::uint64_t leases = 0;
  std::uint64_t reserved_bytes = 0;
  std::uint64_t requests = 0;
  std::uint64_t bytes_in = 0;
  std::uint64_t bytes_out = 0;
};

/// One message type's counters. Latency: from the whole request's arrival to its reply's handing over.
struct MessageView {
  std::string name;
  std::uint64_t requests = 0;
  std::uint64_t errors = 0;
  static constexpr int kBuckets = 24;        ///< Bucket i counts latencies below 2^i microseconds.
  std::uint64_t latency[kBuckets + 1] = {};  ///< The last one: all others.
  std::uint64_t latency_sum_ns = 0;
};

struct ServerStatsView {
  std::uint64_t connections = 0;  ///< Open now.
  std::uint64_t connections_accepted = 0;
  std::vector<std::pair<std::string, std::uint64_t>> closed;  ///< Connections ended, by reason.
  std::uint64_t bytes_in = 0;
  std::uint64_t bytes_out = 0;
  std::vector<MessageView> messages;
};

struct ExplainView {
  std::string tenant;
  NamespaceId ns;
  std::string where;  ///< "memory", "being written", "on its way to L2", "L2", "nowhere".
  std::uint64_t bytes = 0;
  std::optional<std::chrono::seconds> age;
  std::uint64_t hits = 0;
  std::uint64_t readers = 0;
  std::vector<std::string> holders;              ///< Sessions that lease it.
  std::string last_departure;                    ///< Why the last copy left memory; empty when not known.
  std::optional<std::chrono::seconds> departed;  ///< How long ago.
};

class ServerView {
 public:
  virtual ~ServerView() = default;
  [[nodiscard]] virtual bool ready() const = 0;         ///< Accepting sessions: not starting, not draining.
  [[nodiscard]] virtual std::string state() const = 0;  ///< "starting", "ready", "draining".
  [[nodiscard]] virtual std::chrono::seconds uptime() const = 0;
  [[nodiscard]] virtual std::vector<TenantView> tenants() const = 0;
  [[nodiscard]] virtual ServerStatsView server_stats() const = 0;
  [[nodiscard]] virtual std::vector<NamespaceView> namespaces() const = 0;
  [[nodiscard]] virtual std::vector<SessionView> sessions() const = 0;
  /// Every tenant and namespace that knows, or knew, the key.
  [[nodiscard]] virtual std::vector<ExplainView> explain(const BlockKey& key, Deadline deadline) = 0;
  /// Option name, value as text, where it came from; secrets replaced.
  struct ConfigEntry {
    std::string name;
    std::string value;
    std::string source;
  };
  [[nodiscard]] virtual std::vector<ConfigEntry> config() const = 0;
  /// Forgets a tenant's (all tenants', if empty) blocks of one namespace or of all; how many blocks were dropped.
  [[nodiscard]] virtual Result<std::uint64_t> purge(const std::string& tenant, std::optional<NamespaceId> ns,
                                                    Deadline deadline) = 0;
};

}  // namespace reprise
