#include "store/disk/segment_log.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <random>
#include <utility>

#include "base/log.h"
#include "base/size.h"

namespace reprise::disk {
namespace {

IoStatus write_all(Env& env, const File& file, std::uint64_t offset, Bytes bytes) {
  IoStatus result = IoStatus::kFailed;
  const WriteRequest request{&file, offset, std::span(&bytes, 1)};
  env.write(std::span(&request, 1), [&](std::size_t, IoStatus status) { result = status; }, Deadline::never());
  return result;
}

std::uint64_t draw_nonce() {
  std::random_device device;
  return (static_cast<std::uint64_t>(device()) << 32) | device();
}

}  // namespace

IoResult<std::uint64_t> seal_segment(Env& env, const Segment& segment, std::span<const Record> records) {
  if (records.empty()) return 0;
  std::uint64_t end = kPageBytes;
  for (const Record& record : records) {
    const std::uint64_t at = std::uint64_t{record.page} * kPageBytes;
    end = std::max(end, at + (record.tombstone() ? kPageBytes : payload_extent(record.length)));
  }
  const std::uint64_t table_bytes = table_extent(records.size());
  const AlignedBuffer buffer(table_bytes + kPageBytes);
  const MutableBytes table = buffer.span().first(table_bytes);
  encode_table(segment.tag, records, table);
  Footer footer{segment.tag, static_cast<std::uint32_t>(end / kPageBytes), static_cast<std::uint32_t>(records.size()),
                0};
  footer.table_checksum = stored_checksum(table);
  encode_footer(footer, buffer.span().last(kPageBytes));
  if (const IoStatus status = write_all(env, *segment.file, end, buffer.span()); status != IoStatus::kOk) {
    return std::unexpected(IoError{status, "seal " + segment.path + ": " + std::string(to_string(status))});
  }
  const std::uint64_t size = end + buffer.size();
  if (const auto cut = segment.file->truncate(size); !cut) return std::unexpected(cut.error());
  return size;
}

SegmentLog::SegmentLog(Env& env, Catalog& catalog, LogOptions options, std::vector<SealedSegment> recovered,
                       std::uint64_t next_sequence, std::unique_ptr<File> lock)
    : env_(env),
      catalog_(catalog),
      options_(std::move(options)),
      sealed_(std::move(recovered)),
      lock_file_(std::move(lock)),
      next_sequence_(next_sequence),
      capacity_(options_.capacity) {
  for (const SealedSegment& segment : sealed_) disk_bytes_ += segment.bytes;
  sealed_.reserve(sealed_.size() + options_.capacity / options_.segment_bytes + 16);
  closing_.reserve(64);
}

SegmentLog::~SegmentLog() {
  close_open();
}

bool SegmentLog::fits(const Open& open, std::uint64_t bytes, std::uint32_t records) const {
  const std::uint64_t end = open.end + bytes + table_extent(open.records + records) + kPageBytes;
  return end <= options_.segment_bytes && open.records + records <= options_.segment_bytes / kPageBytes;
}

void SegmentLog::take(Open& open, std::uint64_t bytes, std::uint32_t records, Extent& out) {
  out = {open.segment, open.slot, open.end};
  open.end += bytes;
  open.records += records;
  ++open.in_flight;
}

bool SegmentLog::try_reserve(std::uint64_t bytes, std::uint32_t records, Extent& out) {
  const std::lock_guard lock(mutex_);
  if (open_ == nullptr || !fits(*open_, bytes, records)) return false;
  take(*open_, bytes, records, out);
  return true;
}

IoStatus SegmentLog::reserve(std::uint64_t bytes, std::uint32_t records, Deadline deadline, Extent& out) {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (open_ != nullptr && fits(*open_, bytes, records)) {
      take(*open_, bytes, records, out);
      return IoStatus::kOk;
    }
    if (!deadline.is_never() && deadline.passed(std::chrono::steady_clock::now())) return IoStatus::kTimeout;
    if (rolling_) {
      if (deadline.is_never()) {
        changed_.wait(lock);
      } else {
        changed_.wait_until(lock, deadline.when());
      }
      continue;
    }
    rolling_ = true;
    OpenPtr full = std::move(open_);
    open_ = nullptr;
    if (full != nullptr) {
      full->closed = true;
      closing_.push_back(full);
      if (full->in_flight > 0) full = nullptr;  // sealed by whoever finishes last
    }
    lock.unlock();
    const IoStatus status = roll();
    if (full != nullptr) seal(full);
    lock.lock();
    if (status != IoStatus::kOk) return status;
  }
}

