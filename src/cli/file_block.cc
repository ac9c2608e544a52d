#include "cli/file_block.h"

#include <bit>
#include <cstring>

#include "base/kernels.h"

namespace reprise::cli {
namespace {

static_assert(std::endian::native == std::endian::little);

struct Header {
  char magic[4];
  std::uint32_t flags;
  std::uint64_t index;
  std::uint64_t writing;
  std::uint64_t used;
  std::uint64_t checksum;
};
static_assert(sizeof(Header) == kFileBlockHeader);

constexpr char kMagic[4] = {'R', 'P', 'R', 'F'};
constexpr std::uint32_t kLast = 1;

}  // namespace

void seal_file_block(MutableBytes block, std::uint64_t index, std::uint64_t writing, std::size_t used, bool last) {
  const MutableBytes content = block.subspan(kFileBlockHeader, used);
  Header header{{}, last ? kLast : 0, index, writing, used, checksum(content)};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  std::memcpy(block.data(), &header, sizeof header);
  const MutableBytes rest = block.subspan(kFileBlockHeader + used);
  if (!rest.empty()) std::memset(rest.data(), 0, rest.size());
}

std::optional<FileBlock> read_file_block(Bytes block) {
  if (block.size() < kFileBlockHeader) return std::nullopt;
  Header header;
  std::memcpy(&header, block.data(), sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0 || header.used > block.size() - kFileBlockHeader) {
    return std::nullopt;
  }
  const Bytes content = block.subspan(kFileBlockHeader, header.used);
  if (checksum(content) != header.checksum) return std::nullopt;
  return FileBlock{header.index, header.writing, (header.flags & kLast) != 0, content};
}

}  // namespace reprise::cli
