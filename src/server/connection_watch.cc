// What looks at a connection from outside while it runs: deadlines, and what the admin pages show.

#include <algorithm>

#include "server/connection.h"

namespace reprise {
namespace {

constexpr std::uint64_t kLeastProgress = 64 << 10;

}  // namespace

// Inside one frame, the peer has to move kLeastProgress in each span of server.progress-timeout: one byte a second is
// no progress. Between frames nothing is asked.
bool Connection::stalled(Watch& watch, bool busy, std::uint64_t moved, std::uint64_t frames, TimePoint now) const {
  if (!busy || frames != watch.frames || moved - watch.moved >= kLeastProgress) {
    watch = {moved, frames, now};
    return false;
  }
  return now - watch.since > host_.options.progress_timeout;
}

void Connection::check(TimePoint now) {
  const State state = state_.load();
  if (state == State::kEnded || state == State::kDismissed) return;
  bool sending = false;
  {
    const std::lock_guard lock(mutex_);
    sending = !outbox_.empty();
  }
  if (state == State::kGreeting && now - started_ > host_.options.handshake_timeout) {
    return close(Ending::kHandshake, ErrorCode::kDenied, "the handshake took too long");
  }
  if (stalled(watch_in_, peer_owes_.load(), received_.load(), frames_in_.load(), now)) {
    return close(Ending::kStalled, ErrorCode::kInvalid, "a frame made no progress for server.progress-timeout");
  }
  if (stalled(watch_out_, sending, sent_.load(), drained_.load(), now)) {
    return close(Ending::kStalled, ErrorCode::kInvalid, "replies were not read for server.progress-timeout");
  }
  const bool at_rest = !busy();
  if (host_.draining.load() && at_rest) {
    return close(Ending::kDraining, ErrorCode::kInvalid, "the server is shutting down");
  }
  const auto idle = now - last_request_.load();
  if (!is_unix_ && at_rest && idle > host_.options.idle_timeout) {
    close(Ending::kIdle, ErrorCode::kInvalid, "no request for server.idle-timeout");
  }
}

bool Connection::busy() const {
  if (state_.load() != State::kOpen) return false;
  if (inside_.load() || unread_.load() || waiting_.load() > 0 || wakings_.load() > 0) return true;
  const std::lock_guard lock(mutex_);
  if (!outbox_.empty()) return true;
  const Session::Holdings held = session_ ? session_->holdings() : Session::Holdings{};
  return held.leases > 0 || held.reservations > 0;
}

std::shared_ptr<Session> Connection::session() const {
  const std::lock_guard lock(mutex_);
  return session_;
}

std::string Connection::key_id() const {
  const std::lock_guard lock(mutex_);
  return key_id_;
}

bool Connection::holds(const std::byte* block) const {
  const auto held = session();
  return held && held->holds(block);
}

SessionView Connection::view(TimePoint now) const {
  SessionView view;
  view.id = id_;
  view.peer = stream_->peer();
  view.age = std::chrono::duration_cast<std::chrono::seconds>(now - started_);
  view.idle = std::chrono::duration_cast<std::chrono::seconds>(now - last_request_.load());
  view.requests = requests_.load(std::memory_order_relaxed);
  view.bytes_in = received_.load(std::memory_order_relaxed);
  view.bytes_out = sent_.load(std::memory_order_relaxed);
  const std::lock_guard lock(mutex_);
  view.client = client_;
  view.state = !dismissed_.empty() ? "dismissed: " + dismissed_ : session_ ? "open" : "handshake";
  if (session_) {
    view.tenant = session_->tenant().name();
    const Session::Holdings held = session_->holdings();
    view.leases = held.leases;
    view.reserved_bytes = held.reserved_bytes;
  }
  return view;
}

}  // namespace reprise
