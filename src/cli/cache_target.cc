#include "cli/cache_target.h"

#include <utility>

namespace reprise::cli {

std::string choose_cache(const std::string& flag, const std::vector<std::string>& environment) {
  static constexpr std::string_view kName = "REPRISE_CACHE=";
  if (!flag.empty()) return flag;
  for (const std::string& line : environment) {
    if (line.starts_with(kName) && line.size() > kName.size()) return line.substr(kName.size());
  }
  return "unix://" + std::string(kDefaultSocket);
}

bool is_embedded(std::string_view url) {
  return url.empty() || url.starts_with("embedded:");
}

Result<void> check_flags_fit(std::string_view url, const ResolvedOptions& options) {
  if (is_embedded(url)) return {};
  for (const ResolvedOption& option : options.options) {
    if (option.source != OptionSource::kFlag || option.spec->of_server() || option.spec->name.starts_with("attach.")) {
      continue;
    }
    return fail(ErrorCode::kConfig, option.where + " belongs to the server behind '" + std::string(url) +
                                        "': give it to 'reprise serve', or use --cache embedded:");
  }
  return {};
}

bool has_answered(const CacheStats& stats) {
  return !stats.l1.name.empty() || !stats.l2.name.empty() || stats.l1.capacity_bytes > 0;
}

Result<std::unique_ptr<Cache>> open_answering(const Services& services, const std::string& url,
                                              const CacheOptions& options) {
  auto cache = services.open(url, options);
  if (!cache || has_answered((*cache)->stats())) return cache;
  return fail(ErrorCode::kIo, "nothing answers at '" + url +
                                  "': start a server there with 'reprise serve', or name another cache with --cache or "
                                  "REPRISE_CACHE");
}

Result<std::unique_ptr<Cache>> open_target(const Services& services, const std::string& url,
                                           const ResolvedOptions& options) {
  if (auto fit = check_flags_fit(url, options); !fit) return std::unexpected(fit.error());
  return open_answering(services, url, options.cache);
}

}  // namespace reprise::cli