IoStatus SegmentLog::roll() {
  // Room first, if the last victim has not gone yet: wait for whoever copies out of it, or let go without copying.
  for (;;) {
    std::unique_lock lock(mutex_);
    if (disk_bytes_ <= capacity_) break;
    if (reclaiming_) {
      changed_.wait(lock);
      continue;
    }
    lock.unlock();
    if (!drop_oldest()) break;
  }
  auto made = create();
  for (int i = 0; i < 4 && !made && made.error().status == IoStatus::kNoSpace; ++i) {
    shrink_to_fit();
    if (!drop_oldest()) break;
    made = create();
  }
  if (!made && made.error().status == IoStatus::kNotFound) {
    bring_back_directory();
    made = create();
  }
  if (!made) log::warn("disk: cannot begin a segment: " + made.error().message);
  if (made) regrow();
  {
    const std::lock_guard lock(mutex_);
    rolling_ = false;
    if (made) {
      open_ = std::move(*made);
      disk_bytes_ += options_.segment_bytes;
    }
  }
  changed_.notify_all();
  return made ? IoStatus::kOk : made.error().status;
}

IoResult<SegmentLog::OpenPtr> SegmentLog::create() {
  const std::uint64_t sequence = next_sequence_++;
  auto made = create_file(sequence);
  if (!made && made.error().status != IoStatus::kNotFound) {
    (void)env_.remove(options_.directory + "/" + segment_name(sequence));
  }
  return made;
}

IoResult<SegmentLog::OpenPtr> SegmentLog::create_file(std::uint64_t sequence) {
  auto segment = std::make_shared<Segment>();
  segment->tag = {sequence, draw_nonce()};
  segment->path = options_.directory + "/" + segment_name(sequence);
  auto file = env_.open(segment->path, OpenMode::kCreate, options_.direct);
  if (!file) return std::unexpected(file.error());
  segment->file = std::move(*file);
  if (const auto room = segment->file->allocate(options_.segment_bytes); !room) return std::unexpected(room.error());
  const AlignedBuffer page(kPageBytes);
  encode_segment_header({segment->tag, options_.segment_bytes}, page.span());
  if (const IoStatus status = write_all(env_, *segment->file, 0, page.span()); status != IoStatus::kOk) {
    return std::unexpected(IoError{status, "write the header of " + segment->path});
  }
  const auto slot = catalog_.add_segment(segment, static_cast<std::uint32_t>(options_.segment_bytes / kPageBytes));
  if (!slot) return std::unexpected(IoError{IoStatus::kFailed, "too many segments"});
  auto open = std::make_shared<Open>();
  open->segment = std::move(segment);
  open->slot = *slot;
  open->end = kPageBytes;
  return open;
}

void SegmentLog::bring_back_directory() {
  if (!env_.make_directory(options_.directory)) return;
  // The old lock file went with the directory; take the one in the new place.
  lock_file_.reset();
  auto lock = env_.lock(options_.directory + "/LOCK");
  if (!lock) return log::warn("disk: " + lock.error().message);
  lock_file_ = std::move(*lock);
  log::warn("disk: " + options_.directory + " was removed; made again, empty");
}

void SegmentLog::finish(const Extent& extent) {
  OpenPtr last;
  {
    const std::lock_guard lock(mutex_);
    OpenPtr open = open_ != nullptr && open_->segment == extent.segment ? open_ : nullptr;
    for (const OpenPtr& closing : closing_) {
      if (closing->segment == extent.segment) open = closing;
    }
    if (open != nullptr && --open->in_flight == 0 && open->closed) last = open;
  }
  if (last != nullptr) seal(last);
}

