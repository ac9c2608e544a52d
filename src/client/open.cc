// reprise::open: turns a URL and options into a cache.

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "client/open_attached.h"
#include "engine/make_engine.h"
#include "reprise/cache.h"

namespace reprise {
namespace {

Result<std::unique_ptr<Cache>> open_embedded(const CacheOptions& options, const Extensions& extensions) {
  StoreRegistry stores = extensions.stores != nullptr ? *extensions.stores : StoreRegistry::with_builtins();
  for (const char* scheme : {"unix", "tcp"}) {
    // Where the caller has one of that name, it is that one that counts.
    static_cast<void>(stores.add(scheme, [&options](std::string_view url) { return open_cache_store(url, options); }));
  }
  auto engine = make_engine(
      options, extensions.policies != nullptr ? *extensions.policies : PolicyRegistry::with_builtins(), stores);
  if (!engine) return std::unexpected(engine.error());
  return std::unique_ptr<Cache>(std::move(*engine));
}

}  // namespace

Result<std::unique_ptr<Cache>> open(std::string_view url, const CacheOptions& options, const Extensions& extensions) {
  const std::string_view scheme = url.substr(0, url.find(':'));
  if (url.empty() || url == "embedded:") return open_embedded(options, extensions);
  if (scheme == "embedded") {
    return fail(ErrorCode::kConfig, "'" + std::string(url) + "': nothing may follow 'embedded:'; use the options");
  }
  if (scheme == "unix") return open_shared(url, options);
  if (scheme == "tcp") return open_remote(url, options);
  return fail(ErrorCode::kConfig, "cannot open '" + std::string(url) +
                                      "': this build knows 'embedded:', 'unix:///path' and 'tcp://host:port'");
}

}  // namespace reprise
