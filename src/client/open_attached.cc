#include "client/open_attached.h"

#include <string>
#include <utility>

#include "client/cache_store.h"
#include "client/connect.h"
#include "client/remote_cache.h"
#include "client/shared_cache.h"

namespace reprise {
namespace {

Result<std::shared_ptr<LinkPool>> open_pool(std::string_view url, const CacheOptions& options, bool shared) {
  if (auto ok = check_attach_options(options); !ok) return std::unexpected(ok.error());
  auto connect = shared ? connect_shared(url, options) : connect_remote(url, options);
  if (!connect) return std::unexpected(connect.error());
  LinkPool::Options pool_options{
      .connections = options.attach_connections, .timeout = options.attach_timeout, .server = std::string(url)};
  auto pool = LinkPool::open(std::move(pool_options), std::move(*connect));
  if (!pool) return std::unexpected(Error{pool.error().code, std::string(url) + ": " + pool.error().message});
  return pool;
}

std::unique_ptr<AttachedCache> cache_over(std::shared_ptr<LinkPool> pool, bool shared) {
  if (shared) return std::make_unique<SharedCache>(std::move(pool));
  return std::make_unique<RemoteCache>(std::move(pool));
}

Result<std::unique_ptr<Cache>> open_cache(std::string_view url, const CacheOptions& options, bool shared) {
  auto pool = open_pool(url, options, shared);
  if (!pool) return std::unexpected(pool.error());
  return cache_over(std::move(*pool), shared);
}

}  // namespace

Result<std::unique_ptr<Cache>> open_shared(std::string_view url, const CacheOptions& options) {
  return open_cache(url, options, true);
}

Result<std::unique_ptr<Cache>> open_remote(std::string_view url, const CacheOptions& options) {
  return open_cache(url, options, false);
}

Result<std::unique_ptr<Store>> open_cache_store(std::string_view url, const CacheOptions& options) {
  const std::string scheme(url.substr(0, url.find(':')));
  const bool shared = scheme == "unix";
  auto pool = open_pool(url, options, shared);
  if (!pool) return std::unexpected(pool.error());
  auto cache = cache_over(*pool, shared);
  return std::make_unique<CacheStore>(scheme, std::move(*pool), std::move(cache), shared);
}

}  // namespace reprise
