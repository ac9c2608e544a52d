#include "store/disk/format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "testing/blocks.h"

namespace reprise::disk {
namespace {

using testing::block_id;

constexpr SegmentTag kTag{7, 0x1122334455667788};
constexpr std::uint64_t kSegment = 1 << 20;

std::vector<Record> two_records(std::uint32_t header_page) {
  return {{block_id(1), 11, 5000, header_page + 1}, {block_id(2), 22, 4096, header_page + 3}};
}

TEST(DiskFormat, SegmentHeaderRoundTrip) {
  const AlignedBuffer page(kPageBytes);
  encode_segment_header({kTag, kSegment}, page.span());
  SegmentHeader header;
  ASSERT_EQ(decode_segment_header(page.span(), header), Defect::kNone);
  EXPECT_EQ(header.tag, kTag);
  EXPECT_EQ(header.segment_bytes, kSegment);
}

TEST(DiskFormat, BytesAreWhereTheDocumentSays) {
  const AlignedBuffer page(kPageBytes);
  encode_group_header(kTag, 3, two_records(3), page.span());
  const auto* text = reinterpret_cast<const char*>(page.data());
  EXPECT_EQ(std::string_view(text, 8), "RPRSGRUP");
  const auto byte = [&](std::size_t at) { return std::to_integer<int>(page.data()[at]); };
  EXPECT_EQ(byte(8), 1) << "version";
  EXPECT_EQ(byte(13), 0x10) << "covered = 4096";
  EXPECT_EQ(byte(24), 0x88) << "nonce, little-endian";
  EXPECT_EQ(byte(32), 7) << "sequence";
  EXPECT_EQ(byte(40), 3) << "own page";
  EXPECT_EQ(byte(44), 2) << "records";
  EXPECT_EQ(byte(48 + 48 + 40 + 1), 0x10) << "second record's length";
  EXPECT_EQ(byte(48 + 48 + 44), 6) << "second record's page";
}

TEST(DiskFormat, GroupRoundTripAndItsPlace) {
  const AlignedBuffer page(kPageBytes);
  const auto records = two_records(3);
  encode_group_header(kTag, 3, records, page.span());
  std::vector<Record> out;
  std::uint64_t end = 0;
  ASSERT_EQ(decode_group_header(page.span(), kTag, 3 * kPageBytes, kSegment, out, end), Defect::kNone);
  EXPECT_EQ(out, records);
  EXPECT_EQ(end, 7 * kPageBytes);
  EXPECT_EQ(decode_group_header(page.span(), kTag, 4 * kPageBytes, kSegment, out, end), Defect::kDamaged);
  EXPECT_EQ(decode_group_header(page.span(), {8, kTag.nonce}, 3 * kPageBytes, kSegment, out, end), Defect::kDamaged);
  EXPECT_EQ(decode_group_header(page.span(), {7, kTag.nonce + 1}, 3 * kPageBytes, kSegment, out, end),
            Defect::kDamaged);
  EXPECT_EQ(decode_group_header(page.span(), kTag, 3 * kPageBytes, 6 * kPageBytes, out, end), Defect::kDamaged)
      << "reaches behind the file";
}

TEST(DiskFormat, FullGroupAndTombstones) {
  const AlignedBuffer page(kPageBytes);
  std::vector<Record> records;
  for (std::uint64_t n = 0; n < kMaxGroupRecords; ++n) records.push_back({block_id(n), 0, 0, 9});
  encode_group_header(kTag, 9, records, page.span());
  std::vector<Record> out;
  std::uint64_t end = 0;
  ASSERT_EQ(decode_group_header(page.span(), kTag, 9 * kPageBytes, kSegment, out, end), Defect::kNone);
  EXPECT_EQ(out, records);
  EXPECT_EQ(end, 10 * kPageBytes);
}

struct Table {
  AlignedBuffer bytes;
  Footer footer;
};
Table make_table(std::span<const Record> records, std::uint32_t table_page) {
  Table table{AlignedBuffer(table_extent(records.size())), {}};
  encode_table(kTag, records, table.bytes.span());
  table.footer = {kTag, table_page, static_cast<std::uint32_t>(records.size()), stored_checksum(table.bytes.span())};
  return table;
}

TEST(DiskFormat, TableAndFooterRoundTrip) {
  std::vector<Record> records;
  for (std::uint32_t n = 0; n < 1000; ++n) records.push_back({block_id(n), n, 4096, 2 + n});
  const Table table = make_table(records, 1002);
  const AlignedBuffer page(kPageBytes);
  encode_footer(table.footer, page.span());
  const std::uint64_t file_bytes = 1002 * kPageBytes + table_extent(1000) + kPageBytes;
  Footer footer;
  ASSERT_EQ(decode_footer(page.span(), file_bytes, footer), Defect::kNone);
  EXPECT_EQ(footer.tag, kTag);
  std::vector<Record> out;
  ASSERT_EQ(decode_table(table.bytes.span(), footer, out), Defect::kNone);
  EXPECT_EQ(out, records);
  EXPECT_EQ(decode_footer(page.span(), file_bytes + kPageBytes, footer), Defect::kDamaged) << "not the file's end";
}

TEST(DiskFormat, RecordsMayNotOverlapNorReachIntoTheTable) {
  std::vector<Record> out;
  const std::vector<Record> overlapping{{block_id(1), 1, 8192, 2}, {block_id(2), 2, 4096, 3}};
  const Table one = make_table(overlapping, 10);
  EXPECT_EQ(decode_table(one.bytes.span(), one.footer, out), Defect::kDamaged);
  const std::vector<Record> beyond{{block_id(1), 1, 8193, 8}};
  const Table two = make_table(beyond, 10);
  EXPECT_EQ(decode_table(two.bytes.span(), two.footer, out), Defect::kDamaged);
}

TEST(DiskFormat, EveryFlippedBitIsNoticed) {
  const AlignedBuffer page(kPageBytes);
  SegmentHeader header;
  encode_segment_header({kTag, kSegment}, page.span());
  for (std::size_t bit = 0; bit < kPageBytes * 8; ++bit) {
    page.data()[bit / 8] ^= static_cast<std::byte>(1 << (bit % 8));
    ASSERT_EQ(decode_segment_header(page.span(), header), Defect::kDamaged) << bit;
    page.data()[bit / 8] ^= static_cast<std::byte>(1 << (bit % 8));
  }
  std::vector<Record> out;
  std::uint64_t end = 0;
  encode_group_header(kTag, 3, two_records(3), page.span());
  for (std::size_t bit = 0; bit < kPageBytes * 8; ++bit) {
    page.data()[bit / 8] ^= static_cast<std::byte>(1 << (bit % 8));
    ASSERT_EQ(decode_group_header(page.span(), kTag, 3 * kPageBytes, kSegment, out, end), Defect::kDamaged) << bit;
    page.data()[bit / 8] ^= static_cast<std::byte>(1 << (bit % 8));
  }
}

TEST(DiskFormat, ShortAndRandomBytesAreDamaged) {
  std::mt19937_64 random(1);
  AlignedBuffer page(kPageBytes);
  SegmentHeader header;
  Footer footer;
  for (int i = 0; i < 1000; ++i) {
    for (std::byte& b : page.span()) b = static_cast<std::byte>(random());
    EXPECT_EQ(decode_segment_header(page.span(), header), Defect::kDamaged);
    EXPECT_EQ(decode_footer(page.span(), random() % (1 << 20), footer), Defect::kDamaged);
  }
  EXPECT_EQ(decode_segment_header(page.span().first(10), header), Defect::kDamaged);
  EXPECT_EQ(decode_footer({}, 0, footer), Defect::kDamaged);
}

TEST(DiskFormat, SegmentNames) {
  EXPECT_EQ(segment_name(42), "seg-000000000000002a");
  EXPECT_EQ(parse_segment_name("seg-000000000000002a"), 42u);
  for (const char* name : {"", "LOCK", "seg-2a", "seg-000000000000002A", "seg-00000000000000zz",
                           "seg-000000000000002a.tmp", "seg--00000000000002a"}) {
    EXPECT_FALSE(parse_segment_name(name)) << name;
  }
}

}  // namespace
}  // namespace reprise::disk
