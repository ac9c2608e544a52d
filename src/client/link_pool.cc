#include "client/link_pool.h"

#include <algorithm>

#include "base/log.h"

namespace reprise {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kFirstPause{50};
constexpr milliseconds kBetween{10};
constexpr milliseconds kLongestPause{2'000};
constexpr milliseconds kLongestTick{200};
constexpr Duration kTellFor = milliseconds(50);   // a peer that does not read for this long is given up
constexpr std::size_t kMostNotices = 128 * 1024;  // of one session; twice the leases a server has words for

bool is_wrong_configuration(const Error& error) {
  return error.code == ErrorCode::kConfig || error.code == ErrorCode::kDenied || error.code == ErrorCode::kVersion;
}

bool can_tell(const ClientSession& session) {
  return session.link->alive() || session.link->can_still_tell();
}

/// Releases in a row go in one frame.
void send_notices(ClientSession& session, const std::vector<Notice>& notices) {
  std::vector<std::uint64_t> released;
  for (std::size_t i = 0; i < notices.size() && can_tell(session); ++i) {
    const Notice& notice = notices[i];
    flatbuffers::FlatBufferBuilder& builder = session.builder;
    builder.Clear();
    switch (notice.type) {
      case wire::Type::kRelease:
        released.push_back(notice.id);
        if (i + 1 < notices.size() && notices[i + 1].type == wire::Type::kRelease) continue;
        builder.Finish(wire::CreateLeaseIds(builder, builder.CreateVector(released)));
        released.clear();
        break;
      case wire::Type::kRenew: builder.Finish(wire::CreateRenew(builder, notice.id, notice.ttl_ms)); break;
      default: builder.Finish(wire::CreateAbandon(builder, notice.id)); break;
    }
    if (!session.link->send_one_way(notice.type, wire::body_of(builder), {Deadline::after(kTellFor), Duration(0)})) {
      return;
    }
  }
}

}  // namespace

LinkPool::LinkPool(Options options, Connect connect)
    : options_(std::move(options)),
      connect_(std::move(connect)),
      pause_(kFirstPause),
      tick_(kLongestTick),
      random_(std::random_device{}()) {}

Result<std::shared_ptr<LinkPool>> LinkPool::open(Options options, Connect connect) {
  // What a forked child cannot take apart, since the keeper waits in it for ever, it leaves behind.
  const auto take_apart = [](LinkPool* pool) {
    if (pool->fork_guard_.same_process()) delete pool;
  };
  const std::shared_ptr<LinkPool> pool(new LinkPool(std::move(options), std::move(connect)), take_apart);
  auto first = pool->connect_(Deadline::after(pool->options_.timeout));
  if (first) {
    pool->add(std::move(*first));
  } else if (is_wrong_configuration(first.error())) {
    return std::unexpected(first.error());
  } else {
    log::warn(first.error().message + "; nothing is found there until it is back");
    pool->away_ = true;
    pool->next_attempt_ = steady_clock::now() + kFirstPause;
  }
  LinkPool* const self = pool.get();
  pool->keeper_ = std::jthread([self](const std::stop_token& stop) { self->keep(stop); });
  return pool;
}

LinkPool::~LinkPool() {
  if (keeper_.joinable()) {
    keeper_.request_stop();
    keeper_.join();
  }
}

Deadline LinkPool::limited(Deadline deadline) const {
  return deadline.is_never() ? Deadline::after(options_.timeout) : deadline;
}

std::size_t LinkPool::connections() const {
  const std::lock_guard lock(mutex_);
  return sessions_.size();
}

// --- borrowing -------------------------------------------------------------------------------------------------------

LinkPool::Borrowed LinkPool::borrow(Deadline deadline) {
  if (!fork_guard_.same_process()) return Borrowed(Reason::kUnavailable);
  deadline = limited(deadline);
  std::unique_lock lock(mutex_);
  for (;;) {
    if (sessions_.empty()) return Borrowed(Reason::kUnavailable);
    // Also after waiting: a request sent without time for its answer would cost the connection.
    if (deadline.passed(steady_clock::now())) return Borrowed(Reason::kTimeout);
    if (!free_.empty()) {
      std::shared_ptr<ClientSession> session = free_.back();
      lend(session);
      lock.unlock();
      // A server that has gone since is noticed here, not by a request that gets no answer.
      if (session->link->still_there()) return Borrowed(*this, session);
      give_back(session);
      session.reset();  // perhaps the last of its mapping: not under the lock
      lock.lock();
      continue;
    }
    ++waiting_;
    keeper_wakes_.notify_one();
    const bool in_time = session_free_.wait_until(lock, deadline.when()) != std::cv_status::timeout;
    --waiting_;
    if (!in_time && free_.empty()) return Borrowed(sessions_.empty() ? Reason::kUnavailable : Reason::kTimeout);
  }
}

LinkPool::Borrowed LinkPool::borrow(const std::shared_ptr<ClientSession>& session, Deadline deadline) {
  if (!fork_guard_.same_process()) return Borrowed(Reason::kUnavailable);
  deadline = limited(deadline);
  std::unique_lock lock(mutex_);
  while (!session->retired && session->lent) {
    ++waiting_for_one_;
    const bool in_time = session_free_.wait_until(lock, deadline.when()) != std::cv_status::timeout;
    --waiting_for_one_;
    if (!in_time && session->lent) return Borrowed(Reason::kTimeout);
  }
  if (session->retired) return Borrowed(Reason::kUnavailable);
  if (deadline.passed(steady_clock::now())) return Borrowed(Reason::kTimeout);
  lend(session);
  return {*this, session};
}

// REQUIRES: mutex_ held, not lent.
void LinkPool::lend(const std::shared_ptr<ClientSession>& session) {
  session->lent = true;
  std::erase(free_, session);
}

void LinkPool::give_back(const std::shared_ptr<ClientSession>& session) {
  std::unique_lock lock(mutex_);
  while (!session->notices.empty()) {
    const std::vector<Notice> notices = std::exchange(session->notices, {});
    lock.unlock();
    send_notices(*session, notices);
    lock.lock();
  }
  session->lent = false;
  if (session->link->alive()) {
    free_.push_back(session);
  } else if (!session->retired) {
    session->retired = true;
    std::erase(sessions_, session);
    keeper_wakes_.notify_one();
  }
  if (waiting_for_one_ > 0 || sessions_.empty()) {
    session_free_.notify_all();
  } else if (waiting_ > 0) {
    session_free_.notify_one();  // nobody waits for a certain one
  }
}

void LinkPool::tell(const std::shared_ptr<ClientSession>& session, const Notice& notice) {
  if (!fork_guard_.same_process()) return;
  {
    const std::lock_guard lock(mutex_);
    // A renewal may be lost; what gives something back may not, and there is no more of it than the session holds.
    if (notice.type == wire::Type::kRenew && session->notices.size() >= kMostNotices) return;
    session->notices.push_back(notice);
    if (session->lent) return;  // whoever has it says it afterwards
    lend(session);
  }
  give_back(session);
}

void LinkPool::enlist(ClientSession& session, LeaseNode& node) {
  if (!fork_guard_.same_process()) return;
  const std::lock_guard lock(mutex_);
  node.next = &session.leases;
  node.previous = session.leases.previous;
  node.previous->next = &node;
  session.leases.previous = &node;
}

void LinkPool::delist(LeaseNode& node) {
  if (!fork_guard_.same_process()) return;
  const std::lock_guard lock(mutex_);
  if (node.next == nullptr) return;
  node.previous->next = node.next;
  node.next->previous = node.previous;
  node.next = node.previous = nullptr;
}

// --- the keeper ------------------------------------------------------------------------------------------------------

void LinkPool::add(std::shared_ptr<ClientSession> session) {
  tick_ = std::clamp(session->lease_ttl / 6, milliseconds(1), kLongestTick);
  sessions_.push_back(session);
  free_.push_back(std::move(session));
}

bool LinkPool::wants_more() const {
  return sessions_.empty() || (waiting_ > 0 && sessions_.size() < options_.connections);
}

void LinkPool::keep(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  TimePoint next_look = steady_clock::now() + tick_;
  while (!stop.stop_requested()) {
    if (wants_more() && steady_clock::now() >= next_attempt_) grow(lock);
    if (steady_clock::now() >= next_look) {
      renew_leases();
      look_after_idle(lock);
      next_look = steady_clock::now() + tick_;
    }
    const TimePoint until = wants_more() ? std::min(next_look, next_attempt_) : next_look;
    keeper_wakes_.wait_until(lock, stop, until, [&] { return wants_more() && next_attempt_ < until; });
  }
}

void LinkPool::grow(std::unique_lock<std::mutex>& lock) {
  const bool first = sessions_.empty();
  const bool told = away_;
  lock.unlock();
  if (first && !told)
    log::warn("the connection to " + options_.server + " is lost; nothing is found there until it is back");
  auto session = connect_(Deadline::after(options_.timeout));
  if (first && session) log::warn("connected to " + options_.server);
  if (!session) log::info(session.error().message);
  lock.lock();
  away_ = first && !session;
  if (session) {
    add(std::move(*session));
    pause_ = kFirstPause;
    next_attempt_ = steady_clock::now() + kBetween;  // also from a server that drops whom it welcomed
    session_free_.notify_all();                      // one might wake somebody who waits for a certain other session
    return;
  }
  // Clients that lost the same server do not all come back at the same moment.
  const auto spread = milliseconds(random_() % (static_cast<unsigned>(pause_.count()) / 2 + 1));
  next_attempt_ = steady_clock::now() + pause_ * 3 / 4 + spread;
  pause_ = std::min(pause_ * 2, kLongestPause);
}

/// A server that has gone is noticed although nobody calls, and what waits to be said is said.
void LinkPool::look_after_idle(std::unique_lock<std::mutex>& lock) {
  std::vector<std::shared_ptr<ClientSession>> idle = free_;  // those used last come last, and end up there again
  for (const auto& session : idle) {
    if (session->lent || session->retired) continue;
    lend(session);
    lock.unlock();
    static_cast<void>(session->link->still_there());
    give_back(session);
    lock.lock();
  }
  lock.unlock();
  idle.clear();  // perhaps the last of a mapping
  lock.lock();
}

void LinkPool::renew_leases() {
  const TimePoint now = steady_clock::now();
  for (const auto& session : sessions_) {
    const milliseconds ttl = session->lease_ttl;
    for (LeaseNode* node = session->leases.next; node != &session->leases; node = node->next) {
      if (now - node->renewed < ttl / 3 || session->notices.size() >= kMostNotices) continue;
      node->renewed = now;
      session->notices.push_back({wire::Type::kRenew, node->id, static_cast<std::uint64_t>(ttl.count())});
    }
  }
}

}  // namespace reprise
