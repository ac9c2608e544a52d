#include "store/disk/recovery.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "base/aligned_buffer.h"
#include "base/kernels.h"
#include "base/log.h"

namespace reprise::disk {
namespace {

constexpr std::size_t kTailBytes = 128 << 10;
constexpr std::size_t kBatch = 32;
constexpr std::size_t kWindowBytes = 4 << 20;

bool read_all(Env& env, const File& file, std::uint64_t offset, MutableBytes into) {
  IoStatus result = IoStatus::kFailed;
  const ReadRequest request{&file, offset, std::span(&into, 1)};
  env.read(std::span(&request, 1), [&](std::size_t, IoStatus status) { result = status; }, Deadline::never());
  return result == IoStatus::kOk;
}

/// A file seen through a window that moves forward.
class Window {
 public:
  Window(Env& env, const File& file, std::uint64_t bytes) : env_(env), file_(file), bytes_(bytes) {}

  /// Bytes [offset, offset + n), offset a multiple of a page; empty behind the end or where they cannot be read.
  Bytes at(std::uint64_t offset, std::uint64_t n) {
    if (offset + page_ceil(n) > bytes_) return {};
    if (offset < begin_ || offset + n > begin_ + held_) {
      const std::uint64_t want = std::min(std::max<std::uint64_t>(page_ceil(n), kWindowBytes), bytes_ - offset);
      if (buffer_.size() < want) buffer_ = AlignedBuffer(want);
      begin_ = offset;
      held_ = read_all(env_, file_, offset, buffer_.span().first(want)) ? want : 0;
      // One bad sector must not hide its neighbours: fall back to what was asked for.
      if (held_ == 0 && read_all(env_, file_, offset, buffer_.span().first(page_ceil(n)))) held_ = page_ceil(n);
      if (held_ == 0) return {};
    }
    return buffer_.span().subspan(offset - begin_, n);
  }

