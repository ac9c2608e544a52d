// The daemon without its process: listens, serves, watches over its connections, and shows itself to the admin pages.
//
// Threads: a few that serve (poller.h), some that wait for L2 (waiting_pool.h), one housekeeper. All methods may be
// called from any thread. Destroying it drops every connection.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/server_options.h"
#include "reprise/cache.h"
#include "server/connection.h"
#include "server/gate.h"
#include "server/greeter.h"
#include "server/view.h"
#include "transport/socket_stream.h"
#include "transport/tls.h"

namespace reprise {

class Server final : public ServerView, private Doorkeeper {
 public:
  /// `config` is what the pages show of the configuration. kConfig, naming the option, when the options cannot work,
  /// would be unsafe, or an address is taken; nothing listens then.
  [[nodiscard]] static Result<std::unique_ptr<Server>> start(const CacheOptions& cache, const ServerOptions& options,
                                                             const PolicyRegistry& policies,
                                                             const StoreRegistry& stores,
                                                             std::vector<ConfigEntry> config = {});
  ~Server() override;

  /// Reads auth.file again: new tenants and tokens count from now on; sessions of a token that is gone are ended. On an
  /// error everything stays as it was.
  [[nodiscard]] Result<void> reload();
  /// No new sessions, and nothing new for the old ones; waits for leases, then for writes to L2. False when
  /// server.drain-timeout was not enough.
  bool drain();

  /// The real ports; 0 where nothing listens.
  [[nodiscard]] std::uint16_t tcp_port() const { return tcp_.port; }
  /// "unix /run/reprise.sock", "tcp 127.0.0.1:9600 tls": for people.
  [[nodiscard]] std::vector<std::string> listening() const;

  [[nodiscard]] bool ready() const override { return !draining_.load(); }
  [[nodiscard]] std::string state() const override { return draining_.load() ? "draining" : "ready"; }
  [[nodiscard]] std::chrono::seconds uptime() const override;
  [[nodiscard]] std::vector<TenantView> tenants() const override;
  [[nodiscard]] ServerStatsView server_stats() const override;
  [[nodiscard]] std::vector<NamespaceView> namespaces() const override;
  [[nodiscard]] std::vector<SessionView> sessions() const override;
  [[nodiscard]] std::vector<ExplainView> explain(const BlockKey& key, Deadline deadline) override;
  [[nodiscard]] std::vector<ConfigEntry> config() const override { return config_; }
  [[nodiscard]] Result<std::uint64_t> purge(const std::string& tenant, std::optional<NamespaceId> ns,
                                            Deadline deadline) override;

 private:
  Server(const CacheOptions& cache, const ServerOptions& options, PolicyRegistry policies, StoreRegistry stores,
         std::vector<ConfigEntry> config);

  Result<void> open_tenants();
  Result<std::shared_ptr<Tenant>> make_tenant(const TenantSpec& spec);
  Result<void> listen();
  void run();
  void on_ready(std::uint64_t id);
  void accept_all(std::uint64_t listener);
  void accept_one(FileDescriptor socket, bool is_unix);
  void housekeep();
  [[nodiscard]] std::vector<std::shared_ptr<Connection>> connections() const;
  [[nodiscard]] std::vector<std::shared_ptr<Tenant>> tenant_list() const;

  [[nodiscard]] std::optional<Token> find_token(const std::string& key_id) const override;
  [[nodiscard]] std::shared_ptr<Tenant> anonymous(bool is_unix) const override;
  [[nodiscard]] Duration lease_ttl() const override { return cache_options_.lease_ttl; }

  const CacheOptions cache_options_;
  const ServerOptions options_;
  const PolicyRegistry policies_;
  const StoreRegistry stores_;
  const std::vector<ConfigEntry> config_;
  const TimePoint started_;
  Gate gate_;
  std::shared_ptr<const TlsContext> tls_;  // shared with streams
  FileDescriptor unix_;
  TcpListener tcp_;

  mutable std::mutex tenants_mutex_;                        // guards tenants_ and tokens_
  std::map<std::string, std::shared_ptr<Tenant>> tenants_;  // shared with sessions
  std::map<std::string, Token> tokens_;

  ServerMetrics metrics_;
  std::atomic<bool> draining_{false};
  std::atomic<int> spinning_{0};

  mutable std::mutex connections_mutex_;                                        // guards connections_
  std::unordered_map<std::uint64_t, std::shared_ptr<Connection>> connections_;  // shared with whoever runs one
  std::atomic<std::uint64_t> next_id_;

  std::unique_ptr<Poller> poller_;
  std::unique_ptr<WaitingPool> waiting_;
  std::unique_ptr<ConnectionHost> host_;

  std::mutex housekeeper_mutex_;
  std::condition_variable housekeeper_wake_;
  bool stopping_ = false;  // guarded by housekeeper_mutex_
  std::thread housekeeper_;
};

}  // namespace reprise
