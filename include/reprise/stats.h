// What a cache counted since it was opened. A snapshot; values are block counts unless they say bytes.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "reprise/status.h"

namespace reprise {

/// One tier's counters.
struct TierStats {
  std::string name;  ///< "l1", or the store's name.
  std::uint64_t capacity_bytes = 0;
  std::uint64_t used_bytes = 0;  ///< Payload bytes resident.
  std::uint64_t blocks = 0;      ///< Resident.
  std::uint64_t hits = 0;        ///< Blocks acquire or get served from this tier.
  std::uint64_t read_bytes = 0;
  std::uint64_t writes = 0;  ///< Blocks stored.
  std::uint64_t write_bytes = 0;
  std::uint64_t evictions = 0;
  std::uint64_t corrupt = 0;  ///< Copies dropped for a failed checksum.
  std::uint64_t foreign = 0;  ///< Copies not used because they belong to something else.
  std::uint64_t errors = 0;   ///< Failed operations of the tier.
};

struct CacheStats {
  TierStats l1;
  TierStats l2;
  std::uint64_t requested = 0;      ///< Needed blocks asked for by acquire and get.
  std::uint64_t declined = 0;       ///< Offered blocks no tier kept.
  std::uint64_t leases = 0;         ///< Live leases.
  std::uint64_t leased_blocks = 0;  ///< Blocks of live leases, counted once per lease.
  std::uint64_t leases_expired = 0;
  std::uint64_t touches_dropped = 0;  ///< Touch records lost to a full queue; costs hit ratio, nothing else.
  std::uint64_t ingest_queued_bytes = 0;
  std::uint64_t ingest_dropped = 0;  ///< Blocks not written to L2 because the queue was full.
  std::uint64_t abandoned = 0;       ///< L2 operations left behind at their deadline.
  std::uint64_t abandoned_running = 0;
  std::uint64_t ejections = 0;                        ///< Times L2 was ejected.
  std::uint64_t metadata_bytes = 0;                   ///< Index, entries, policy and ghosts.
  std::uint64_t fixed_bytes = 0;                      ///< Tables whose size does not depend on the capacity.
  double populated = 0;                               ///< Share of the arena already backed by pages.
  std::array<std::uint64_t, kReasonCount> reasons{};  ///< Answers of acquire and get that ended early, by reason.
};

}  // namespace reprise
