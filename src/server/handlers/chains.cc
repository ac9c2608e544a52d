// match, prefetch, erase, and what every message about chains needs.

#include <string>

#include "server/handlers.h"

namespace reprise {
namespace {

constexpr std::uint32_t kNowhere = 0xFFFFFFFF;  // no chain has a block there

}  // namespace

Result<ResolvedChains> resolve(const Session& session, const WireChains* chains, std::size_t body_bytes) {
  ResolvedChains out;
  std::size_t keys = 0;
  if (chains != nullptr) {
    out.namespaces.reserve(chains->size());
    out.chains.reserve(chains->size());
    for (const wire::Chain* each : *chains) {
      auto ns = session.find_namespace(each->ns());
      if (!ns) {
        return fail(ErrorCode::kInvalid, "namespace handle " + std::to_string(each->ns()) +
                                             " was not given out in this session: open the namespace first");
      }
      MatchRule rule;
      if (!wire::rule_of(*each, rule)) {
        return fail(ErrorCode::kInvalid,
                    "match rule " + std::to_string(static_cast<int>(each->rule())) + " is none that this server knows");
      }
      out.chains.emplace_back(*ns, wire::keys_of(*each), rule);
      keys += out.chains.back().size();
      if (keys > body_bytes / sizeof(BlockKey)) return fail(ErrorCode::kInvalid, "chains that share their keys");
      out.namespaces.push_back(std::move(ns));
    }
  }
  if (auto ok = check_chains(out.chains); !ok) return std::unexpected(ok.error());
  return out;
}

Result<void> check_range(std::span<const Chain> chains, std::uint64_t from, std::uint64_t count) {
  for (const Chain& chain : chains) {
    if (from > chain.size() || count > chain.size() - from) {
      return fail(ErrorCode::kInvalid, std::to_string(count) + " blocks from " + std::to_string(from) +
                                           " on are beyond a chain of " + std::to_string(chain.size()));
    }
  }
  return {};
}

void cut(std::vector<Chain>& chains, std::size_t from, std::size_t count) {
  for (Chain& chain : chains) {
    chain.keys = chain.keys.subspan(from, count);
    if (chain.rule.kind == MatchRule::Kind::kExact) {
      // A position before `from` is not among these blocks: nothing can match.
      chain.rule.arg = chain.rule.arg >= from ? chain.rule.arg - static_cast<std::uint32_t>(from) : kNowhere;
    }
  }
}

Deadline deadline_of(const Request& request) {
  return request.may_wait ? request.deadline : Deadline::now();
}

bool would_wait(const Request& request, const Match& match) {
  return !request.may_wait && match.reason == Reason::kTimeout;
}

flatbuffers::Offset<wire::Matched> to_wire(flatbuffers::FlatBufferBuilder& builder, const Match& match) {
  return wire::CreateMatched(builder, match.blocks, match.from_l1, match.from_l2,
                             static_cast<std::uint8_t>(match.reason));
}

namespace {

// What match and prefetch share: chains in, Matched out.
template <typename Ask>
Answer answer_match(Session& session, const Request& request, const Ask& ask) {
  const auto* message = wire::read_body<wire::Chains>(request.body);
  if (message == nullptr) return malformed(request);
  const auto resolved = resolve(session, message->chains(), request.body.size());
  if (!resolved) return failed(request.header.request, resolved.error());
  Match match{.reason = request.refusal};
  if (request.refusal == Reason::kNone) {
    if (!request.may_wait && !session.engine().answers_at_once(resolved->chains)) {
      return {.kind = Answer::Kind::kWouldWait, .frame = {}};
    }
    const Result<Match> found = ask(std::span<const Chain>(resolved->chains));
    if (!found) return failed(request.header.request, found.error());
    if (would_wait(request, *found)) return {.kind = Answer::Kind::kWouldWait, .frame = {}};
    match = *found;
  }
  flatbuffers::FlatBufferBuilder builder;
  return reply(wire::Type::kMatched, request, builder, to_wire(builder, match));
}

}  // namespace

Answer handle_match(Session& session, const Request& request) {
  return answer_match(session, request, [&](std::span<const Chain> chains) {
    return session.engine().match(chains, deadline_of(request));
  });
}

Answer handle_prefetch(Session& session, const Request& request) {
  return answer_match(session, request, [&](std::span<const Chain> chains) {
    return session.engine().prefetch(chains, deadline_of(request));
  });
}

Answer handle_erase(Session& session, const Request& request) {
  const auto* message = wire::read_body<wire::Chains>(request.body);
  if (message == nullptr) return malformed(request);
  const auto resolved = resolve(session, message->chains(), request.body.size());
  if (!resolved) return failed(request.header.request, resolved.error());
  std::size_t erased = 0;
  if (request.refusal == Reason::kNone) {
    if (!request.may_wait) return {.kind = Answer::Kind::kWouldWait, .frame = {}};
    const auto done = session.engine().erase(resolved->chains, request.deadline);
    if (!done) return failed(request.header.request, done.error());
    erased = *done;
  }
  flatbuffers::FlatBufferBuilder builder;
  return reply(wire::Type::kErased, request, builder, wire::CreateErased(builder, erased));
}

}  // namespace reprise
