#include "store/fs/fs_store.h"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <random>
#include <utility>

#include "base/kernels.h"
#include "base/log.h"

namespace reprise {
namespace {

constexpr std::chrono::seconds kLogEvery{10};
constexpr std::chrono::seconds kSweepEvery{600};
constexpr std::chrono::hours kDeadWriter{1};  // nobody takes that long to write one block
constexpr std::size_t kMaxSwept = 1024;       // in one go

Error config(std::string message) {
  return {ErrorCode::kConfig, "fs: " + std::move(message)};
}
bool late(Deadline deadline) {
  return !deadline.is_never() && deadline.passed(std::chrono::steady_clock::now());
}

IoStatus read_pieces(Env& env, const File& file, std::span<const MutableBytes> pieces, Deadline deadline) {
  IoStatus result = IoStatus::kFailed;
  const ReadRequest request{&file, 0, pieces};
  env.read(std::span(&request, 1), [&](std::size_t, IoStatus status) { result = status; }, deadline);
  return result;
}
IoStatus write_pieces(Env& env, const File& file, std::span<const Bytes> pieces, Deadline deadline) {
  IoStatus result = IoStatus::kFailed;
  const WriteRequest request{&file, 0, pieces};
  env.write(std::span(&request, 1), [&](std::size_t, IoStatus status) { result = status; }, deadline);
  return result;
}
std::unexpected<IoError> io_fail(IoStatus status, const std::string& what) {
  return std::unexpected(IoError{status, what + ": " + std::string(to_string(status))});
}

}  // namespace

Result<std::unique_ptr<Store>> FsStore::open(std::string_view url) {
  const auto options = FsOptions::parse(url);
  if (!options) return std::unexpected(options.error());
  // Files are opened one by one, which io_uring here does not help with; threads do.
  auto env = make_env(IoForm::kPlain);
  if (!env) return std::unexpected(env.error());
  Env& borrowed = **env;
  return make(*options, borrowed, std::move(*env), {});
}

Result<std::unique_ptr<FsStore>> FsStore::open(const FsOptions& options, Env& env, WallClock clock) {
  if (const auto ok = options.check(); !ok) return std::unexpected(ok.error());
  return make(options, env, nullptr, std::move(clock));
}

Result<std::unique_ptr<FsStore>> FsStore::make(const FsOptions& options, Env& env, std::unique_ptr<Env> owned,
                                               WallClock clock) {
  if (!clock) clock = [] { return std::chrono::system_clock::now(); };
  std::unique_ptr<FsStore> store(new FsStore(options, env, std::move(owned), std::move(clock)));
  if (const auto started = store->start(); !started) return std::unexpected(started.error());
  return store;
}

FsStore::FsStore(const FsOptions& options, Env& env, std::unique_ptr<Env> owned, WallClock clock)
    : options_(options),
      info_{
          .name = "fs", .alignment = 1, .max_block_bytes = kMaxStoredBlockBytes, .persistent = true, .can_erase = true},
      clock_(std::move(clock)),
      layout_(options.path),
      writer_(fs::writer_name()),
      owned_env_(std::move(owned)),
      env_(env) {}

FsStore::~FsStore() = default;

Result<void> FsStore::start() {
  if (const auto claimed = claim_root(); !claimed) return claimed;
  census_ = std::make_unique<fs::Census>(
      env_, layout_, fs::CensusOptions{options_.capacity, options_.ttl_seconds, std::random_device{}()});
  workers_ = std::make_unique<fs::Workers>(options_.threads);
  sweep();
  return {};
}

IoResult<std::string> FsStore::read_marker() {
  const auto file = env_.open(layout_.marker(), OpenMode::kRead, Direct::kOff);
  if (!file) return std::unexpected(file.error());
  const auto size = (*file)->size();
  if (!size) return std::unexpected(size.error());
  std::string text(std::min<std::uint64_t>(*size, 256), '\0');
  const MutableBytes piece = std::as_writable_bytes(std::span(text));
  const IoStatus status = read_pieces(env_, **file, std::span(&piece, 1), Deadline::never());
  if (status != IoStatus::kOk) return io_fail(status, "read " + layout_.marker());
  return text;
}

Result<void> FsStore::claim_root() {
  auto text = read_marker();
  if (text && *text == fs::kMarkerText) {
    // Whether files can be made here is better known now than at the first write.
    const std::string probe = layout_.temporaries() + "/" + writer_ + "-probe";
    const auto made = env_.open(probe, OpenMode::kCreate, Direct::kOff);
    if (made) (void)env_.remove(probe);
    if (!made && made.error().status == IoStatus::kDenied) return std::unexpected(config(made.error().message));
    return {};
  }
  if (text && text->starts_with("reprise blocks, version ")) {
    return fail(ErrorCode::kVersion, "fs: " + layout_.marker() + " was written by a newer version: " + *text);
  }
  // Nothing but zeroes is what a power loss may leave of it.
  if (text && text->find_first_not_of('\0') != std::string::npos) {
    return std::unexpected(config(layout_.marker() + " is not ours; choose another directory"));
  }
  if (!text && text.error().status != IoStatus::kNotFound) return std::unexpected(config(text.error().message));
  return make_marker();
}

Result<void> FsStore::make_marker() {
  if (const auto made = env_.make_directory(layout_.temporaries()); !made) {
    return std::unexpected(config(made.error().message));
  }
  // Like any file here: two that do this at once do no harm.
  const std::string temporary = layout_.temporaries() + "/" + writer_ + "-marker";
  const auto file = env_.open(temporary, OpenMode::kCreate, Direct::kOff);
  if (!file) return std::unexpected(config(file.error().message));
  const Bytes piece = std::as_bytes(std::span(fs::kMarkerText));
  const IoStatus status = write_pieces(env_, **file, std::span(&piece, 1), Deadline::never());
  if (status != IoStatus::kOk) {
    return std::unexpected(config("write " + temporary + ": " + std::string(to_string(status))));
  }
  if (const auto synced = (*file)->sync(); !synced) return std::unexpected(config(synced.error().message));
  if (const auto named = env_.rename(temporary, layout_.marker()); !named) {
    return std::unexpected(config(named.error().message));
  }
  return {};
}

std::uint64_t FsStore::seconds() const {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::seconds>(clock_().time_since_epoch()).count());
}

