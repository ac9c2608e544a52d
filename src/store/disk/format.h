// The disk format of docs/disk-format.md: encoding and decoding as pure functions over bytes. Any thread; nothing
// owned. Decoders accept any bytes whatsoever: no length is used before it is checked against what is there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/aligned_buffer.h"
#include "reprise/block.h"
#include "reprise/store.h"

namespace reprise::disk {

inline constexpr std::uint32_t kFormatVersion = 1;
inline constexpr std::size_t kPrologueBytes = 32;
inline constexpr std::size_t kRecordBytes = 48;
inline constexpr std::size_t kRecordsAt = 48;  // in a group header and in a table
inline constexpr std::size_t kMaxGroupRecords = (kPageBytes - kRecordsAt) / kRecordBytes;
inline constexpr std::uint64_t kMaxSegmentBytes = 2ULL << 30;
inline constexpr std::uint32_t kMaxRecords = static_cast<std::uint32_t>(kMaxSegmentBytes / kPageBytes);

/// Why bytes were not what they were taken for.
enum class Defect : std::uint8_t {
  kNone,
  kDamaged,  ///< Magic, checksum, lengths or ranges are wrong; or these bytes belong to another segment.
  kNewer,    ///< A sound structure of a version this build does not read.
};

/// What ties structures to one segment.
struct SegmentTag {
  std::uint64_t sequence = 0;
  std::uint64_t nonce = 0;
  friend bool operator==(const SegmentTag&, const SegmentTag&) = default;
};

struct SegmentHeader {
  SegmentTag tag;
  std::uint64_t segment_bytes = 0;
};

struct Record {
  BlockId id;
  std::uint64_t checksum = 0;
  std::uint32_t length = 0;  ///< 0: a tombstone.
  std::uint32_t page = 0;    ///< Payload's first page; for a tombstone its group's.
  [[nodiscard]] bool tombstone() const { return length == 0; }
  friend bool operator==(const Record&, const Record&) = default;
};

struct Footer {
  SegmentTag tag;
  std::uint32_t table_page = 0;
  std::uint32_t records = 0;
  std::uint64_t table_checksum = 0;
};

/// Bytes a payload of `length` takes.
[[nodiscard]] constexpr std::uint64_t payload_extent(std::uint64_t length) {
  return page_ceil(length);
}
/// Bytes a table of so many records takes.
[[nodiscard]] constexpr std::uint64_t table_extent(std::uint64_t records) {
  return page_ceil(kRecordsAt + records * kRecordBytes);
}

// Encoders fill exactly the given bytes: one page, or table_extent(records) for a table.
void encode_segment_header(const SegmentHeader& header, MutableBytes page);
/// `records` are 1..kMaxGroupRecords; `page_index` is where the header will be, in pages.
void encode_group_header(SegmentTag tag, std::uint32_t page_index, std::span<const Record> records, MutableBytes page);
void encode_table(SegmentTag tag, std::span<const Record> records, MutableBytes table);
/// `version` is for tests of what happens to a newer format.
void encode_footer(const Footer& footer, MutableBytes page, std::uint32_t version = kFormatVersion);

/// The checksum in the prologue of an encoded structure.
[[nodiscard]] std::uint64_t stored_checksum(Bytes encoded);

// Decoders: `out` is meaningful only with Defect::kNone.
[[nodiscard]] Defect decode_segment_header(Bytes page, SegmentHeader& out);
/// Sound only if it is of this segment and stands where it says; records lie behind it, in order, without overlap and
/// within `segment_bytes`. `end` is the byte offset behind the group.
[[nodiscard]] Defect decode_group_header(Bytes page, SegmentTag tag, std::uint64_t offset, std::uint64_t segment_bytes,
                                         std::vector<Record>& out, std::uint64_t& end);
/// `file_bytes` is the size of the file the footer ends.
[[nodiscard]] Defect decode_footer(Bytes page, std::uint64_t file_bytes, Footer& out);
/// `table` holds table_extent(footer.records) bytes. Every record lies before the table.
[[nodiscard]] Defect decode_table(Bytes table, const Footer& footer, std::vector<Record>& out);

/// "seg-000000000000002a" and back.
[[nodiscard]] std::string segment_name(std::uint64_t sequence);
[[nodiscard]] std::optional<std::uint64_t> parse_segment_name(std::string_view name);

}  // namespace reprise::disk
