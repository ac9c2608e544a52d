#include <string>
#include <utility>

#include "reprise/store.h"
#include "store/disk/disk_store.h"
#include "store/fs/fs_store.h"
#include "store/mock/mock_store.h"
#include "store/rocksdb/rocksdb_store.h"

namespace reprise {

StoreRegistry StoreRegistry::with_builtins() {
  StoreRegistry registry;
  registry.factories_.emplace("disk", [](std::string_view url) { return DiskStore::open(url); });
  registry.factories_.emplace("fs", [](std::string_view url) { return FsStore::open(url); });
  registry.factories_.emplace("mock", MockStore::open);
  registry.factories_.emplace("rocksdb", [](std::string_view url) { return RocksdbStore::open(url); });
  return registry;
}

Result<void> StoreRegistry::add(std::string scheme, Factory factory) {
  if (scheme.empty() || !factory) return fail(ErrorCode::kInvalid, "a store needs a scheme and a factory");
  if (factories_.contains(scheme)) return fail(ErrorCode::kInvalid, "store scheme \"" + scheme + "\" is taken");
  factories_.emplace(std::move(scheme), std::move(factory));
  return {};
}

Result<std::unique_ptr<Store>> StoreRegistry::make(std::string_view url) const {
  const std::string_view scheme = url.substr(0, url.find(':'));
  const auto found = factories_.find(scheme);
  if (found != factories_.end() && scheme.size() < url.size()) return found->second(url);
  std::string all;
  for (const auto& [name, factory] : factories_) all += (all.empty() ? "" : ", ") + name + ":";
  return fail(ErrorCode::kConfig, "no store for \"" + std::string(url) + "\"; there are: " + all);
}

std::vector<std::string> StoreRegistry::schemes() const {
  std::vector<std::string> names;
  for (const auto& [name, factory] : factories_) names.push_back(name);
  return names;
}

}  // namespace reprise
