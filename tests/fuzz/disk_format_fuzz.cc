// Any bytes into the disk format's decoders: no crash, no overrun, and whatever is accepted encodes to the same bytes.
//
// Input: one byte that picks the decoder and whether checksums are made right first (a fuzzer does not find XXH3 by
// chance), then the structure's bytes.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/kernels.h"
#include "store/disk/format.h"

namespace {

using namespace reprise;        // NOLINT(google-build-using-namespace)
using namespace reprise::disk;  // NOLINT(google-build-using-namespace)

constexpr SegmentTag kTag{7, 0x1122334455667788};

void require(bool ok) {
  if (!ok) std::abort();
}

/// The prologue's checksum over what it says it covers, as docs/disk-format.md defines it.
void repair(std::vector<std::byte>& bytes) {
  if (bytes.size() < kPrologueBytes) return;
  std::uint32_t covered = 0;
  std::memcpy(&covered, bytes.data() + 12, 4);
  if (covered < kPrologueBytes || covered > bytes.size()) return;
  std::memset(bytes.data() + 16, 0, 8);
  const std::uint64_t halves[2] = {checksum(Bytes(bytes).first(kPrologueBytes)),
                                   checksum(Bytes(bytes).first(covered).subspan(kPrologueBytes))};
  const std::uint64_t sum = checksum(std::as_bytes(std::span(halves)));
  std::memcpy(bytes.data() + 16, &sum, 8);
}

void group(std::vector<std::byte>& bytes) {
  std::vector<Record> records;
  std::uint64_t end = 0;
  constexpr std::uint64_t kOffset = 3 * kPageBytes;
  constexpr std::uint64_t kSegment = 1 << 20;
  if (decode_group_header(bytes, kTag, kOffset, kSegment, records, end) != Defect::kNone) return;
  require(!records.empty() && end > kOffset && end <= kSegment);
  for (const Record& r : records) require(r.page * std::uint64_t{kPageBytes} + r.length <= end);
  std::vector<std::byte> again(kPageBytes);
  encode_group_header(kTag, 3, records, again);
  std::vector<Record> same;
  require(decode_group_header(again, kTag, kOffset, kSegment, same, end) == Defect::kNone && same == records);
}

void table(std::vector<std::byte>& bytes) {
  Footer footer{kTag, 20, 0, 0};
  if (bytes.size() < kPageBytes || bytes.size() % kPageBytes != 0) return;
  std::memcpy(&footer.records, bytes.data() + 40, 4);
  footer.table_checksum = stored_checksum(bytes);
  std::vector<Record> records;
  if (decode_table(bytes, footer, records) != Defect::kNone) return;
  require(records.size() == footer.records);
  for (const Record& r : records) require(r.page * std::uint64_t{kPageBytes} + r.length <= 20 * kPageBytes);
}

void footer_or_header(std::vector<std::byte>& bytes) {
  Footer footer;
  const std::uint64_t file_bytes = 30 * kPageBytes;
  if (decode_footer(bytes, file_bytes, footer) == Defect::kNone) {
    require(footer.table_page * std::uint64_t{kPageBytes} + table_extent(footer.records) + kPageBytes == file_bytes);
  }
  SegmentHeader header;
  if (decode_segment_header(bytes, header) == Defect::kNone) require(header.segment_bytes <= kMaxSegmentBytes);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  std::vector<std::byte> bytes(size - 1);
  if (size > 1) std::memcpy(bytes.data(), data + 1, size - 1);
  // Structures are whole pages: what is missing is zero.
  bytes.resize(page_ceil(bytes.size()));
  if ((data[0] & 0x80) != 0) repair(bytes);
  switch (data[0] & 3) {
    case 0: group(bytes); break;
    case 1: table(bytes); break;
    case 2: footer_or_header(bytes); break;
    default: (void)parse_segment_name({reinterpret_cast<const char*>(data + 1), size - 1}); break;
  }
  return 0;
}
