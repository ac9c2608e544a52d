// Any bytes as the header of a block that stands alone (a file of `fs:`, a value of `rocksdb:`): no crash, no overrun,
// whatever is accepted encodes to the same bytes, and nothing but the block asked for is good.
//
// Input: one byte that says whether the checksum is made right first (a fuzzer does not find XXH3 by chance), then what
// the file holds.
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/kernels.h"
#include "base/stored_block.h"

namespace {

using namespace reprise;  // NOLINT(google-build-using-namespace)

void require(bool ok) {
  if (!ok) std::abort();
}

void repair(std::vector<std::byte>& bytes) {
  if (bytes.size() < kStoredBlockHeaderBytes) return;
  std::memset(bytes.data() + 16, 0, 8);
  const std::uint64_t sum = checksum(Bytes(bytes).first(kStoredBlockHeaderBytes));
  std::memcpy(bytes.data() + 16, &sum, 8);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  std::vector<std::byte> bytes(size - 1);
  if (size > 1) std::memcpy(bytes.data(), data + 1, size - 1);
  if ((data[0] & 0x80) != 0) repair(bytes);
  StoredBlock block;
  if (decode_stored_block(bytes, block) != StoredDefect::kNone) return 0;
  require(block.length >= 1 && block.length <= kMaxStoredBlockBytes);
  std::array<std::byte, kStoredBlockHeaderBytes> again;
  encode_stored_block(block, again);
  // Versions below this one may differ in nothing: there are none.
  require(std::memcmp(again.data(), bytes.data(), again.size()) == 0);
  StoredBlock seen;
  require(judge_stored_block(bytes, block.id, block.length, seen) == Verdict::kGood && seen == block);
  require(judge_stored_block(bytes, block.id, block.length + 1, seen) == Verdict::kOtherLength);
  BlockId other = block.id;
  other.key.bytes[data[0] % 16] ^= 1;
  require(judge_stored_block(bytes, other, block.length, seen) == Verdict::kWrongPlace);
  other = block.id;
  other.ns.bytes[data[0] % 16] ^= 1;
  require(judge_stored_block(bytes, other, block.length, seen) == Verdict::kWrongPlace);
  return 0;
}