bool FsStore::expired(const FileInfo& info) const {
  return options_.ttl_seconds != 0 && clock_() - info.written >= std::chrono::seconds(options_.ttl_seconds);
}

bool FsStore::may_log() {
  const std::int64_t now = std::chrono::steady_clock::now().time_since_epoch().count();
  std::int64_t next = next_line_.load(std::memory_order_relaxed);
  const std::int64_t until = now + std::chrono::nanoseconds(kLogEvery).count();
  return now >= next && next_line_.compare_exchange_strong(next, until);
}

Reason FsStore::trouble(const IoError& error) {
  if (error.status == IoStatus::kTimeout) return Reason::kTimeout;
  errors_.fetch_add(1, std::memory_order_relaxed);
  if (may_log()) log::warn("fs: " + error.message + " (further errors are only counted)");
  return error.status == IoStatus::kNoSpace ? Reason::kFull : Reason::kUnavailable;
}

Result<void> FsStore::contains(std::span<const BlockId> ids, std::span<bool> present, Deadline deadline) {
  if (present.size() != ids.size()) return fail(ErrorCode::kInvalid, "contains: ids and present differ in length");
  std::mutex mutex;
  std::string failure;  // the first; guarded by mutex
  workers_->each(ids.size(), [&](std::size_t i) {
    present[i] = false;
    if (late(deadline)) return;
    const auto info = env_.info(layout_.file(ids[i]));
    if (info) {
      present[i] = info->bytes > kStoredBlockHeaderBytes && !expired(*info);
    } else if (info.error().status != IoStatus::kNotFound) {
      (void)trouble(info.error());
      const std::lock_guard lock(mutex);
      if (failure.empty()) failure = info.error().message;
    }
  });
  if (!failure.empty()) return fail(ErrorCode::kIo, "fs: " + failure);
  return {};
}

void FsStore::read(std::span<ReadOp> ops, Deadline deadline) {
  workers_->each(ops.size(), [&](std::size_t i) {
    ops[i].result = late(deadline) ? Reason::kTimeout : read_one(ops[i], deadline);
  });
}

Reason FsStore::read_one(ReadOp& op, Deadline deadline) {
  if (op.into.empty()) {
    foreign_.fetch_add(1, std::memory_order_relaxed);
    return Reason::kForeign;
  }
  const std::string path = layout_.file(op.id);
  const auto file = env_.open(path, OpenMode::kRead, Direct::kOff);
  if (!file) return file.error().status == IoStatus::kNotFound ? Reason::kMiss : trouble(file.error());
  std::array<std::byte, kStoredBlockHeaderBytes> header;
  const std::array<MutableBytes, 2> pieces{header, op.into};
  IoStatus status = read_pieces(env_, **file, pieces, deadline);
  const bool whole = status == IoStatus::kOk;
  // A file that ends early may be the block in another length, or have been cut: its header tells.
  if (status == IoStatus::kShort) status = read_pieces(env_, **file, std::span(pieces).first(1), deadline);
  if (status == IoStatus::kShort) return lose(op.id, path, 0, Reason::kCorrupt, "it is shorter than a header");
  if (status == IoStatus::kNotFound) return Reason::kMiss;  // Removed while it was open.
  if (status != IoStatus::kOk) return trouble({status, "read " + path + ": " + std::string(to_string(status))});
  const Reason result = settle(op, **file, path, header, whole);
  if (result != Reason::kNone) return result;
  mark_used(**file, op.id);
  hits_.fetch_add(1, std::memory_order_relaxed);
  read_bytes_.fetch_add(op.into.size(), std::memory_order_relaxed);
  return Reason::kNone;
}

