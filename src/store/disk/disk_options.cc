#include "store/disk/disk_options.h"

#include <array>

#include "base/size.h"
#include "base/url.h"
#include "store/disk/format.h"

namespace reprise {
namespace {

constexpr std::array<std::string_view, 3> kDirect{"auto", "on", "off"};
constexpr std::array<std::string_view, 3> kIo{"auto", "uring", "plain"};
constexpr std::array<std::string_view, 2> kUnverified{"no", "for-tests"};
constexpr std::uint64_t kMinSegment = 64 << 10;
constexpr std::uint64_t kMaxCapacity = 1ULL << 44;
constexpr std::uint64_t kOtherFiles = 64;  // what the rest of the process is left

std::unexpected<Error> wrong(const std::string& what) {
  return fail(ErrorCode::kConfig, "disk: " + what);
}

}  // namespace

Result<DiskOptions> DiskOptions::parse(std::string_view text) {
  DiskOptions options;
  auto url = Url::parse(text);
  if (!url) return std::unexpected(url.error());
  options.path = url->path();
  const auto capacity = url->take_size("capacity", options.capacity);
  if (!capacity) return std::unexpected(capacity.error());
  const auto segment = url->take_size("segment", options.segment);
  if (!segment) return std::unexpected(segment.error());
  const auto direct = url->take_choice("direct", kDirect, 0);
  if (!direct) return std::unexpected(direct.error());
  const auto io = url->take_choice("io", kIo, 0);
  if (!io) return std::unexpected(io.error());
  const auto unverified = url->take_choice("unverified", kUnverified, 0);
  if (!unverified) return std::unexpected(unverified.error());
  if (const auto done = url->finish(); !done) return std::unexpected(done.error());
  options.capacity = *capacity;
  options.segment = *segment;
  options.direct = static_cast<Direct>(*direct);
  options.io = static_cast<IoForm>(*io);
  options.unverified = *unverified == 1;
  while (options.path.size() > 1 && options.path.ends_with('/')) options.path.pop_back();
  return options;
}

Result<void> DiskOptions::check(std::uint64_t max_files) const {
  if (path.empty()) return wrong("the URL names no directory; expected disk:/path");
  if (segment < kMinSegment || segment > disk::kMaxSegmentBytes || segment % kPageBytes != 0) {
    return wrong("segment=" + format_size(segment) + ": must be a multiple of 4096 from " + format_size(kMinSegment) +
                 " to " + format_size(disk::kMaxSegmentBytes));
  }
  if (capacity < 2 * segment || capacity > kMaxCapacity) {
    return wrong("capacity=" + format_size(capacity) + ": must be from two segments (" + format_size(2 * segment) +
                 ") to " + format_size(kMaxCapacity));
  }
  const std::uint64_t files = capacity / segment;
  if (files + kOtherFiles > max_files) {
    return wrong("capacity / segment = " + std::to_string(files) + " open files, but this process may open " +
                 std::to_string(max_files) + ": raise ulimit -n or choose a larger segment=");
  }
  return {};
}

}  // namespace reprise
