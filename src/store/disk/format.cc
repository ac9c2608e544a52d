#include "store/disk/format.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "base/kernels.h"
#include "base/little_endian.h"

namespace reprise::disk {
namespace {

constexpr std::string_view kSegmentMagic = "RPRSSEGM";
constexpr std::string_view kGroupMagic = "RPRSGRUP";
constexpr std::string_view kTableMagic = "RPRSTABL";
constexpr std::string_view kFooterMagic = "RPRSFOOT";
constexpr std::size_t kChecksumAt = 16;

using little_endian::get;
using little_endian::put;

/// Of the prologue with the field itself zeroed, and of the rest; in two parts, so that nothing is copied or written
/// to.
std::uint64_t covered_checksum(Bytes covered) {
  std::array<std::byte, kPrologueBytes> prologue;
  std::memcpy(prologue.data(), covered.data(), kPrologueBytes);
  std::memset(prologue.data() + kChecksumAt, 0, 8);
  std::array<std::byte, 16> both;
  put<std::uint64_t>(both, 0, checksum(prologue));
  put<std::uint64_t>(both, 8, checksum(covered.subspan(kPrologueBytes)));
  return checksum(both);
}

void seal(MutableBytes bytes, std::string_view magic, std::size_t covered, std::uint64_t nonce,
          std::uint32_t version = kFormatVersion) {
  std::memcpy(bytes.data(), magic.data(), 8);
  put<std::uint32_t>(bytes, 8, version);
  put<std::uint32_t>(bytes, 12, static_cast<std::uint32_t>(covered));
  put<std::uint64_t>(bytes, 24, nonce);
  put<std::uint64_t>(bytes, kChecksumAt, covered_checksum(bytes.first(covered)));
}

/// Checks what all versions share, then the version.
Defect check(Bytes bytes, std::string_view magic) {
  if (bytes.size() < kPrologueBytes || std::memcmp(bytes.data(), magic.data(), 8) != 0) return Defect::kDamaged;
  const auto covered = get<std::uint32_t>(bytes, 12);
  if (covered < kPrologueBytes || covered > bytes.size()) return Defect::kDamaged;
  if (get<std::uint64_t>(bytes, kChecksumAt) != covered_checksum(bytes.first(covered))) return Defect::kDamaged;
  const auto version = get<std::uint32_t>(bytes, 8);
  if (version > kFormatVersion) return Defect::kNewer;
  return version == kFormatVersion ? Defect::kNone : Defect::kDamaged;
}

void put_record(MutableBytes to, std::size_t at, const Record& record) {
  std::memcpy(to.data() + at, record.id.ns.bytes.data(), 16);
  std::memcpy(to.data() + at + 16, record.id.key.bytes.data(), 16);
  put<std::uint64_t>(to, at + 32, record.checksum);
  put<std::uint32_t>(to, at + 40, record.length);
  put<std::uint32_t>(to, at + 44, record.page);
}
Record get_record(Bytes from, std::size_t at) {
  Record record;
  std::memcpy(record.id.ns.bytes.data(), from.data() + at, 16);
  std::memcpy(record.id.key.bytes.data(), from.data() + at + 16, 16);
  record.checksum = get<std::uint64_t>(from, at + 32);
  record.length = get<std::uint32_t>(from, at + 40);
  record.page = get<std::uint32_t>(from, at + 44);
  return record;
}

std::uint64_t record_end(const Record& record) {
  return std::uint64_t{record.page} * kPageBytes + payload_extent(record.length);
}

}  // namespace

void encode_segment_header(const SegmentHeader& header, MutableBytes page) {
  std::ranges::fill(page, std::byte{0});
  put<std::uint64_t>(page, 32, header.tag.sequence);
  put<std::uint64_t>(page, 40, header.segment_bytes);
  seal(page, kSegmentMagic, kPageBytes, header.tag.nonce);
}

Defect decode_segment_header(Bytes page, SegmentHeader& out) {
  if (page.size() != kPageBytes) return Defect::kDamaged;
  if (const Defect defect = check(page, kSegmentMagic); defect != Defect::kNone) return defect;
  out.tag = {get<std::uint64_t>(page, 32), get<std::uint64_t>(page, 24)};
  out.segment_bytes = get<std::uint64_t>(page, 40);
  const bool sound = get<std::uint32_t>(page, 12) == kPageBytes && out.segment_bytes % kPageBytes == 0 &&
                     out.segment_bytes >= 2 * kPageBytes && out.segment_bytes <= kMaxSegmentBytes;
  return sound ? Defect::kNone : Defect::kDamaged;
}

void encode_group_header(SegmentTag tag, std::uint32_t page_index, std::span<const Record> records, MutableBytes page) {
  std::ranges::fill(page, std::byte{0});
  put<std::uint64_t>(page, 32, tag.sequence);
  put<std::uint32_t>(page, 40, page_index);
  put<std::uint32_t>(page, 44, static_cast<std::uint32_t>(records.size()));
  for (std::size_t i = 0; i < records.size(); ++i) put_record(page, kRecordsAt + i * kRecordBytes, records[i]);
  seal(page, kGroupMagic, kPageBytes, tag.nonce);
}

Defect decode_group_header(Bytes page, SegmentTag tag, std::uint64_t offset, std::uint64_t segment_bytes,
                           std::vector<Record>& out, std::uint64_t& end) {
  if (page.size() != kPageBytes || offset % kPageBytes != 0) return Defect::kDamaged;
  // Cheap first: while scanning, most pages are payload.
  if (std::memcmp(page.data(), kGroupMagic.data(), 8) != 0 || get<std::uint64_t>(page, 24) != tag.nonce) {
    return Defect::kDamaged;
  }
  if (const Defect defect = check(page, kGroupMagic); defect != Defect::kNone) return defect;
  const auto page_index = get<std::uint32_t>(page, 40);
  const auto count = get<std::uint32_t>(page, 44);
  if (get<std::uint32_t>(page, 12) != kPageBytes || get<std::uint64_t>(page, 32) != tag.sequence ||
      page_index != offset / kPageBytes || count == 0 || count > kMaxGroupRecords) {
    return Defect::kDamaged;
  }
  out.clear();
  end = offset + kPageBytes;
  for (std::uint32_t i = 0; i < count; ++i) {
    const Record record = get_record(page, kRecordsAt + i * kRecordBytes);
    const bool sound = record.tombstone() ? record.page == page_index : std::uint64_t{record.page} * kPageBytes == end;
    if (!sound) return Defect::kDamaged;
    if (!record.tombstone()) end = record_end(record);
    if (end > segment_bytes) return Defect::kDamaged;
    out.push_back(record);
  }
  return Defect::kNone;
}

void encode_table(SegmentTag tag, std::span<const Record> records, MutableBytes table) {
  std::ranges::fill(table, std::byte{0});
  put<std::uint64_t>(table, 32, tag.sequence);
  put<std::uint32_t>(table, 40, static_cast<std::uint32_t>(records.size()));
  for (std::size_t i = 0; i < records.size(); ++i) put_record(table, kRecordsAt + i * kRecordBytes, records[i]);
  seal(table, kTableMagic, kRecordsAt + records.size() * kRecordBytes, tag.nonce);
}

std::uint64_t stored_checksum(Bytes encoded) {
  return get<std::uint64_t>(encoded, kChecksumAt);
}

void encode_footer(const Footer& footer, MutableBytes page, std::uint32_t version) {
  std::ranges::fill(page, std::byte{0});
  put<std::uint64_t>(page, 32, footer.tag.sequence);
  put<std::uint32_t>(page, 40, footer.table_page);
  put<std::uint32_t>(page, 44, footer.records);
  put<std::uint64_t>(page, 48, footer.table_checksum);
  seal(page, kFooterMagic, kPageBytes, footer.tag.nonce, version);
}

Defect decode_footer(Bytes page, std::uint64_t file_bytes, Footer& out) {
  if (page.size() != kPageBytes) return Defect::kDamaged;
  if (const Defect defect = check(page, kFooterMagic); defect != Defect::kNone) return defect;
  out.tag = {get<std::uint64_t>(page, 32), get<std::uint64_t>(page, 24)};
  out.table_page = get<std::uint32_t>(page, 40);
  out.records = get<std::uint32_t>(page, 44);
  out.table_checksum = get<std::uint64_t>(page, 48);
  // The table stands between the segment header and the footer, and ends where the footer begins.
  const bool sound = get<std::uint32_t>(page, 12) == kPageBytes && out.records <= kMaxRecords && out.table_page >= 1 &&
                     out.table_page * std::uint64_t{kPageBytes} + table_extent(out.records) + kPageBytes == file_bytes;
  return sound ? Defect::kNone : Defect::kDamaged;
}

Defect decode_table(Bytes table, const Footer& footer, std::vector<Record>& out) {
  if (footer.records > kMaxRecords || table.size() != table_extent(footer.records)) return Defect::kDamaged;
  if (const Defect defect = check(table, kTableMagic); defect != Defect::kNone) return defect;
  if (get<std::uint64_t>(table, kChecksumAt) != footer.table_checksum ||
      get<std::uint32_t>(table, 12) != kRecordsAt + std::size_t{footer.records} * kRecordBytes ||
      get<std::uint64_t>(table, 24) != footer.tag.nonce || get<std::uint64_t>(table, 32) != footer.tag.sequence ||
      get<std::uint32_t>(table, 40) != footer.records) {
    return Defect::kDamaged;
  }
  out.clear();
  out.reserve(footer.records);
  std::uint64_t end = kPageBytes;
  const std::uint64_t limit = std::uint64_t{footer.table_page} * kPageBytes;
  for (std::uint32_t i = 0; i < footer.records; ++i) {
    const Record record = get_record(table, kRecordsAt + i * kRecordBytes);
    if (record.tombstone()) {
      if (std::uint64_t{record.page} * kPageBytes >= limit) return Defect::kDamaged;
    } else {
      if (std::uint64_t{record.page} * kPageBytes < end || record_end(record) > limit) return Defect::kDamaged;
      end = record_end(record);
    }
    out.push_back(record);
  }
  return Defect::kNone;
}

std::string segment_name(std::uint64_t sequence) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string name = "seg-";
  for (int shift = 60; shift >= 0; shift -= 4) name += kDigits[(sequence >> shift) & 15];
  return name;
}

std::optional<std::uint64_t> parse_segment_name(std::string_view name) {
  if (name.size() != 20 || !name.starts_with("seg-")) return std::nullopt;
  std::uint64_t sequence = 0;
  const auto [end, error] = std::from_chars(name.data() + 4, name.data() + 20, sequence, 16);
  if (error != std::errc{} || end != name.data() + 20 || segment_name(sequence) != name) return std::nullopt;
  return sequence;
}

}  // namespace reprise::disk
