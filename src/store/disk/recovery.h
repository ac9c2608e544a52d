// Finds again what a directory of segments holds. One thread, while the store is being opened.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/env.h"
#include "reprise/status.h"
#include "store/disk/catalog.h"
#include "store/disk/segment_log.h"

namespace reprise::disk {

struct Recovered {
  std::vector<SealedSegment> segments;  ///< Oldest first, all sealed.
  std::uint64_t next_sequence = 1;
  std::uint64_t scanned = 0;  ///< Segments that had no sound footer.
};

/// Names and sizes of the segments in a directory, oldest first.
struct SegmentFile {
  std::uint64_t sequence = 0;
  std::uint64_t bytes = 0;
  SegmentPtr segment;  ///< Open; its nonce not known yet.
};
[[nodiscard]] Result<std::vector<SegmentFile>> open_segments(Env& env, const std::string& directory, Direct direct);

/// Fills the catalog. Fails with kVersion, leaving everything as it is, when a segment is of a newer format.
[[nodiscard]] Result<Recovered> recover(Env& env, std::vector<SegmentFile> files, Catalog& catalog);

/// Every record of an unfinished segment whose payload is all there. Reads only.
[[nodiscard]] std::vector<Record> scan_segment(Env& env, const Segment& segment, std::uint64_t bytes);

}  // namespace reprise::disk
