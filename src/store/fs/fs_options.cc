#include "store/fs/fs_options.h"

#include <array>
#include <chrono>

#include "base/size.h"
#include "base/url.h"

namespace reprise {
namespace {

constexpr std::array<std::string_view, 2> kSwitch{"off", "on"};
constexpr std::uint64_t kMaxThreads = 256;
constexpr std::uint64_t kMinCapacity = 1 << 20;

std::unexpected<Error> wrong(const std::string& what) {
  return fail(ErrorCode::kConfig, "fs: " + what);
}

}  // namespace

Result<FsOptions> FsOptions::parse(std::string_view text) {
  FsOptions options;
  auto url = Url::parse(text);
  if (!url) return std::unexpected(url.error());
  options.path = url->path();
  const auto ttl = url->take_duration("ttl", Duration(0));
  if (!ttl) return std::unexpected(ttl.error());
  const auto capacity = url->take_size("capacity", options.capacity);
  if (!capacity) return std::unexpected(capacity.error());
  const auto sync = url->take_choice("sync", kSwitch, 0);
  if (!sync) return std::unexpected(sync.error());
  const auto threads = url->take_size("threads", options.threads);
  if (!threads) return std::unexpected(threads.error());
  if (const auto done = url->finish(); !done) return std::unexpected(done.error());
  // Rounded up: "ttl=10ms" must not come out as "for ever".
  options.ttl_seconds = static_cast<std::uint64_t>(std::chrono::ceil<std::chrono::seconds>(*ttl).count());
  options.capacity = *capacity;
  options.sync = *sync == 1;
  options.threads = *threads;
  while (options.path.size() > 1 && options.path.ends_with('/')) options.path.pop_back();
  if (const auto ok = options.check(); !ok) return std::unexpected(ok.error());
  return options;
}

Result<void> FsOptions::check() const {
  if (path.empty()) return wrong("the URL names no directory; expected fs:/path");
  if (threads > kMaxThreads) {
    return wrong("threads=" + std::to_string(threads) + ": at most " + std::to_string(kMaxThreads));
  }
  if (capacity != 0 && capacity < kMinCapacity) {
    return wrong("capacity=" + format_size(capacity) + ": 0 for no bound, or at least " + format_size(kMinCapacity));
  }
  return {};
}

}  // namespace reprise
