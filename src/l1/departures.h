// Why blocks left memory: the last departures, for whoever asks "why is it not here any more?".
//
// A table of fixed size, direct-mapped by the block's hash: a newer departure may take the place of another block's.
// Not thread-safe: its owner, the memory cache, guards it with its mutex.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/table.h"

namespace reprise {

enum class DepartureWhy : std::uint8_t {
  kEvicted,    ///< Made room for others.
  kDeclined,   ///< Was offered, but the policy valued what it held more.
  kFull,       ///< Was offered, but everything resident was held.
  kErased,     ///< Somebody asked for it to be forgotten.
  kPurged,     ///< Its whole namespace, or everything, was forgotten.
  kRelocated,  ///< Its memory was needed for blocks of another size.
  kAbandoned,  ///< Never complete: its writer gave up, or it could not be read from L2.
};
inline constexpr int kDepartureWhyCount = 7;
[[nodiscard]] std::string_view to_string(DepartureWhy why);  ///< "evicted", "declined", ...

/// How many blocks left, by reason.
using DepartureCounts = std::array<std::uint64_t, kDepartureWhyCount>;

class Departures {
 public:
  static constexpr std::size_t kSlots = 65'536;

  struct Entry {
    std::uint64_t hash = 0;
    std::uint32_t when = 0;  // seconds
    DepartureWhy why = DepartureWhy::kEvicted;
    bool used = false;
  };

  Departures() : entries_(kSlots) {}
  /// False if there was no memory for the table.
  [[nodiscard]] bool ready() const { return !entries_.empty(); }
  void note(std::uint64_t hash, DepartureWhy why, std::uint32_t when) {
    entries_[place(hash)] = {hash, when, why, true};
    ++counts_[static_cast<std::size_t>(why)];
  }
  [[nodiscard]] std::optional<Entry> find(std::uint64_t hash) const {
    const Entry& entry = entries_[place(hash)];
    if (!entry.used || entry.hash != hash) return std::nullopt;
    return entry;
  }
  [[nodiscard]] const DepartureCounts& counts() const { return counts_; }
  [[nodiscard]] static std::uint64_t bytes() { return kSlots * sizeof(Entry); }

 private:
  static std::size_t place(std::uint64_t hash) { return static_cast<std::size_t>(hash % kSlots); }
  Table<Entry> entries_;
  DepartureCounts counts_{};
};

}  // namespace reprise
