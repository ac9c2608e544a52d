#include "client/open_attached.h"

#include <string>
#include <utility>

#include "client/connect.h"
#include "client/remote_cache.h"
#include "client/shared_cache.h"

namespace reprise {
namespace {

template <typename AnyCache>
Result<std::unique_ptr<Cache>> open_pool(std::string_view url, const CacheOptions& options,
                                         Result<LinkPool::Connect> connect) {
  if (!connect) return std::unexpected(connect.error());
  LinkPool::Options pool_options{
      .connections = options.attach_connections, .timeout = options.attach_timeout, .server = std::string(url)};
  auto pool = LinkPool::open(std::move(pool_options), std::move(*connect));
  if (!pool) return std::unexpected(Error{pool.error().code, std::string(url) + ": " + pool.error().message});
  return std::make_unique<AnyCache>(std::move(*pool));
}

}  // namespace

Result<std::unique_ptr<Cache>> open_shared(std::string_view url, const CacheOptions& options) {
  if (auto ok = check_attach_options(options); !ok) return std::unexpected(ok.error());
  return open_pool<SharedCache>(url, options, connect_shared(url, options));
}

Result<std::unique_ptr<Cache>> open_remote(std::string_view url, const CacheOptions& options) {
  if (auto ok = check_attach_options(options); !ok) return std::unexpected(ok.error());
  return open_pool<RemoteCache>(url, options, connect_remote(url, options));
}

}  // namespace reprise