 private:
  Env& env_;
  const File& file_;
  const std::uint64_t bytes_;
  AlignedBuffer buffer_;
  std::uint64_t begin_ = 0;
  std::uint64_t held_ = 0;
};

struct Loaded {
  bool sealed = false;
  bool newer = false;
  std::vector<Record> records;
};

/// Footer and table out of the file's tail, or nothing.
Loaded load_sealed(Env& env, SegmentFile& file, Bytes tail) {
  Loaded loaded;
  Footer footer;
  const Defect defect = decode_footer(tail.last(kPageBytes), file.bytes, footer);
  loaded.newer = defect == Defect::kNewer;
  if (defect != Defect::kNone || footer.tag.sequence != file.sequence) return loaded;
  const std::uint64_t table_bytes = table_extent(footer.records);
  const std::uint64_t table_at = std::uint64_t{footer.table_page} * kPageBytes;
  AlignedBuffer large;
  Bytes table;
  if (table_bytes + kPageBytes <= tail.size()) {
    table = tail.last(table_bytes + kPageBytes).first(table_bytes);
  } else {
    large = AlignedBuffer(table_bytes);
    if (!read_all(env, *file.segment->file, table_at, large.span())) return loaded;
    table = large.span();
  }
  const Defect table_defect = decode_table(table, footer, loaded.records);
  loaded.newer = table_defect == Defect::kNewer;
  loaded.sealed = table_defect == Defect::kNone;
  if (loaded.sealed) file.segment->tag = footer.tag;
  return loaded;
}

/// What the segment's own groups say.
Loaded load_unsealed(Env& env, SegmentFile& file) {
  Loaded loaded;
  const AlignedBuffer page(kPageBytes);
  SegmentHeader header;
  if (file.bytes < kPageBytes || !read_all(env, *file.segment->file, 0, page.span())) return loaded;
  const Defect defect = decode_segment_header(page.span(), header);
  loaded.newer = defect == Defect::kNewer;
  if (defect != Defect::kNone || header.tag.sequence != file.sequence) return loaded;
  file.segment->tag = header.tag;
  loaded.records = scan_segment(env, *file.segment, file.bytes);
  return loaded;
}

/// Tails of up to kBatch files at once; an unreadable one stays zero, which is no footer.
void read_tails(Env& env, std::span<const SegmentFile> files, std::span<MutableBytes> tails) {
  std::vector<ReadRequest> requests;
  for (std::size_t i = 0; i < files.size(); ++i) {
    const std::uint64_t n = std::min<std::uint64_t>(files[i].bytes, kTailBytes);
    tails[i] = tails[i].first(n);
    std::ranges::fill(tails[i], std::byte{0});
    if (n > 0) requests.push_back({files[i].segment->file.get(), files[i].bytes - n, std::span(&tails[i], 1)});
  }
  env.read(requests, [](std::size_t, IoStatus) {}, Deadline::never());
}

std::unexpected<Error> newer(const SegmentFile& file) {
  return fail(ErrorCode::kVersion, "disk: " + file.segment->path +
                                       " was written by a newer version; use that version, or remove the directory");
}

}  // namespace

std::vector<Record> scan_segment(Env& env, const Segment& segment, std::uint64_t bytes) {
  std::vector<Record> found;
  std::vector<Record> group;
  Window window(env, *segment.file, bytes);
  std::uint64_t at = kPageBytes;
  while (at + kPageBytes <= bytes) {
    std::uint64_t end = 0;
    const Bytes page = window.at(at, kPageBytes);
    if (page.empty() || decode_group_header(page, segment.tag, at, bytes, group, end) != Defect::kNone) {
      at += kPageBytes;
      continue;
    }
    for (const Record& record : group) {
      if (!record.tombstone()) {
        const Bytes payload = window.at(std::uint64_t{record.page} * kPageBytes, record.length);
        if (payload.empty() || checksum(payload) != record.checksum) continue;
      }
      found.push_back(record);
    }
    at = end;
  }
  return found;
}

Result<std::vector<SegmentFile>> open_segments(Env& env, const std::string& directory, Direct direct) {
  const auto names = env.list(directory);
  if (!names) return fail(ErrorCode::kConfig, "disk: " + names.error().message);
  std::vector<SegmentFile> files;
  for (const std::string& name : *names) {
    const auto sequence = parse_segment_name(name);
    if (!sequence) continue;
    auto segment = std::make_shared<Segment>();
    segment->path = directory + "/" + name;
    auto file = env.open(segment->path, OpenMode::kWrite, direct);
    if (!file) return fail(ErrorCode::kConfig, "disk: " + file.error().message);
    segment->file = std::move(*file);
    const auto size = segment->file->size();
    if (!size) return fail(ErrorCode::kIo, "disk: " + size.error().message);
    // A file cut in the middle of a page was cut by somebody else: scanned up to there.
    files.push_back({*sequence, *size / kPageBytes * kPageBytes, std::move(segment)});
  }
  std::ranges::sort(files, {}, &SegmentFile::sequence);
  return files;
}

Result<Recovered> recover(Env& env, std::vector<SegmentFile> files, Catalog& catalog) {
  struct Unsealed {
    std::size_t index;
    bool empty;
  };
  Recovered result;
  std::vector<Unsealed> unsealed;
  const AlignedBuffer tail_memory(kBatch * kTailBytes);
  for (std::size_t begin = 0; begin < files.size(); begin += kBatch) {
    const auto batch = std::span(files).subspan(begin, std::min(kBatch, files.size() - begin));
    std::array<MutableBytes, kBatch> tails;
    for (std::size_t i = 0; i < kBatch; ++i) tails[i] = tail_memory.span().subspan(i * kTailBytes, kTailBytes);
    read_tails(env, batch, tails);
    for (std::size_t i = 0; i < batch.size(); ++i) {
      SegmentFile& file = batch[i];
      Loaded loaded;
      if (file.bytes >= 2 * kPageBytes) loaded = load_sealed(env, file, tails[i]);
      if (!loaded.sealed && !loaded.newer) loaded = load_unsealed(env, file);
      if (loaded.newer) return newer(file);
      if (!loaded.sealed) unsealed.push_back({result.segments.size(), loaded.records.empty()});
      const auto slot = catalog.add_segment(file.segment, static_cast<std::uint32_t>(loaded.records.size()));
      if (!slot) return fail(ErrorCode::kConfig, "disk: too many segments in the directory for this segment=");
      catalog.publish(*slot, loaded.records, /*replace=*/true);
      result.segments.push_back({file.segment, *slot, file.bytes});
      result.next_sequence = file.sequence + 1;
    }
  }
  // Only now is anything changed, since no segment turned out to be newer.
  result.scanned = unsealed.size();
  for (auto it = unsealed.rbegin(); it != unsealed.rend(); ++it) {
    SealedSegment& segment = result.segments[it->index];
    if (it->empty) {
      (void)env.remove(segment.segment->path);
      catalog.remove_segment(segment.slot);
      result.segments.erase(result.segments.begin() + static_cast<std::ptrdiff_t>(it->index));
      continue;
    }
    const auto size = seal_segment(env, *segment.segment, catalog.records(segment.slot));
    if (size) segment.bytes = *size;
    if (!size) log::warn("disk: " + size.error().message);
  }
  return result;
}

}  // namespace reprise::disk
