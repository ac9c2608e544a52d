// What an engine shows of itself beyond the Cache contract, to whoever serves it to other processes: where leased and
// reserved blocks lie, and answers for operators. Values only; what their pointers name lives as long as the lease or
// the reservation they came from.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "l1/departures.h"
#include "l1/lease_book.h"
#include "l1/pins.h"
#include "reprise/block.h"
#include "reprise/cache.h"
#include "reprise/status.h"

namespace reprise {

/// What an embedded engine does without.
struct EngineExtras {
  bool shared_leases = false;  ///< Every lease gets a word in shared memory (l1/lease_words.h).
  bool observe = false;        ///< Keep 8 bytes a block and the last departures, for `explain`.
};

enum class PlaceKind : std::uint8_t {
  kWritable,  ///< To be filled.
  kPresent,   ///< Already there, or being stored by another call.
  kDeclined,  ///< No tier takes it.
};

/// One place of a reservation.
struct PlaceInside {
  PlaceKind kind = PlaceKind::kDeclined;
  PinnedBlock memory;             ///< Where to write; only with kWritable.
  Reason reason = Reason::kNone;  ///< Why not; only with kDeclined.
};

struct ReservationInside {
  std::vector<PlaceInside> places;  ///< One per block, in chain order.
};

/// Where a block is and what is known about it.
struct Explained {
  enum class Where : std::uint8_t {
    kL1,        ///< In memory.
    kFilling,   ///< Memory is reserved for it; it is being written or read.
    kOutbound,  ///< No longer resident: on its way to L2.
    kL2,        ///< Behind memory only.
    kNowhere,
  };
  struct Departure {
    DepartureWhy why = DepartureWhy::kEvicted;
    std::chrono::seconds ago{0};
  };
  Where where = Where::kNowhere;
  Reason l2 = Reason::kNone;                ///< Why L2 could not say, where it was asked.
  std::uint64_t bytes = 0;                  ///< 0 where the block is not in memory.
  const std::byte* memory = nullptr;        ///< Where in the arena, with kL1; only to be compared with leased blocks.
  std::uint32_t readers = 0;                ///< Leases and calls that hold it now.
  bool saved = false;                       ///< L2 has a copy, as far as memory knows.
  std::chrono::seconds age{0};              ///< Since it was stored in memory. With `observe`, as are the rest.
  std::uint64_t hits = 0;                   ///< Since then.
  std::optional<Departure> last_departure;  ///< From memory, if still known; the block may have come back since.
};
[[nodiscard]] std::string_view to_string(Explained::Where where);  ///< "l1", "l1 filling", "on its way to l2", ...

/// Blocks of one chain, each by itself: a missing one says nothing about those behind it.
struct EachFound {
  std::vector<bool> found;  ///< By position.
  Match match;              ///< `blocks`: how many were found; `reason`: why not all of them.
};

struct NamespaceUsage {
  NamespaceId id;
  std::uint64_t blocks = 0;
  std::uint64_t bytes = 0;
};

}  // namespace reprise
