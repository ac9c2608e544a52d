// The log of segments: hands out room at its end, seals what is full, says which segment has to go.
//
// Thread-safe. Owns the list of segments; what is in them is the catalog's business. A writer reserves an extent,
// writes it, publishes it to the catalog and finishes the extent; whoever finishes the last extent of a full segment
// seals it. Files are made, sealed and removed without the lock.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/env.h"
#include "store/disk/catalog.h"
#include "store/disk/format.h"

namespace reprise::disk {

struct LogOptions {
  std::string directory;
  std::uint64_t capacity = 0;
  std::uint64_t segment_bytes = 0;
  Direct direct = Direct::kAuto;
};

/// Room in a segment, reserved until finish().
struct Extent {
  SegmentPtr segment;
  std::uint32_t slot = 0;
  std::uint64_t offset = 0;
};

/// A segment that is no longer written to.
struct SealedSegment {
  SegmentPtr segment;
  std::uint32_t slot = 0;
  std::uint64_t bytes = 0;  ///< Of its file.
};

/// Writes table and footer behind the last group and cuts the file there. Returns the file's size; 0 when the segment
/// holds nothing. The segment stays as it is when it fails, and is scanned at the next open.
[[nodiscard]] IoResult<std::uint64_t> seal_segment(Env& env, const Segment& segment, std::span<const Record> records);

class SegmentLog {
 public:
  /// `recovered` is ordered by age. Env and catalog outlive the log.
  SegmentLog(Env& env, Catalog& catalog, LogOptions options, std::vector<SealedSegment> recovered,
             std::uint64_t next_sequence, std::unique_ptr<File> lock);
  ~SegmentLog();
  SegmentLog(const SegmentLog&) = delete;
  SegmentLog& operator=(const SegmentLog&) = delete;

  /// Room for a group of `bytes` (a multiple of a page, header included) that brings `records` records; begins the next
  /// segment when the current one is full. A successful call must be followed by finish().
  [[nodiscard]] IoStatus reserve(std::uint64_t bytes, std::uint32_t records, Deadline deadline, Extent& out);
  /// The same, but only in the segment that is being written: for copies made while making room.
  [[nodiscard]] bool try_reserve(std::uint64_t bytes, std::uint32_t records, Extent& out);
  void finish(const Extent& extent);

  /// The oldest segment when the log has outgrown its capacity and nobody else is at it; followed by drop_victim().
  [[nodiscard]] std::optional<SealedSegment> take_victim();
  /// Removes the victim; returns how many blocks went with it.
  std::uint64_t drop_victim(const SealedSegment& victim);

  /// Seals what is being written, for a clean end or to make it cheap to recover. Waits for writes in flight.
  void close_open();
  /// A write found the file system full: the log may not grow beyond what it has.
  void shrink_to_fit();

  [[nodiscard]] std::uint64_t capacity() const;    ///< What it is held to now; below the option after ENOSPC.
  [[nodiscard]] std::uint64_t disk_bytes() const;  ///< Of all segment files.
  [[nodiscard]] std::uint64_t evicted() const;
  [[nodiscard]] std::uint64_t last_sealed() const;  ///< Highest sequence sealed by this log; 0 for none.
  /// Largest payload a segment can hold.
  [[nodiscard]] static std::uint64_t max_block(std::uint64_t segment_bytes) { return segment_bytes - 4 * kPageBytes; }

 private:
  struct Open {
    SegmentPtr segment;
    std::uint32_t slot = 0;
    std::uint64_t end = 0;      // next free byte
    std::uint32_t records = 0;  // reserved
    std::uint32_t in_flight = 0;
    bool closed = false;
  };
  // Shared by `open_` and the writers that still have extents in it.
  using OpenPtr = std::shared_ptr<Open>;

  [[nodiscard]] bool fits(const Open& open, std::uint64_t bytes, std::uint32_t records) const;
  void take(Open& open, std::uint64_t bytes, std::uint32_t records, Extent& out);
  /// Begins a new segment; without the lock, one thread at a time.
  [[nodiscard]] IoStatus roll();
  [[nodiscard]] IoResult<OpenPtr> create();
  [[nodiscard]] IoResult<OpenPtr> create_file(std::uint64_t sequence);
  void bring_back_directory();
  /// Drops the oldest segment without a second look; false when there is none.
  bool drop_oldest();
  void seal(const OpenPtr& open);
  void regrow();

  Env& env_;
  Catalog& catalog_;
  const LogOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  OpenPtr open_;                       // guarded by mutex_; null before the first write and while rolling
  std::vector<OpenPtr> closing_;       // guarded by mutex_; full, with extents in flight or being sealed
  std::vector<SealedSegment> sealed_;  // guarded by mutex_; oldest first
  std::unique_ptr<File> lock_file_;    // used by the one thread that rolls
  std::uint64_t next_sequence_;        // used by the one thread that rolls
  std::uint64_t disk_bytes_ = 0;       // guarded by mutex_
  std::uint64_t capacity_;             // guarded by mutex_
  std::uint64_t evicted_ = 0;          // guarded by mutex_
  std::uint64_t last_sealed_ = 0;      // guarded by mutex_
  bool rolling_ = false;               // guarded by mutex_
  bool reclaiming_ = false;            // guarded by mutex_
  bool said_full_ = false;             // guarded by mutex_
};

}  // namespace reprise::disk
