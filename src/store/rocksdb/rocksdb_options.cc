#include "store/rocksdb/rocksdb_options.h"

#include <array>
#include <chrono>

#include "base/size.h"
#include "base/url.h"

namespace reprise {
namespace {

std::unexpected<Error> wrong(const std::string& what) {
  return fail(ErrorCode::kConfig, "rocksdb: " + what);
}

struct Range {
  std::string_view name;
  std::uint64_t RocksdbOptions::* value;
  std::uint64_t least;
  std::uint64_t most;
  bool bytes;
};
constexpr std::array kRanges{
    Range{"write-buffer", &RocksdbOptions::write_buffer, 64 << 10, 16ULL << 30, true},
    Range{"target-file", &RocksdbOptions::target_file, 64 << 10, 16ULL << 30, true},
    Range{"max-write-buffers", &RocksdbOptions::max_write_buffers, 2, 64, false},
    Range{"max-wal", &RocksdbOptions::max_wal, 64 << 10, 1ULL << 40, true},
    Range{"background-jobs", &RocksdbOptions::background_jobs, 2, 256, false},
};

std::string text(std::uint64_t value, bool bytes) {
  return bytes ? format_size(value) : std::to_string(value);
}

}  // namespace

Result<RocksdbOptions> RocksdbOptions::parse(std::string_view text) {
  RocksdbOptions options;
  auto url = Url::parse(text);
  if (!url) return std::unexpected(url.error());
  options.path = url->path();
  const auto ttl = url->take_duration("ttl", std::chrono::seconds(options.ttl_seconds));
  if (!ttl) return std::unexpected(ttl.error());
  // Rounded up: "ttl=10ms" must not come out as "for ever".
  options.ttl_seconds = static_cast<std::uint64_t>(std::chrono::ceil<std::chrono::seconds>(*ttl).count());
  for (const Range& range : kRanges) {
    const auto value = url->take_size(range.name, options.*range.value);
    if (!value) return std::unexpected(value.error());
    options.*range.value = *value;
  }
  if (const auto done = url->finish(); !done) return std::unexpected(done.error());
  while (options.path.size() > 1 && options.path.ends_with('/')) options.path.pop_back();
  if (const auto ok = options.check(); !ok) return std::unexpected(ok.error());
  return options;
}

Result<void> RocksdbOptions::check() const {
  if (path.empty()) return wrong("the URL names no directory; expected rocksdb:/path");
  for (const Range& range : kRanges) {
    const std::uint64_t value = this->*range.value;
    if (value >= range.least && value <= range.most) continue;
    return wrong(std::string(range.name) + "=" + text(value, range.bytes) + ": must be from " +
                 text(range.least, range.bytes) + " to " + text(range.most, range.bytes));
  }
  return {};
}

}  // namespace reprise
