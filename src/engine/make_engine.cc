#include "engine/make_engine.h"

#include <exception>
#include <random>
#include <string>
#include <utility>

#include "base/clock.h"

namespace reprise {
namespace {

// Stateless, so leases may read it after their cache was closed.
constinit const SteadyClock kClock;

Result<std::unique_ptr<Engine>> assemble(const CacheOptions& options, const PolicyRegistry& policies,
                                         const StoreRegistry& stores, EngineExtras extras) {
  if (auto ok = check_options(options); !ok) return std::unexpected(ok.error());
  PolicyConfig config;
  config.horizon_blocks = options.policy_horizon_blocks;
  config.salt = options.policy_salt != 0 ? options.policy_salt : std::random_device{}();
  auto policy = policies.make(options.l1_policy, config);
  if (!policy) return std::unexpected(Error{policy.error().code, "l1.policy: " + policy.error().message});
  std::unique_ptr<Store> store;
  if (!options.l2_url.empty()) {
    auto made = stores.make(options.l2_url);
    if (!made) return std::unexpected(Error{made.error().code, "l2.url: " + made.error().message});
    if (*made == nullptr) return fail(ErrorCode::kConfig, "l2.url: no store was made for '" + options.l2_url + "'");
    store = std::move(*made);
  }
  return Engine::create(options, std::move(*policy), std::move(store), kClock, extras);
}

}  // namespace

Result<std::unique_ptr<Engine>> make_engine(const CacheOptions& options, const PolicyRegistry& policies,
                                            const StoreRegistry& stores, EngineExtras extras) {
  // Factories are somebody else's code, and threads may be refused: an exception ends here.
  try {
    return assemble(options, policies, stores, extras);
  } catch (const std::exception& error) {
    return fail(ErrorCode::kInternal, std::string("the cache could not be opened: ") + error.what());
  } catch (...) {
    return fail(ErrorCode::kInternal, "the cache could not be opened: a policy's or store's factory threw");
  }
}

}  // namespace reprise
