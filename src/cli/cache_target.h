// Which cache a command talks to, and whether anybody is there. Pure, except for opening.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/options.h"
#include "cli/services.h"

namespace reprise::cli {

/// Where `reprise serve` listens and the other commands look, unless told otherwise.
inline constexpr std::string_view kDefaultSocket = "/run/reprise/reprise.sock";

/// `flag`, or else REPRISE_CACHE of `environment`, or else the default socket.
[[nodiscard]] std::string choose_cache(const std::string& flag, const std::vector<std::string>& environment);

/// True for caches that live in this process.
[[nodiscard]] bool is_embedded(std::string_view url);

/// Fails with kConfig, naming the flag, when `url` is served by another process and a flag sets what only that process
/// can decide: its memory, policy and store. Values from files and variables are for others, and ignored.
[[nodiscard]] Result<void> check_flags_fit(std::string_view url, const ResolvedOptions& options);

/// True unless nothing has answered yet.
[[nodiscard]] bool has_answered(const CacheStats& stats);

/// Opens `url`. Fails with kIo when nobody answers there, saying what can be done.
[[nodiscard]] Result<std::unique_ptr<Cache>> open_answering(const Services& services, const std::string& url,
                                                            const CacheOptions& options);
/// check_flags_fit, then open_answering.
[[nodiscard]] Result<std::unique_ptr<Cache>> open_target(const Services& services, const std::string& url,
                                                         const ResolvedOptions& options);

}  // namespace reprise::cli