Reason FsStore::settle(ReadOp& op, const File& file, const std::string& path, Bytes header, bool whole) {
  StoredBlock stored;
  const auto payload = [&] {
    const auto bytes = file.size();
    return bytes && *bytes > kStoredBlockHeaderBytes ? *bytes - kStoredBlockHeaderBytes : 0;
  };
  switch (judge_stored_block(header, op.id, op.into.size(), stored)) {
    case Verdict::kGood: break;
    case Verdict::kDamaged: return lose(op.id, path, payload(), Reason::kCorrupt, "its header is damaged");
    case Verdict::kWrongPlace: return lose(op.id, path, payload(), Reason::kForeign, "it holds another block");
    case Verdict::kOtherLength:
    case Verdict::kNewer: foreign_.fetch_add(1, std::memory_order_relaxed); return Reason::kForeign;
  }
  if (!whole) return lose(op.id, path, payload(), Reason::kCorrupt, "it was cut short");
  op.checksum = checksum(op.into);
  if (op.checksum != stored.checksum) {
    return lose(op.id, path, payload(), Reason::kCorrupt, "its bytes do not match their checksum");
  }
  if (!outlived(stored, seconds(), options_.ttl_seconds)) return Reason::kNone;
  if (env_.remove(path)) {
    census_->removed(op.id, static_cast<std::int64_t>(stored.length));
    expired_.fetch_add(1, std::memory_order_relaxed);
  }
  return Reason::kMiss;
}

Reason FsStore::lose(const BlockId& id, const std::string& path, std::uint64_t payload, Reason reason,
                     std::string_view why) {
  (reason == Reason::kForeign ? foreign_ : corrupt_).fetch_add(1, std::memory_order_relaxed);
  // Somebody may have put a good copy there meanwhile, which then goes too: the loss of a cached block.
  if (env_.remove(path)) census_->removed(id, static_cast<std::int64_t>(payload));
  if (may_log()) {
    log::warn("fs: dropped " + path + ": " + std::string(why) + " (further ones are only counted)");
  }
  return reason;
}

void FsStore::mark_used(File& file, const BlockId& id) {
  if (options_.capacity == 0) return;
  const std::uint64_t mark = (id.key.word(1) & ~std::uint64_t{0xffff}) | (seconds() / 60 & 0xffff);
  std::atomic<std::uint64_t>& last = marked_[id.key.word(0) % marked_.size()];
  if (last.load(std::memory_order_relaxed) == mark) return;
  last.store(mark, std::memory_order_relaxed);
  (void)file.mark_used();  // On a file of another user, say: the block then seems less used than it is.
}

void FsStore::write(std::span<WriteOp> ops, Deadline deadline) {
  std::atomic<std::uint64_t> blocks{0};
  std::atomic<std::uint64_t> bytes{0};
  workers_->each(ops.size(), [&](std::size_t i) {
    WriteOp& op = ops[i];
    if (op.payload.empty() || op.payload.size() > info_.max_block_bytes) {
      op.result = Reason::kUnsupported;
      return;
    }
    op.result = late(deadline) ? Reason::kTimeout : write_one(op, deadline);
    if (op.result != Reason::kNone) return;
    blocks.fetch_add(1, std::memory_order_relaxed);
    bytes.fetch_add(op.payload.size(), std::memory_order_relaxed);
  });
  if (blocks == 0) return;
  census_->tidy(blocks, bytes, clock_(), deadline);
  const auto now = static_cast<std::int64_t>(seconds());
  std::int64_t next = next_sweep_.load(std::memory_order_relaxed);
  if (now >= next && next_sweep_.compare_exchange_strong(next, now + kSweepEvery.count()) && !late(deadline)) sweep();
}

Reason FsStore::write_one(const WriteOp& op, Deadline deadline) {
  const std::uint64_t length = op.payload.size();
  if (options_.capacity != 0 && length > options_.capacity) return Reason::kFull;
  const std::string path = layout_.file(op.id);
  const auto there = env_.info(path);
  if (there && there->bytes == kStoredBlockHeaderBytes + length && !expired(*there)) return Reason::kNone;
  if (!there && there.error().status != IoStatus::kNotFound) return trouble(there.error());
  if (const auto put = put_file(op, path, deadline); !put) return trouble(put.error());
  std::int64_t grown = static_cast<std::int64_t>(length);
  if (there) grown -= static_cast<std::int64_t>(there->bytes) - static_cast<std::int64_t>(kStoredBlockHeaderBytes);
  census_->added(op.id, grown, there ? 0 : 1);
  writes_.fetch_add(1, std::memory_order_relaxed);
  write_bytes_.fetch_add(length, std::memory_order_relaxed);
  return Reason::kNone;
}

