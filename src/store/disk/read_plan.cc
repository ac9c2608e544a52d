#include "store/disk/read_plan.h"

#include <algorithm>
#include <tuple>

namespace reprise::disk {
namespace {

// Beyond this, one large request is no faster than two at once.
constexpr std::uint64_t kMaxRunBytes = 512 << 10;

std::uint64_t begin_of(const Place& place) {
  return std::uint64_t{place.page} * kPageBytes;
}

}  // namespace

void ReadPlan::build(std::span<ReadOp> ops) {
  std::ranges::sort(reads, {}, [](const PlannedRead& r) { return std::tuple(r.place.slot, r.place.page); });
  pieces.reserve(reads.size());
  for (PlannedRead& read : reads) {
    std::byte* into = ops[read.op].into.data();
    const std::uint64_t extent = payload_extent(read.place.length);
    if (!page_aligned(into)) {
      bounces.emplace_back(extent);
      read.bounced = bounces.back().data();
      into = read.bounced;
    }
    pieces.emplace_back(into, extent);
  }
  std::uint64_t run_end = 0;
  std::uint64_t run_bytes = 0;
  for (std::size_t i = 0; i < reads.size(); ++i) {
    const Place& place = reads[i].place;
    const std::uint64_t extent = pieces[i].size();
    const bool joins = i > 0 && reads[i - 1].place.segment == place.segment && begin_of(place) == run_end &&
                       run_bytes + extent <= kMaxRunBytes;
    if (joins) {
      ReadRequest& run = requests.back();
      run.pieces = std::span(pieces).subspan(first.back(), i + 1 - first.back());
      run_bytes += extent;
    } else {
      first.push_back(i);
      requests.push_back({place.segment->file.get(), begin_of(place), std::span(pieces).subspan(i, 1)});
      run_bytes = extent;
    }
    run_end = begin_of(place) + extent;
  }
  first.push_back(reads.size());
}

}  // namespace reprise::disk
