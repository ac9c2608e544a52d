// Brings records into the log: forms groups, gathers header and payloads into large writes, publishes what arrived.
//
// Thread-safe: keeps no state of its own. Payload memory is written from where it is if it begins at a page (or the
// file is not direct); else it is copied once. The last page of a payload that does not fill it is copied and
// zero-padded, so that nobody else's bytes reach the disk.
#pragma once

#include <cstdint>
#include <span>

#include "base/env.h"
#include "store/disk/catalog.h"
#include "store/disk/segment_log.h"

namespace reprise::disk {

struct Incoming {
  Record record;                         ///< `page` is filled in.
  Bytes payload;                         ///< Empty for a tombstone.
  const Place* moved_from = nullptr;     ///< Set for a copy made before its segment goes.
  IoStatus status = IoStatus::kTimeout;  ///< Out: kOk when it is on disk and published.
  bool dead = false;                     ///< Out, for copies: the original was gone when the copy arrived.
};

class GroupWriter {
 public:
  GroupWriter(Env& env, Catalog& catalog, SegmentLog& log, std::uint64_t segment_bytes);

  /// Writes all of them, or as many as the deadline allows. With `may_roll` false only the current segment is used, and
  /// what does not fit is left with kNoSpace.
  void write(std::span<Incoming> incoming, Deadline deadline, bool may_roll = true);

 private:
  struct Group;
  struct Round;
  /// How many of `incoming` make the next group.
  [[nodiscard]] std::size_t group_size(std::span<const Incoming> incoming) const;
  [[nodiscard]] IoStatus reserve(Group& group, Deadline deadline, bool may_roll);
  void write_round(std::span<Group> groups, Deadline deadline);
  void publish(Group& group);

  Env& env_;
  Catalog& catalog_;
  SegmentLog& log_;
  const std::uint64_t max_group_bytes_;
  const std::uint64_t max_round_bytes_;
};

}  // namespace reprise::disk