IoResult<void> FsStore::make_under_root(const std::string& path) {
  // Without this, blocks would go to the disk below the mount point of a file system that has gone.
  const auto marker = env_.info(layout_.marker());
  if (!marker && marker.error().status == IoStatus::kNotFound) {
    return std::unexpected(IoError{IoStatus::kFailed, layout_.marker() + " is gone: is the file system mounted?"});
  }
  if (!marker) return std::unexpected(marker.error());
  return env_.make_directory(path);
}

IoResult<void> FsStore::put_file(const WriteOp& op, const std::string& path, Deadline deadline) {
  const std::string temporary =
      layout_.temporaries() + "/" + writer_ + "-" + std::to_string(next_temporary_.fetch_add(1));
  auto done = fill(temporary, op, deadline);
  if (!done && done.error().status == IoStatus::kNotFound) {
    if (const auto made = make_under_root(layout_.temporaries()); !made) return made;
    done = fill(temporary, op, deadline);
  }
  if (done) done = env_.rename(temporary, path);
  if (!done && done.error().status == IoStatus::kNotFound) {
    done = make_under_root(layout_.directory(op.id));
    if (done) done = env_.rename(temporary, path);
  }
  if (!done) (void)env_.remove(temporary);
  return done;
}

IoResult<void> FsStore::fill(const std::string& path, const WriteOp& op, Deadline deadline) {
  const auto file = env_.open(path, OpenMode::kCreate, Direct::kOff);
  if (!file) return std::unexpected(file.error());
  std::array<std::byte, kStoredBlockHeaderBytes> header;
  encode_stored_block({op.id, op.payload.size(), op.checksum, seconds()}, header);
  const std::array<Bytes, 2> pieces{header, op.payload};
  const IoStatus status = write_pieces(env_, **file, pieces, deadline);
  if (status != IoStatus::kOk) return io_fail(status, "write " + path);
  return options_.sync ? (*file)->sync() : IoResult<void>();
}

void FsStore::sweep() {
  const auto names = env_.list(layout_.temporaries());
  if (!names) return;
  std::size_t swept = 0;
  for (const std::string& name : *names) {
    if (swept == kMaxSwept) return;
    const std::string path = layout_.temporaries() + "/" + name;
    const auto info = env_.info(path);
    if (!info || clock_() - info->written < kDeadWriter) continue;
    if (env_.remove(path)) ++swept;
  }
}

Result<std::size_t> FsStore::erase(std::span<const BlockId> ids, Deadline deadline) {
  std::mutex mutex;
  std::size_t erased = 0;  // guarded by mutex
  std::string failure;     // the first; guarded by mutex
  workers_->each(ids.size(), [&](std::size_t i) {
    if (late(deadline)) return;
    const std::string path = layout_.file(ids[i]);
    const auto info = env_.info(path);
    const auto gone = info ? env_.remove(path) : IoResult<void>(std::unexpected(info.error()));
    const std::lock_guard lock(mutex);
    if (gone) {
      ++erased;
      census_->removed(ids[i],
                       static_cast<std::int64_t>(info->bytes) - static_cast<std::int64_t>(kStoredBlockHeaderBytes));
    } else if (gone.error().status != IoStatus::kNotFound && failure.empty()) {
      failure = gone.error().message;
    }
  });
  if (failure.empty()) return erased;
  errors_.fetch_add(1, std::memory_order_relaxed);
  return fail(ErrorCode::kIo, "fs: " + failure);
}

Result<void> FsStore::flush(Deadline) {
  return {};
}

TierStats FsStore::stats() const {
  TierStats stats;
  stats.name = info_.name;
  stats.capacity_bytes = options_.capacity;
  stats.used_bytes = census_->used_bytes();
  stats.blocks = census_->blocks();
  stats.hits = hits_.load(std::memory_order_relaxed);
  stats.read_bytes = read_bytes_.load(std::memory_order_relaxed);
  stats.writes = writes_.load(std::memory_order_relaxed);
  stats.write_bytes = write_bytes_.load(std::memory_order_relaxed);
  stats.evictions = census_->evictions() + expired_.load(std::memory_order_relaxed);
  stats.corrupt = corrupt_.load(std::memory_order_relaxed);
  stats.foreign = foreign_.load(std::memory_order_relaxed);
  stats.errors = errors_.load(std::memory_order_relaxed);
  return stats;
}

}  // namespace reprise
