#include "server/server.h"

#include <sys/epoll.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/options_values.h"
#include "engine/make_engine.h"
#include "memory/arena.h"

namespace reprise {
namespace {

using Steady = std::chrono::steady_clock;

// Numbers of what the poller watches; connections come after.
constexpr std::uint64_t kUnixListener = 1;
constexpr std::uint64_t kTcpListener = 2;
constexpr std::uint64_t kFirstConnection = 16;

constexpr int kAcceptBatch = 64;
constexpr std::chrono::milliseconds kHousekeeping{50};

std::size_t serving_threads(const ServerOptions& options) {
  if (options.threads > 0) return options.threads;
  return std::max<std::size_t>(std::thread::hardware_concurrency() + 2, 4);
}

}  // namespace

Server::Server(const CacheOptions& cache, const ServerOptions& options, PolicyRegistry policies, StoreRegistry stores,
               std::vector<ConfigEntry> config)
    : cache_options_(cache),
      options_(options),
      policies_(std::move(policies)),
      stores_(std::move(stores)),
      config_(std::move(config)),
      started_(Steady::now()),
      next_id_(kFirstConnection) {}

Result<std::unique_ptr<Server>> Server::start(const CacheOptions& cache, const ServerOptions& options,
                                              const PolicyRegistry& policies, const StoreRegistry& stores,
                                              std::vector<ConfigEntry> config) {
  auto gate = Gate::make(options);
  if (!gate) return std::unexpected(gate.error());
  if (cache.l1_capacity == 0) return fail(ErrorCode::kConfig, "l1.capacity is 0: a server keeps blocks in memory");
  CacheOptions shared = cache;
  shared.l1_memory = Memory::kMemfd;
  std::unique_ptr<Server> server(new Server(shared, options, policies, stores, std::move(config)));
  server->gate_ = std::move(*gate);
  if (server->gate_.tls()) {
    auto tls = TlsContext::server(options.tls_cert, options.tls_key, options.tls_client_ca);
    if (!tls) return std::unexpected(tls.error());
    server->tls_ = std::move(*tls);
  }
  if (auto ok = server->open_tenants(); !ok) return std::unexpected(ok.error());
  auto poller = Poller::create();
  if (!poller) return std::unexpected(poller.error());
  server->poller_ = std::move(*poller);
  if (auto ok = server->listen(); !ok) return std::unexpected(ok.error());
  server->run();
  return server;
}

Result<std::shared_ptr<Tenant>> Server::make_tenant(const TenantSpec& spec) {
  CacheOptions options = cache_options_;
  options.l1_capacity = spec.capacity;
  options.l2_url = spec.l2_url;
  auto engine = make_engine(options, policies_, stores_, {.shared_leases = true, .observe = true});
  if (!engine)
    return std::unexpected(Error{engine.error().code, "tenant '" + spec.name + "': " + engine.error().message});
  return std::make_shared<Tenant>(spec, std::move(*engine));
}

Result<void> Server::open_tenants() {
  TenantSpec anonymous;
  anonymous.name = kDefaultTenant;
  anonymous.capacity = cache_options_.l1_capacity;
  anonymous.l2_url = cache_options_.l2_url;
  auto made = make_tenant(anonymous);
  if (!made) return std::unexpected(made.error());
  tenants_.emplace(anonymous.name, std::move(*made));
  return options_.auth_file.empty() ? Result<void>() : reload();
}

Result<void> Server::reload() {
  if (options_.auth_file.empty()) return {};
  const auto specs = read_auth_file(options_.auth_file);
  if (!specs) return std::unexpected(specs.error());
  std::map<std::string, std::shared_ptr<Tenant>> tenants;
  {
    const std::lock_guard lock(tenants_mutex_);
    tenants = tenants_;
  }
  std::map<std::string, Token> tokens;
  std::uint64_t capacity = cache_options_.l1_capacity;
  for (const TenantSpec& spec : *specs) capacity += spec.capacity;
  if (capacity > Arena::usable_memory()) {
    return fail(ErrorCode::kConfig, "auth.file: its tenants and l1.capacity take " + size_text(capacity) +
                                        " together; this machine has " + size_text(Arena::usable_memory()));
  }
  for (const TenantSpec& spec : *specs) {
    auto& tenant = tenants[spec.name];
    if (!tenant) {
      auto made = make_tenant(spec);
      if (!made) return std::unexpected(made.error());
      tenant = std::move(*made);
    }
    if (!tenant->is_built_as(spec)) {
      log::warn("auth.file: tenant '" + spec.name +
                "' keeps its capacity, salt and l2-url until the server is restarted");
    }
    for (const wire::Credential& each : spec.tokens) tokens[each.key_id] = {each.secret, tenant};
  }
  for (const TenantSpec& spec : *specs) tenants.at(spec.name)->set_rate(spec.operations_per_second);
  std::map<std::string, Token> before;
  {
    const std::lock_guard lock(tenants_mutex_);
    tenants_ = std::move(tenants);
    before = std::exchange(tokens_, tokens);
  }
  for (const auto& connection : connections()) {
    const std::string key_id = connection->key_id();
    if (key_id.empty()) continue;
    const auto now = tokens.find(key_id);
    const auto then = before.find(key_id);
    if (now == tokens.end() || then == before.end() || now->second.secret != then->second.secret ||
        now->second.tenant != then->second.tenant) {
      connection->close(Ending::kDenied, ErrorCode::kDenied, "the token '" + key_id + "' is no longer valid");
    }
  }
  return {};
}

Result<void> Server::listen() {
  if (!options_.listen_unix.empty()) {
    auto listener = listen_unix(options_.listen_unix, gate_.socket_mode());
    if (!listener) return std::unexpected(Error{listener.error().code, "listen.unix: " + listener.error().message});
    unix_ = std::move(*listener);
  }
  if (!options_.listen_tcp.empty()) {
    const auto address = parse_host_port(options_.listen_tcp);
    if (!address) return std::unexpected(address.error());
    auto listener = listen_tcp(*address);
    if (!listener) return std::unexpected(Error{listener.error().code, "listen.tcp: " + listener.error().message});
    tcp_ = std::move(*listener);
  }
  return {};
}

void Server::run() {
  waiting_ = std::make_unique<WaitingPool>(std::max<std::size_t>(2 * std::size_t{cache_options_.l2_threads}, 4));
  host_ = std::make_unique<ConnectionHost>(ConnectionHost{
      .doorkeeper = *this,
      .options = options_,
      .metrics = metrics_,
      .poller = *poller_,
      .waiting = *waiting_,
      .draining = draining_,
      .spinning = spinning_,
      .max_spinning = std::max(static_cast<int>(std::thread::hardware_concurrency()) / 2, 1),
      .gone =
          [this](std::uint64_t id) {
            std::shared_ptr<Connection> gone;  // outlives the lock
            const std::lock_guard lock(connections_mutex_);
            const auto found = connections_.find(id);
            if (found == connections_.end()) return;
            gone = std::move(found->second);
            connections_.erase(found);
          },
  });
  poller_->run(serving_threads(options_), [this](std::uint64_t id, std::uint32_t) { on_ready(id); });
  for (const auto& [fd, id] : {std::pair{unix_.get(), kUnixListener}, {tcp_.descriptor.get(), kTcpListener}}) {
    if (fd >= 0 && poller_->add(fd, id)) poller_->arm(fd, id, EPOLLIN);
  }
  housekeeper_ = std::thread([this] { housekeep(); });
}

Server::~Server() {
  {
    const std::lock_guard lock(housekeeper_mutex_);
    stopping_ = true;
  }
  housekeeper_wake_.notify_all();
  if (housekeeper_.joinable()) housekeeper_.join();
  if (poller_) poller_->stop();
  waiting_.reset();
  for (const auto& connection : connections()) {
    connection->close(Ending::kDraining, ErrorCode::kInvalid, "the server is shutting down");
  }
  {
    const std::lock_guard lock(connections_mutex_);
    connections_.clear();  // also those dismissed: their memory goes with us, and they keep a mapping of their own
  }
  if (unix_.valid()) ::unlink(options_.listen_unix.c_str());
}

void Server::on_ready(std::uint64_t id) {
  if (id < kFirstConnection) return accept_all(id);
  std::shared_ptr<Connection> connection;
  {
    const std::lock_guard lock(connections_mutex_);
    const auto found = connections_.find(id);
    if (found == connections_.end()) return;
    connection = found->second;
  }
  connection->on_ready();
}

void Server::accept_all(std::uint64_t listener) {
  const bool is_unix = listener == kUnixListener;
  const int fd = is_unix ? unix_.get() : tcp_.descriptor.get();
  for (int i = 0; i < kAcceptBatch; ++i) {
    auto accepted = accept_connection(fd);
    if (!accepted) {
      // Out of descriptors: those waiting stay in the queue, and the housekeeper arms the listener again.
      log::warn("cannot accept a connection: " + accepted.error().message);
      return;
    }
    if (!accepted->valid()) break;
    accept_one(std::move(*accepted), is_unix);
  }
  poller_->arm(fd, listener, EPOLLIN);  // also while draining: newcomers are told so
}

void Server::accept_one(FileDescriptor socket, bool is_unix) {
  metrics_.accepted.fetch_add(1, std::memory_order_relaxed);
  std::string refusal;
  if (is_unix) {
    const auto peer = peer_credentials(socket.get());
    refusal = peer ? gate_.refusal(*peer) : peer.error().message;
  }
  std::unique_ptr<Stream> stream;
  if (!is_unix && tls_) {
    auto wrapped = tls_->wrap(std::move(socket), "");
    if (!wrapped) return log::warn("TLS: " + wrapped.error().message);
    stream = std::move(*wrapped);
  } else {
    stream = make_socket_stream(std::move(socket));
  }
  const std::uint64_t id = next_id_.fetch_add(1, std::memory_order_relaxed);
  auto connection = std::make_shared<Connection>(*host_, id, std::move(stream), is_unix, std::move(refusal));
  std::shared_ptr<Connection> gives_way;
  bool full = false;
  {
    const std::lock_guard lock(connections_mutex_);
    full = connections_.size() >= options_.max_connections;
    // Strangers who say nothing must not keep others out: the one that has been greeting for longest goes.
    TimePoint longest = Steady::now() - options_.handshake_timeout / 8;
    for (const auto& [number, each] : connections_) {
      if (!full || each->greeting_since() >= longest) continue;
      longest = each->greeting_since();
      gives_way = each;
    }
    full = full && !gives_way;
    if (!full) connections_.emplace(id, connection);
  }
  if (gives_way) gives_way->close(Ending::kFull, ErrorCode::kInvalid, "others are waiting for this connection's place");
  if (full) {
    return connection->close(
        Ending::kFull, ErrorCode::kInvalid,
        "the server has all of its server.max-connections: " + std::to_string(options_.max_connections));
  }
  connection->start();
}

void Server::housekeep() {
  std::unique_lock lock(housekeeper_mutex_);
  while (!housekeeper_wake_.wait_for(lock, kHousekeeping, [this] { return stopping_; })) {
    lock.unlock();
    for (const auto& tenant : tenant_list()) tenant->engine().expire_leases();
    const TimePoint now = Steady::now();
    for (const auto& connection : connections()) connection->check(now);
    if (unix_.valid()) poller_->arm(unix_.get(), kUnixListener, EPOLLIN);
    if (tcp_.descriptor.valid()) poller_->arm(tcp_.descriptor.get(), kTcpListener, EPOLLIN);
    lock.lock();
  }
}

bool Server::drain() {
  draining_.store(true);
  const Deadline deadline = Deadline::after(options_.drain_timeout);
  // The last third is for what is on its way to L2.
  const Deadline for_sessions = Deadline::after(options_.drain_timeout * 2 / 3);
  bool empty = false;
  while (!empty && !for_sessions.passed(Steady::now())) {
    empty = std::ranges::none_of(connections(), [](const auto& each) { return each->busy(); });
    if (!empty) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  bool flushed = true;
  for (const auto& tenant : tenant_list()) {
    const auto done = tenant->engine().flush(deadline);
    flushed = flushed && done && *done;
  }
  return empty && flushed;
}

std::vector<std::shared_ptr<Connection>> Server::connections() const {
  const std::lock_guard lock(connections_mutex_);
  std::vector<std::shared_ptr<Connection>> all;
  all.reserve(connections_.size());
  for (const auto& [id, connection] : connections_) all.push_back(connection);
  return all;
}

std::vector<std::shared_ptr<Tenant>> Server::tenant_list() const {
  const std::lock_guard lock(tenants_mutex_);
  std::vector<std::shared_ptr<Tenant>> all;
  all.reserve(tenants_.size());
  for (const auto& [name, tenant] : tenants_) all.push_back(tenant);
  return all;
}

std::optional<Doorkeeper::Token> Server::find_token(const std::string& key_id) const {
  const std::lock_guard lock(tenants_mutex_);
  const auto found = tokens_.find(key_id);
  if (found == tokens_.end()) return std::nullopt;
  return found->second;
}

// Whoever reaches the Unix socket was let in by its credentials; the network needs a token once there are any.
std::shared_ptr<Tenant> Server::anonymous(bool is_unix) const {
  if (!is_unix && !options_.auth_file.empty()) return nullptr;
  const std::lock_guard lock(tenants_mutex_);
  return tenants_.at(std::string(kDefaultTenant));
}

std::vector<std::string> Server::listening() const {
  std::vector<std::string> all;
  if (unix_.valid()) all.push_back("unix " + options_.listen_unix);
  if (tcp_.descriptor.valid()) {
    const auto address = parse_host_port(options_.listen_tcp);
    const std::string host = address ? address->host : "";
    const bool v6 = host.find(':') != std::string::npos;
    all.push_back("tcp " + (v6 ? "[" + host + "]" : host) + ":" + std::to_string(tcp_.port) + (tls_ ? " tls" : ""));
  }
  return all;
}

}  // namespace reprise
