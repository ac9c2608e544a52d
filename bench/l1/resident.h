// A cache full of tiny blocks: what lookups are measured on. Not thread-safe to build; the cache inside is.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <string>

#include "bench/fixture/fixture.h"
#include "bench/fixture/probe_table.h"

namespace reprise::bench {

inline constexpr std::uint64_t kTinyBlock = 256;  // lookups never read the payload
inline constexpr std::size_t kPiece = 64;

/// About `blocks` resident blocks in chains of `length`, and the limit's tables of the same content. Policy `adaptive`.
struct Resident {
  Namespace ns;
  KeySet keys;
  std::unique_ptr<Cache> cache;
  std::unique_ptr<ProbeTable> limit;

  static Result<std::unique_ptr<Resident>> create(std::size_t blocks, std::size_t length) {
    Result<Namespace> ns = make_namespace(kTinyBlock);
    if (!ns) return std::unexpected(ns.error());
    const std::size_t chains = std::max<std::size_t>(1, (blocks + length / 2) / length);
    KeySet keys(length, chains, length);
    const std::vector<Piece> pieces = interleaved(chains, length, kPiece, 7);
    Result<std::unique_ptr<Cache>> cache = open_populated(memory_only(chains * length * kTinyBlock));
    if (!cache) return std::unexpected(cache.error());
    std::vector<std::byte> payload(kTinyBlock, std::byte{1});
    if (Result<void> filled = fill(**cache, *ns, keys, pieces, payload); !filled) {
      return std::unexpected(filled.error());
    }
    if (const std::uint64_t there = (*cache)->stats().l1.blocks; there != chains * length) {
      return fail(ErrorCode::kInternal, "of " + std::to_string(chains * length) + " blocks that fit exactly, " +
                                            std::to_string(there) + " are resident");
    }
    auto limit = std::make_unique<ProbeTable>(keys, pieces);
    return std::unique_ptr<Resident>(
        new Resident{*std::move(ns), std::move(keys), *std::move(cache), std::move(limit)});
  }
};

}  // namespace reprise::bench
