#include "client/arguments.h"

#include <algorithm>
#include <limits>
#include <string>

#include "engine/engine.h"
#include "wire/frame.h"

namespace reprise {
namespace {

// What of a body may be keys; the rest is for everything around them.
constexpr std::size_t kMaxKeysInAll = (wire::kMaxBody - (1U << 20)) / sizeof(BlockKey);

template <typename Buffer>
Result<std::size_t> each_of(std::span<const Chain> chains, std::size_t from, std::span<const Buffer> buffers) {
  if (auto ok = check_request(chains); !ok) return std::unexpected(ok.error());
  if (buffers.size() % chains.size() != 0) {
    return fail(ErrorCode::kInvalid, std::to_string(buffers.size()) + " blocks cannot be shared out over " +
                                         std::to_string(chains.size()) + " chains");
  }
  const std::size_t each = buffers.size() / chains.size();
  for (std::size_t c = 0; c < chains.size(); ++c) {
    if (from > chains[c].size() || each > chains[c].size() - from) {
      return fail(ErrorCode::kInvalid, std::to_string(each) + " blocks from " + std::to_string(from) +
                                           " on are beyond a chain of " + std::to_string(chains[c].size()));
    }
    for (const Buffer buffer : buffers.subspan(c * each, each)) {
      if (buffer.size() == chains[c].ns->block_bytes()) continue;
      return fail(ErrorCode::kInvalid, "a buffer of " + std::to_string(buffer.size()) + " bytes for blocks of " +
                                           std::to_string(chains[c].ns->block_bytes()));
    }
  }
  return each;
}

}  // namespace

Result<void> check_request(std::span<const Chain> chains) {
  if (auto ok = check_chains(chains); !ok) return ok;
  std::size_t keys = 0;
  for (const Chain& chain : chains) keys += chain.size();
  if (keys <= kMaxKeysInAll) return {};
  return fail(ErrorCode::kInvalid,
              std::to_string(keys) + " blocks named in one call; the limit is " + std::to_string(kMaxKeysInAll));
}

Result<std::size_t> blocks_each(std::span<const Chain> chains, std::size_t from, std::span<const Bytes> blocks) {
  return each_of(chains, from, blocks);
}
Result<std::size_t> blocks_each(std::span<const Chain> chains, std::size_t from,
                                std::span<const MutableBytes> buffers) {
  return each_of(chains, from, buffers);
}

std::vector<Chain> parts_of(std::span<const Chain> chains, std::size_t from, std::size_t each) {
  std::vector<Chain> parts;
  parts.reserve(chains.size());
  for (const Chain& chain : chains) {
    MatchRule rule = chain.rule;
    if (rule.kind == MatchRule::Kind::kExact) {
      // A position before `from` is not among these blocks: nothing can match.
      constexpr std::uint32_t kNowhere = std::numeric_limits<std::uint32_t>::max();
      rule.arg = rule.arg >= from ? rule.arg - static_cast<std::uint32_t>(from) : kNowhere;
    }
    parts.emplace_back(*chain.ns, chain.keys.subspan(from, each), rule);
  }
  return parts;
}

std::size_t longest_run(std::span<const Chain> chains) {
  return std::ranges::min(chains, {}, &Chain::size).size();
}

std::size_t needed_total(std::span<const Chain> chains, std::size_t n) {
  std::size_t total = 0;
  for (const Chain& chain : chains) {
    const NeededBlocks needed = needed_blocks(chain.rule, n);
    total += needed.last - needed.first;
  }
  return total;
}

std::optional<Match> match_of(const wire::Matched* message, std::span<const Chain> chains) {
  if (message == nullptr || message->blocks() > longest_run(chains)) return std::nullopt;
  Match match{.blocks = message->blocks(),
              .from_l1 = message->from_l1(),
              .from_l2 = message->from_l2(),
              .reason = wire::reason_of(message->reason())};
  const std::size_t needed = needed_total(chains, match.blocks);
  if (match.from_l1 > needed || match.from_l2 > needed - match.from_l1) return std::nullopt;
  return match;
}

}  // namespace reprise
