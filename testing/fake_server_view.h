// A server for the admin pages to look at, with two tenants, and whatever a test puts into it. Thread-safe once `value`
// is as it should be; `change` alters it while others look.
#pragma once

#include <functional>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "server/view.h"

namespace reprise::testing {

class FakeServerView : public ServerView {
 public:
  struct Value {
    std::string state = "ready";
    std::chrono::seconds uptime{90};
    std::vector<TenantView> tenants;
    ServerStatsView server;
    std::vector<NamespaceView> namespaces;
    std::vector<SessionView> sessions;
    std::vector<ConfigEntry> config;
    std::vector<ExplainView> explained;
    Result<std::uint64_t> purged = std::uint64_t{0};
  };

  FakeServerView() { fill(); }

  void change(const std::function<void(Value&)>& how) {
    const std::scoped_lock lock(mutex_);
    how(value_);
  }
  /// Called, outside the lock, by every explain and purge before it answers.
  std::function<void()> before_answer;
  /// What explain and purge were asked for, as text.
  std::vector<std::string> asked() const {
    const std::scoped_lock lock(mutex_);
    return asked_;
  }

  bool ready() const override { return look().state == "ready"; }
  std::string state() const override { return look().state; }
  std::chrono::seconds uptime() const override { return look().uptime; }
  std::vector<TenantView> tenants() const override { return look().tenants; }
  ServerStatsView server_stats() const override { return look().server; }
  std::vector<NamespaceView> namespaces() const override { return look().namespaces; }
  std::vector<SessionView> sessions() const override { return look().sessions; }
  std::vector<ConfigEntry> config() const override { return look().config; }
  std::vector<ExplainView> explain(const BlockKey& key, Deadline) override {
    note("explain " + key.hex());
    return look().explained;
  }
  Result<std::uint64_t> purge(const std::string& tenant, std::optional<NamespaceId> ns, Deadline) override {
    note("purge '" + tenant + "' " + (ns ? ns->hex() : "all"));
    return look().purged;
  }

 private:
  Value look() const {
    const std::scoped_lock lock(mutex_);
    return value_;
  }
  void note(std::string what) {
    {
      const std::scoped_lock lock(mutex_);
      if (asked_.size() < 1000) asked_.push_back(std::move(what));
    }
    if (before_answer) before_answer();
  }

  static TenantView tenant(const std::string& name, bool with_l2) {
    TenantView out;
    out.name = name;
    out.stats.l1 = {"l1", 64 << 20, 48 << 20, 192, 900, 900 << 18, 1200, 1200 << 18, 1008, 1, 2, 3};
    if (with_l2) out.stats.l2 = {"disk", 1 << 30, 256 << 20, 1024, 300, 300 << 18, 1100, 1100 << 18, 76, 4, 5, 6};
    out.stats.requested = 2000;
    out.stats.leases = 3;
    out.stats.leased_blocks = 12;
    out.stats.metadata_bytes = 1 << 20;
    out.stats.populated = 0.75;
    out.stats.reasons[static_cast<std::size_t>(Reason::kMiss)] = 41;
    out.sessions = 2;
    out.reserved_bytes = 1 << 18;
    out.limited = 7;
    out.departures = {{"evicted", 1000}, {"erased", 8}};
    return out;
  }

  void fill() {
    value_.tenants = {tenant("default", true), tenant("team-b", false)};
    value_.server.connections = 4;
    value_.server.connections_accepted = 19;
    value_.server.closed = {{"peer", 14}, {"idle", 1}};
    value_.server.bytes_in = 1 << 20;
    value_.server.bytes_out = 3 << 20;
    MessageView acquire;
    acquire.name = "acquire";
    acquire.requests = 100;
    acquire.errors = 2;
    acquire.latency[4] = 50;                     // 8 to 16 us
    acquire.latency[10] = 49;                    // 0.5 to 1 ms
    acquire.latency[MessageView::kBuckets] = 1;  // Longer than the last bucket.
    acquire.latency_sum_ns = 60'000'000;
    MessageView put;
    put.name = "put";
    value_.server.messages = {acquire, put};
    NamespaceView ns;
    ns.tenant = "default";
    ns.id = NamespaceId::from_words(1, 2);
    ns.spec.model = "meta-llama/Llama-3.1-8B";
    ns.spec.revision = "none";
    ns.spec.dtype = "bfloat16";
    ns.spec.layout = "vllm-flash";
    ns.spec.block_tokens = 16;
    ns.spec.block_bytes = 1 << 18;
    ns.spec.layers = IndexRange{0, 32};
    ns.spec.heads = IndexRange{0, 8};
    ns.spec.salt = "a tenant's secret";
    ns.spec.extras = {{"rope", "none"}};
    ns.blocks = 192;
    ns.bytes = 48 << 20;
    NamespaceView unknown;
    unknown.tenant = "team-b";
    unknown.id = NamespaceId::from_words(3, 4);
    value_.namespaces = {ns, unknown};
    SessionView session;
    session.id = 5;
    session.tenant = "default";
    session.client = "engine <script>alert(1)</script> \xff";
    session.peer = "unix pid 123 uid 1000";
    session.state = "open";
    session.age = std::chrono::seconds(61);
    session.requests = 77;
    value_.sessions = {session};
    value_.config = {{"l1.capacity", "64MiB", "flag"}, {"auth.file", "(set)", "file"}};
    ExplainView explained;
    explained.tenant = "default";
    explained.ns = ns.id;
    explained.where = "memory";
    explained.bytes = 1 << 18;
    explained.age = std::chrono::seconds(12);
    explained.hits = 9;
    explained.holders = {"session 5"};
    value_.explained = {explained};
    value_.purged = std::uint64_t{192};
  }

  mutable std::mutex mutex_;
  Value value_;
  std::vector<std::string> asked_;
};

}  // namespace reprise::testing
