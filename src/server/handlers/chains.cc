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

namespace {

Result<void> check_each(std::span<const Chain> chains) {
  if (chains.size() == 1) return {};
  return fail(ErrorCode::kInvalid, "blocks each by itself are asked for of one chain, not of " +
                                       std::to_string(chains.size()) + ": send one request for each");
}

}  // namespace

Result<Engine::EachAcquired> acquire_for(Session& session, std::span<const Chain> chains, bool each,
                                         Deadline deadline) {
  if (each) {
    if (auto ok = check_each(chains); !ok) return std::unexpected(ok.error());
    return session.engine().acquire_each(chains[0], deadline);
  }
  auto acquired = session.engine().acquire(chains, deadline);
  if (!acquired) return std::unexpected(acquired.error());
  return Engine::EachAcquired{.each = {.found = {}, .match = acquired->match}, .lease = std::move(acquired->lease)};
}

flatbuffers::Offset<wire::Matched> to_wire(flatbuffers::FlatBufferBuilder& builder, const Match& match,
                                           const std::vector<bool>& found) {
  flatbuffers::Offset<flatbuffers::Vector<std::uint8_t>> bits;
  if (!found.empty()) {
    std::vector<std::uint8_t> bytes((found.size() + 7) / 8);
    for (std::size_t i = 0; i < found.size(); ++i) {
      if (found[i]) bytes[i / 8] |= static_cast<std::uint8_t>(1U << (i % 8));
    }
    bits = builder.CreateVector(bytes);
  }
  return wire::CreateMatched(builder, match.blocks, match.from_l1, match.from_l2,
                             static_cast<std::uint8_t>(match.reason), bits);
}

namespace {

// What match and prefetch share: chains in, Matched out.
template <typename Ask>
Answer answer_match(Session& session, const Request& request, const Ask& ask) {
  const auto* message = wire::read_body<wire::Chains>(request.body);
  if (message == nullptr) return malformed(request);
  const auto resolved = resolve(session, message->chains(), request.body.size());
  if (!resolved) return failed(request.header.request, resolved.error());
  EachFound answer{.found = {}, .match = {.reason = request.refusal}};
  if (request.refusal == Reason::kNone) {
    if (!request.may_wait && !session.engine().answers_at_once(resolved->chains)) {
      return {.kind = Answer::Kind::kWouldWait, .frame = {}};
    }
    Result<EachFound> found = ask(std::span<const Chain>(resolved->chains), message->each());
    if (!found) return failed(request.header.request, found.error());
    if (would_wait(request, found->match)) return {.kind = Answer::Kind::kWouldWait, .frame = {}};
    answer = std::move(*found);
  }
  flatbuffers::FlatBufferBuilder builder;
  return reply(wire::Type::kMatched, request, builder, to_wire(builder, answer.match, answer.found));
}

Result<EachFound> as_run(const Result<Match>& match) {
  if (!match) return std::unexpected(match.error());
  return EachFound{.found = {}, .match = *match};
}

}  // namespace

Answer handle_match(Session& session, const Request& request) {
  return answer_match(session, request, [&](std::span<const Chain> chains, bool each) -> Result<EachFound> {
    if (!each) return as_run(session.engine().match(chains, deadline_of(request)));
    if (auto ok = check_each(chains); !ok) return std::unexpected(ok.error());
    return session.engine().find_each(chains[0], deadline_of(request));
  });
}

Answer handle_prefetch(Session& session, const Request& request) {
  return answer_match(session, request, [&](std::span<const Chain> chains, bool /*each*/) {
    return as_run(session.engine().prefetch(chains, deadline_of(request)));
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
