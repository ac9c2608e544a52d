#include "client/attached_cache.h"

#include <chrono>

#include "base/log.h"
#include "client/arguments.h"

namespace reprise {
namespace {

// Waking an idle processor costs as much as a round trip.
constexpr Duration kSpin = std::chrono::microseconds(50);
constexpr std::size_t kMostNamespaces = 4'096;  // known to one session; servers allow no more

}  // namespace

Patience patience_until(Deadline deadline) {
  return {deadline, kSpin};
}

Result<Reason> meaning_of(ClientSession& session, const Error& error) {
  switch (session.link->end()) {
    case Link::End::kNone: return std::unexpected(error);
    case Link::End::kTimeout: return Reason::kTimeout;
    case Link::End::kClosed: return Reason::kUnavailable;
    case Link::End::kFault: log::warn(error.message); return Reason::kUnavailable;
  }
  return Reason::kUnavailable;
}

Reason nonsense(ClientSession& session, const char* what) {
  log::warn(session.link->condemn(what).message);
  return Reason::kUnavailable;
}

Result<void> open_namespaces(ClientSession& session, std::span<const Chain> chains, Patience patience) {
  for (const Chain& chain : chains) {
    if (session.handles.contains(chain.ns->id())) continue;
    if (session.handles.size() >= kMostNamespaces) {
      return fail(ErrorCode::kInvalid, "more than " + std::to_string(kMostNamespaces) + " namespaces in use");
    }
    session.builder.Clear();
    session.builder.Finish(wire::to_wire(session.builder, chain.ns->spec()));
    const auto opened =
        session.link->ask<wire::NamespaceOpened>(wire::Type::kOpenNamespace, wire::body_of(session.builder), patience);
    if (!opened) return std::unexpected(opened.error());
    session.handles.emplace(chain.ns->id(), (*opened)->handle());
  }
  return {};
}

std::vector<flatbuffers::Offset<wire::Chain>> chains_to_wire(ClientSession& session, std::span<const Chain> chains) {
  std::vector<flatbuffers::Offset<wire::Chain>> wired;
  wired.reserve(chains.size());
  for (const Chain& chain : chains) {
    wired.push_back(wire::to_wire(session.builder, session.handles.at(chain.ns->id()), chain.rule, chain.keys));
  }
  return wired;
}

Result<Match> AttachedCache::ask_match(wire::Type type, std::span<const Chain> chains, Deadline deadline) {
  if (auto ok = check_request(chains); !ok) return std::unexpected(ok.error());
  if (longest_run(chains) == 0) return Match{};
  deadline = pool_->limited(deadline);
  const auto session = pool_->borrow(deadline);
  if (!session) return Match{.reason = session.reason()};
  const auto answer = ask_about<wire::Matched>(*session, type, chains, patience_until(deadline));
  if (!answer) {
    const auto reason = meaning_of(*session, answer.error());
    if (!reason) return std::unexpected(reason.error());
    return Match{.reason = *reason};
  }
  const auto match = match_of(*answer, chains);
  return match ? *match : Match{.reason = nonsense(*session, "a run longer than what was asked about")};
}

Result<Match> AttachedCache::match(std::span<const Chain> chains, Deadline deadline) {
  return ask_match(wire::Type::kMatch, chains, deadline);
}

Result<Match> AttachedCache::prefetch(std::span<const Chain> chains, Deadline deadline) {
  return ask_match(wire::Type::kPrefetch, chains, deadline);
}

Result<std::size_t> AttachedCache::erase(std::span<const Chain> chains, Deadline deadline) {
  if (auto ok = check_request(chains); !ok) return std::unexpected(ok.error());
  deadline = pool_->limited(deadline);
  const auto session = pool_->borrow(deadline);
  if (!session) return 0;
  const auto answer = ask_about<wire::Erased>(*session, wire::Type::kErase, chains, patience_until(deadline));
  if (answer) return (*answer)->blocks();
  const auto reason = meaning_of(*session, answer.error());
  if (!reason) return std::unexpected(reason.error());
  return 0;
}

Result<bool> AttachedCache::flush(Deadline deadline) {
  deadline = pool_->limited(deadline);
  const auto session = pool_->borrow(deadline);
  if (!session) return false;
  session->builder.Clear();
  session->builder.Finish(wire::CreateFlush(session->builder));
  const auto answer =
      session->link->ask<wire::Flushed>(wire::Type::kFlush, wire::body_of(session->builder), patience_until(deadline));
  if (answer) return (*answer)->done();
  const auto reason = meaning_of(*session, answer.error());
  if (!reason) return std::unexpected(reason.error());
  return false;
}

CacheStats AttachedCache::stats() const {
  return stats_by(pool_->limited(Deadline::never()));
}

CacheStats AttachedCache::stats_by(Deadline deadline) const {
  if (const auto session = pool_->borrow(deadline)) {
    session->builder.Clear();
    session->builder.Finish(wire::CreateGetStats(session->builder));
    const auto answer = session->link->ask<wire::Stats>(wire::Type::kGetStats, wire::body_of(session->builder),
                                                        patience_until(deadline));
    if (answer) {
      CacheStats stats = wire::stats_of(**answer);
      const std::lock_guard lock(mutex_);
      last_stats_ = std::move(stats);
    }
  }
  const std::lock_guard lock(mutex_);
  return last_stats_;
}

}  // namespace reprise
