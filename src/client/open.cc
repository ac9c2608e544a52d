// reprise::open: turns a URL and options into a cache. The only place where policies, stores and the engine meet.

#include <exception>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.h"
#include "engine/engine.h"
#include "reprise/cache.h"

namespace reprise {
namespace {

// Stateless, so leases may read it after their cache was closed.
constinit const SteadyClock kClock;

Result<std::unique_ptr<Cache>> open_embedded(const CacheOptions& options, const Extensions& extensions) {
  if (auto ok = check_options(options); !ok) return std::unexpected(ok.error());
  PolicyConfig config;
  config.horizon_blocks = options.policy_horizon_blocks;
  config.salt = options.policy_salt != 0 ? options.policy_salt : std::random_device{}();
  const PolicyRegistry policies =
      extensions.policies != nullptr ? *extensions.policies : PolicyRegistry::with_builtins();
  auto policy = policies.make(options.l1_policy, config);
  if (!policy) return std::unexpected(Error{policy.error().code, "l1.policy: " + policy.error().message});
  std::unique_ptr<Store> store;
  if (!options.l2_url.empty()) {
    const StoreRegistry stores = extensions.stores != nullptr ? *extensions.stores : StoreRegistry::with_builtins();
    auto made = stores.make(options.l2_url);
    if (!made) return std::unexpected(Error{made.error().code, "l2.url: " + made.error().message});
    if (*made == nullptr) return fail(ErrorCode::kConfig, "l2.url: no store was made for '" + options.l2_url + "'");
    store = std::move(*made);
  }
  auto engine = Engine::create(options, std::move(*policy), std::move(store), kClock);
  if (!engine) return std::unexpected(engine.error());
  return std::unique_ptr<Cache>(std::move(*engine));
}

// Factories are somebody else's code, and threads may be refused: an exception ends here.
Result<std::unique_ptr<Cache>> guarded_open(const CacheOptions& options, const Extensions& extensions) {
  try {
    return open_embedded(options, extensions);
  } catch (const std::exception& error) {
    return fail(ErrorCode::kInternal, std::string("the cache could not be opened: ") + error.what());
  } catch (...) {
    return fail(ErrorCode::kInternal, "the cache could not be opened: a policy's or store's factory threw");
  }
}

}  // namespace

Result<std::unique_ptr<Cache>> open(std::string_view url, const CacheOptions& options, const Extensions& extensions) {
  const std::string_view scheme = url.substr(0, url.find(':'));
  if (url.empty() || url == "embedded:") return guarded_open(options, extensions);
  if (scheme == "embedded") {
    return fail(ErrorCode::kConfig, "'" + std::string(url) + "': nothing may follow 'embedded:'; use the options");
  }
  return fail(ErrorCode::kConfig, "cannot open '" + std::string(url) + "': this build knows 'embedded:'");
}

}  // namespace reprise