void SegmentLog::seal(const OpenPtr& open) {
  const auto records = catalog_.records(open->slot);
  const auto size = seal_segment(env_, *open->segment, records);
  if (!size) log::warn("disk: " + size.error().message);
  const bool empty = size && *size == 0;
  if (empty) {
    (void)env_.remove(open->segment->path);
    catalog_.remove_segment(open->slot);
  } else {
    catalog_.shrink(open->slot);
  }
  {
    const std::lock_guard lock(mutex_);
    const std::uint64_t bytes = size ? *size : options_.segment_bytes;
    disk_bytes_ -= options_.segment_bytes - bytes;
    if (!empty) {
      const auto newer = [&](const SealedSegment& s) { return s.segment->tag.sequence > open->segment->tag.sequence; };
      sealed_.insert(std::ranges::find_if(sealed_, newer), {open->segment, open->slot, bytes});
      if (size) last_sealed_ = std::max(last_sealed_, open->segment->tag.sequence);
    }
    std::erase(closing_, open);
  }
  changed_.notify_all();
}

void SegmentLog::close_open() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !rolling_; });
  if (open_ != nullptr) {
    OpenPtr full = std::move(open_);
    open_ = nullptr;
    full->closed = true;
    closing_.push_back(full);
    if (full->in_flight == 0) {
      lock.unlock();
      seal(full);
      lock.lock();
    }
  }
  changed_.wait(lock, [this] { return closing_.empty(); });
}

std::optional<SealedSegment> SegmentLog::take_victim() {
  const std::lock_guard lock(mutex_);
  if (reclaiming_ || disk_bytes_ <= capacity_ || sealed_.empty()) return std::nullopt;
  reclaiming_ = true;
  return sealed_.front();
}

std::uint64_t SegmentLog::drop_victim(const SealedSegment& victim) {
  const std::uint64_t blocks = catalog_.remove_segment(victim.slot);
  const auto removed = env_.remove(victim.segment->path);
  if (!removed && removed.error().status != IoStatus::kNotFound) log::warn("disk: " + removed.error().message);
  {
    const std::lock_guard lock(mutex_);
    reclaiming_ = false;
    disk_bytes_ -= victim.bytes;
    evicted_ += blocks;
    std::erase_if(sealed_, [&](const SealedSegment& s) { return s.segment == victim.segment; });
  }
  changed_.notify_all();
  return blocks;
}

bool SegmentLog::drop_oldest() {
  SealedSegment victim;
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !reclaiming_; });
    if (sealed_.empty()) return false;
    reclaiming_ = true;
    victim = sealed_.front();
  }
  drop_victim(victim);
  return true;
}

void SegmentLog::shrink_to_fit() {
  std::string said;
  {
    const std::lock_guard lock(mutex_);
    capacity_ = std::min(capacity_, std::max(disk_bytes_, options_.segment_bytes));
    if (!said_full_) said = format_size(capacity_);
    said_full_ = true;
  }
  if (said.empty()) return;
  log::warn("disk: the file system of " + options_.directory + " is full: the tier shrinks from " +
            format_size(options_.capacity) + " to " + said + " until there is room again");
}

void SegmentLog::regrow() {
  {
    const std::lock_guard lock(mutex_);
    if (capacity_ == options_.capacity) return;
  }
  const auto room = env_.free_space(options_.directory);
  if (!room || *room < 4 * options_.segment_bytes) return;
  const std::lock_guard lock(mutex_);
  capacity_ = std::min(options_.capacity, capacity_ + options_.segment_bytes);
  if (capacity_ == options_.capacity) said_full_ = false;
}

std::uint64_t SegmentLog::capacity() const {
  const std::lock_guard lock(mutex_);
  return capacity_;
}
std::uint64_t SegmentLog::disk_bytes() const {
  const std::lock_guard lock(mutex_);
  return disk_bytes_;
}
std::uint64_t SegmentLog::evicted() const {
  const std::lock_guard lock(mutex_);
  return evicted_;
}
std::uint64_t SegmentLog::last_sealed() const {
  const std::lock_guard lock(mutex_);
  return last_sealed_;
}

}  // namespace reprise::disk
