// Every built-in store under the contract of all stores.
#include <gtest/gtest.h>

#include "base/env.h"
#include "store/disk/disk_store.h"
#include "store/fs/fs_store.h"
#include "store/mock/mock_store.h"
#include "store/rocksdb/rocksdb_store.h"
#include "testing/faulty_store.h"
#include "testing/memory_env.h"
#include "testing/store_contract.h"
#include "testing/temp_dir.h"

namespace reprise::testing {
namespace {

// A directory that lasts as long as the test.
StoreForm disk(const std::string& name, const std::string& options) {
  return {name, [options](std::shared_ptr<void>& home) -> std::unique_ptr<Store> {
            if (home == nullptr) home = std::make_shared<TempDir>();
            const std::string path = static_cast<TempDir*>(home.get())->path();
            auto store = DiskStore::open("disk:" + path + "/d?capacity=64MiB&segment=2MiB&" + options);
            EXPECT_TRUE(store) << store.error().message;
            return store ? std::move(*store) : nullptr;
          }};
}

StoreForm fs(const std::string& name, const std::string& options) {
  return {name, [options](std::shared_ptr<void>& home) -> std::unique_ptr<Store> {
            if (home == nullptr) home = std::make_shared<TempDir>();
            auto store = FsStore::open("fs:" + static_cast<TempDir*>(home.get())->path() + "/d?" + options);
            EXPECT_TRUE(store) << store.error().message;
            return store ? std::move(*store) : nullptr;
          }};
}

StoreForm rocksdb(const std::string& name, const std::string& options) {
  return {name, [options](std::shared_ptr<void>& home) -> std::unique_ptr<Store> {
            if (home == nullptr) home = std::make_shared<TempDir>();
            auto store = RocksdbStore::open("rocksdb:" + static_cast<TempDir*>(home.get())->path() + "/d?" + options);
            EXPECT_TRUE(store) << store.error().message;
            return store ? std::move(*store) : nullptr;
          }};
}

std::unique_ptr<Store> fs_in_memory(std::shared_ptr<void>& home, const FsOptions& options) {
  if (home == nullptr) home = std::make_shared<MemoryEnv>();
  auto& env = *static_cast<MemoryEnv*>(home.get());
  auto store = FsStore::open(options, env, [&env] { return env.time(); });
  EXPECT_TRUE(store) << store.error().message;
  return store ? std::move(*store) : nullptr;
}

std::vector<StoreForm> forms() {
  std::vector<StoreForm> all{
      {"Mock", [](std::shared_ptr<void>&) { return std::make_unique<MockStore>(); }},
      {"FaultFree",
       [](std::shared_ptr<void>&) {
         return std::make_unique<FaultyStore>(std::make_unique<MockStore>(), std::make_shared<StoreFaults>());
       }},
      disk("DiskPlain", "io=plain&direct=off"),
      disk("DiskPlainDirect", "io=plain&direct=auto"),
      fs("Fs", "threads=4"),
      rocksdb("Rocksdb", "background-jobs=2"),
      rocksdb("RocksdbSmallBuffers", "background-jobs=2&write-buffer=256KiB&target-file=256KiB&max-wal=1MiB"),
      {"FsMemory", [](std::shared_ptr<void>& home) { return fs_in_memory(home, {.path = "/d", .threads = 2}); }},
      {.name = "FsMemoryBounded",
       .make =
           [](std::shared_ptr<void>& home) {
             return fs_in_memory(home, {.path = "/d", .ttl_seconds = 3600, .capacity = 1 << 30, .threads = 0});
           },
       .counts_roughly = true},
      {"DiskMemory",
       [](std::shared_ptr<void>& home) -> std::unique_ptr<Store> {
         if (home == nullptr) home = std::make_shared<MemoryEnv>();
         auto store = DiskStore::open({.path = "/d", .capacity = 64 << 20, .segment = 2 << 20},
                                      *static_cast<MemoryEnv*>(home.get()));
         EXPECT_TRUE(store) << store.error().message;
         return store ? std::move(*store) : nullptr;
       }},
  };
  if (make_env(IoForm::kUring)) {
    all.push_back(disk("DiskUring", "io=uring&direct=off"));
    all.push_back(disk("DiskUringDirect", "io=uring&direct=auto"));
  }
  return all;
}
INSTANTIATE_TEST_SUITE_P(All, StoreContract, ::testing::ValuesIn(forms()), store_form_name);

}  // namespace
}  // namespace reprise::testing
