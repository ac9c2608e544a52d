#include <utility>

#include "eviction/policies.h"
#include "reprise/eviction.h"

namespace reprise {

PolicyRegistry PolicyRegistry::with_builtins() {
  PolicyRegistry registry;
  registry.factories_.emplace("lru", eviction::make_lru);
  registry.factories_.emplace("fifo", eviction::make_fifo);
  registry.factories_.emplace("s3fifo", eviction::make_s3fifo);
  registry.factories_.emplace("adaptive", eviction::make_adaptive);
  return registry;
}

Result<void> PolicyRegistry::add(std::string name, Factory factory) {
  if (name.empty() || !factory) return fail(ErrorCode::kInvalid, "an eviction policy needs a name and a factory");
  const auto [it, added] = factories_.emplace(std::move(name), std::move(factory));
  if (!added) return fail(ErrorCode::kInvalid, "there already is an eviction policy named '" + it->first + "'");
  return {};
}

Result<std::unique_ptr<EvictionPolicy>> PolicyRegistry::make(std::string_view name, const PolicyConfig& config) const {
  const auto it = factories_.find(name);
  if (it == factories_.end()) {
    std::string message = "unknown eviction policy '" + std::string(name) + "'; there are:";
    for (const auto& known : factories_) message += " " + known.first;
    return fail(ErrorCode::kConfig, std::move(message));
  }
  std::unique_ptr<EvictionPolicy> policy = it->second(config);
  if (policy == nullptr) return fail(ErrorCode::kConfig, "the eviction policy '" + it->first + "' refused to be made");
  return policy;
}

std::vector<std::string> PolicyRegistry::names() const {
  std::vector<std::string> names;
  for (const auto& known : factories_) names.push_back(known.first);
  return names;
}

}  // namespace reprise
