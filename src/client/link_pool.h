// A client's connections to one server: at most so many, the most recently used first, one call each at a time.
//
// Thread-safe. A keeper thread connects, connects again with growing pauses, adds connections while callers wait for
// one, and renews leases; no call waits for any of that. Without a connection every call is answered at once: away.
// Each connection is a session of its own (docs/protocol.md): namespace handles, leases and reservations belong to the
// one that made them, and what is to be said about them goes out there, between two calls. Leases and reservations
// share the pool, and so may outlive the cache they came from. In a forked child the pool is away for good, and says
// nothing to the server: the connections are its parent's.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <stop_token>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "client/fork_guard.h"
#include "client/shared_mapping.h"
#include "reprise/namespace.h"
#include "rpc/link.h"

namespace reprise {

/// A message without reply, about a lease or a reservation.
struct Notice {
  wire::Type type = wire::Type::kRelease;  ///< kRelease, kRenew, kAbandon
  std::uint64_t id = 0;
  std::uint64_t ttl_ms = 0;  ///< kRenew only.
};

/// A lease that is kept alive as long as it is enlisted. Owned by the lease; a link in its session's ring.
struct LeaseNode {
  std::uint64_t id = 0;
  TimePoint renewed;  ///< Not later than the server's last word on its expiry.
  LeaseNode* next = nullptr;
  LeaseNode* previous = nullptr;
};

/// One connection and what belongs to it. Whoever has borrowed it may use what is above the line.
struct ClientSession {
  ClientSession() { leases.next = leases.previous = &leases; }
  ClientSession(const ClientSession&) = delete;
  ClientSession& operator=(const ClientSession&) = delete;

  std::unique_ptr<Link> link;
  std::shared_ptr<SharedMapping> mapping;  ///< Shared with its leases; null over the network.
  std::unordered_map<NamespaceId, std::uint32_t> handles;
  flatbuffers::FlatBufferBuilder builder;
  std::chrono::milliseconds lease_ttl{0};
  // ---- the pool's, under its mutex
  bool lent = false;
  bool retired = false;
  std::vector<Notice> notices;
  LeaseNode leases;  // head of the ring
};

class LinkPool {
 public:
  using Connect = std::function<Result<std::shared_ptr<ClientSession>>(Deadline)>;
  struct Options {
    std::uint32_t connections = 8;
    std::chrono::milliseconds timeout{2'000};  ///< To connect, and for calls without a deadline.
    std::string server;                        ///< For log lines.
  };

  /// Connects once, for at most Options::timeout. Fails when that shows a configuration that cannot work (kConfig,
  /// kDenied, kVersion); a server that is merely away is tried again in the background.
  [[nodiscard]] static Result<std::shared_ptr<LinkPool>> open(Options options, Connect connect);
  ~LinkPool();  ///< In the process that opened it.

  /// A borrowed session, given back on destruction.
  class Borrowed {
   public:
    Borrowed(LinkPool& pool, std::shared_ptr<ClientSession> session) : pool_(&pool), session_(std::move(session)) {}
    explicit Borrowed(Reason reason) : reason_(reason) {}
    Borrowed(Borrowed&& other) noexcept
        : pool_(other.pool_), session_(std::exchange(other.session_, nullptr)), reason_(other.reason_) {}
    Borrowed& operator=(Borrowed&&) = delete;
    ~Borrowed() {
      if (session_) pool_->give_back(session_);
    }

    explicit operator bool() const { return session_ != nullptr; }
    ClientSession* operator->() const { return session_.get(); }
    ClientSession& operator*() const { return *session_; }
    [[nodiscard]] const std::shared_ptr<ClientSession>& share() const { return session_; }
    /// Why there is none: kUnavailable or kTimeout.
    [[nodiscard]] Reason reason() const { return reason_; }

   private:
    LinkPool* pool_ = nullptr;
    std::shared_ptr<ClientSession> session_;  // shared with what belongs to it
    Reason reason_ = Reason::kNone;
  };
  [[nodiscard]] Borrowed borrow(Deadline deadline);
  /// This very session, once nobody else has it.
  [[nodiscard]] Borrowed borrow(const std::shared_ptr<ClientSession>& session, Deadline deadline);

  /// Says it at once, or after the call that has the session. Cheap; never waits for an answer.
  void tell(const std::shared_ptr<ClientSession>& session, const Notice& notice);
  /// From here on the keeper renews the lease.
  void enlist(ClientSession& session, LeaseNode& node);
  void delist(LeaseNode& node);

  /// `deadline`, or where it is never(), the end of Options::timeout.
  [[nodiscard]] Deadline limited(Deadline deadline) const;
  [[nodiscard]] std::size_t connections() const;

 private:
  LinkPool(Options options, Connect connect);
  void add(std::shared_ptr<ClientSession> session);
  void lend(const std::shared_ptr<ClientSession>& session);
  void give_back(const std::shared_ptr<ClientSession>& session);

  void keep(const std::stop_token& stop);
  [[nodiscard]] bool wants_more() const;
  void grow(std::unique_lock<std::mutex>& lock);
  void look_after_idle(std::unique_lock<std::mutex>& lock);
  void renew_leases();

  const Options options_;
  const Connect connect_;
  const ForkGuard fork_guard_;
  mutable std::mutex mutex_;  // guards everything below
  std::condition_variable_any keeper_wakes_;
  std::condition_variable session_free_;
  std::vector<std::shared_ptr<ClientSession>> sessions_;  // live, lent or not; shared with what belongs to them
  std::vector<std::shared_ptr<ClientSession>> free_;      // of these; the most recently used last
  std::size_t waiting_ = 0;                               // for any session
  std::size_t waiting_for_one_ = 0;                       // for a certain one
  TimePoint next_attempt_{};
  std::chrono::milliseconds pause_;
  std::chrono::milliseconds tick_;  // between looks at idle connections and at leases
  bool away_ = false;               // and said so
  std::minstd_rand random_;
  std::jthread keeper_;  // last: it uses the rest
};

}  // namespace reprise
