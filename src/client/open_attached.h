// Opens the caches of other processes: "unix:" and "tcp:" for reprise::open, and for l2.url behind a cache of one's
// own.
#pragma once

#include <memory>
#include <string_view>

#include "reprise/cache.h"

namespace reprise {

/// For URLs that begin with "unix:". Waits for the first connection for at most attach.timeout. Fails with kConfig,
/// kDenied or kVersion when the configuration cannot work; a server that is merely away is no error.
[[nodiscard]] Result<std::unique_ptr<Cache>> open_shared(std::string_view url, const CacheOptions& options);
/// The same for URLs that begin with "tcp:".
[[nodiscard]] Result<std::unique_ptr<Cache>> open_remote(std::string_view url, const CacheOptions& options);
/// Either, to be the L2 of a cache in this process. Fails alike.
[[nodiscard]] Result<std::unique_ptr<Store>> open_cache_store(std::string_view url, const CacheOptions& options);

}  // namespace reprise
