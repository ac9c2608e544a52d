// What a directory of blocks does beyond the contract of all stores: several writers, ages, what is left alone.
#include "store/fs/fs_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "testing/blocks.h"
#include "testing/memory_env.h"
#include "testing/temp_dir.h"

namespace reprise {
namespace {

using namespace reprise::testing;  // NOLINT(google-build-using-namespace)
using ::testing::HasSubstr;

constexpr std::size_t kBlock = 8 << 10;

std::unique_ptr<FsStore> open_or_die(MemoryEnv& env, FsOptions options = {}) {
  options.path = "/d";
  options.threads = 2;
  auto store = FsStore::open(options, env, [&env] { return env.time(); });
  EXPECT_TRUE(store) << store.error().message;
  return store ? std::move(*store) : nullptr;
}
std::string file_of(std::uint64_t n) {
  return fs::Layout("/d").file(block_id(n));
}

TEST(FsOptionsTest, ErrorsNameTheOption) {
  const auto message = [](const std::string& url) {
    const auto store = FsStore::open(url);
    EXPECT_FALSE(store.has_value()) << url;
    if (store) return std::string();
    EXPECT_EQ(store.error().code, ErrorCode::kConfig);
    return store.error().message;
  };
  TempDir temp;
  const std::string at = "fs:" + temp.path();
  EXPECT_THAT(message("fs:"), HasSubstr("fs:/path"));
  EXPECT_THAT(message(at + "?capacity=1KiB"), HasSubstr("capacity=1KiB"));
  EXPECT_THAT(message(at + "?threads=1000"), HasSubstr("threads=1000"));
  EXPECT_THAT(message(at + "?sync=maybe"), HasSubstr("sync=maybe: expected one of off, on"));
  EXPECT_THAT(message(at + "?ttl=soon"), HasSubstr("ttl=soon"));
  EXPECT_THAT(message(at + "?segment=1MiB"), HasSubstr("segment"));
  EXPECT_THAT(message("fs:/proc/nowhere"), HasSubstr("/proc/nowhere"));
  const auto options = FsOptions::parse("fs:/x//?ttl=10ms&capacity=1GiB&sync=on&threads=3");
  ASSERT_TRUE(options);
  EXPECT_EQ(options->path, "/x");
  EXPECT_EQ(options->ttl_seconds, 1u) << "never rounded down to for ever";
  EXPECT_EQ(options->capacity, 1u << 30);
  EXPECT_TRUE(options->sync);
  EXPECT_EQ(options->threads, 3u);
}

TEST(FsStoreTest, FilesAreWhereTheFormatSays) {
  MemoryEnv env;
  const auto store = open_or_die(env);
  ASSERT_EQ(put_numbered(*store, 1, kBlock), Reason::kNone);
  const std::string ns = block_id(1).ns.hex();
  const std::string key = block_id(1).key.hex();
  const std::string path = "/d/" + ns + "/" + key.substr(0, 2) + "/" + key.substr(2, 2) + "/" + key;
  ASSERT_NE(env.raw(path), nullptr);
  EXPECT_EQ(env.raw(path)->size(), kStoredBlockHeaderBytes + kBlock);
  EXPECT_TRUE(env.list("/d/tmp")->empty()) << "no temporary is left";
}

TEST(FsStoreTest, ADirectoryOfSomethingElseIsRefusedAndANewerOneToo) {
  MemoryEnv env;
  open_or_die(env);
  std::vector<std::byte>& marker = *env.raw("/d/REPRISE");
  marker[marker.size() - 2] = std::byte{'2'};
  auto store = FsStore::open({.path = "/d"}, env);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, ErrorCode::kVersion);
  EXPECT_THAT(store.error().message, HasSubstr("/d/REPRISE"));
  std::ranges::fill(marker, std::byte{0});
  EXPECT_TRUE(FsStore::open({.path = "/d"}, env)) << "as after a power loss";
  env.raw("/d/REPRISE")->front() = std::byte{'x'};
  store = FsStore::open({.path = "/d"}, env);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, ErrorCode::kConfig);
}

TEST(FsStoreTest, WhatOneWritesTheOtherFinds) {
  MemoryEnv env;
  const auto one = open_or_die(env);
  const auto two = open_or_die(env);
  for (std::uint64_t n = 0; n < 20; ++n) ASSERT_EQ(put_numbered(n % 2 == 0 ? *one : *two, n, kBlock), Reason::kNone);
  for (std::uint64_t n = 0; n < 20; ++n) {
    EXPECT_TRUE(has_block(*one, n, kBlock)) << n;
    EXPECT_TRUE(has_block(*two, n, kBlock)) << n;
  }
  const BlockId gone = block_id(3);
  EXPECT_EQ(*one->erase(std::span(&gone, 1), Deadline::never()), 1u);
  EXPECT_FALSE(has_block(*two, 3, kBlock));
}

// Two processes write the same blocks, read them and drop them, all at once.
TEST(FsStoreTest, ProcessesShareADirectory) {
  TempDir temp;
  const std::string url = "fs:" + temp.path() + "/shared?threads=2";
  const auto use = [&url] {
    const auto store = FsStore::open(url);
    if (!store) return 1;
    for (std::uint64_t round = 0; round < 4; ++round) {
      for (std::uint64_t n = 0; n < 12; ++n) {
        if (put_numbered(**store, n, kBlock) != Reason::kNone) return 2;
        const AlignedBuffer memory(kBlock);
        const Reason reason = get_block(**store, block_id(n), memory, kBlock);
        if (reason != Reason::kNone && reason != Reason::kMiss) return 3;
        if (reason == Reason::kNone && !std::ranges::equal(memory.span(), block_payload(n, kBlock).span())) return 4;
        const BlockId id = block_id((n + round) % 12);
        if (n % 3 == 0 && !(*store)->erase(std::span(&id, 1), Deadline::never())) return 5;
      }
    }
    for (std::uint64_t n = 100; n < 105; ++n) {
      if (put_numbered(**store, n, kBlock) != Reason::kNone) return 6;
    }
    return (*store)->stats().corrupt + (*store)->stats().foreign + (*store)->stats().errors == 0 ? 0 : 7;
  };
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) ::_exit(use());
  EXPECT_EQ(use(), 0);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  const auto store = FsStore::open(url);
  ASSERT_TRUE(store);
  for (std::uint64_t n = 100; n < 105; ++n) EXPECT_TRUE(has_block(**store, n, kBlock)) << n;
  EXPECT_TRUE(std::filesystem::is_empty(temp.path() + "/shared/tmp"));
}

TEST(FsStoreTest, SyncWritesToo) {
  TempDir temp;
  const auto store = FsStore::open("fs:" + temp.path() + "?sync=on&threads=0");
  ASSERT_TRUE(store) << store.error().message;
  ASSERT_EQ(put_numbered(**store, 1, kBlock), Reason::kNone);
  EXPECT_TRUE(has_block(**store, 1, kBlock));
}

TEST(FsStoreTest, BlocksGrowOldAndGo) {
  MemoryEnv env;
  const auto store = open_or_die(env, {.path = "/d", .ttl_seconds = 60});
  const WallTime start = env.time();
  ASSERT_EQ(put_numbered(*store, 1, kBlock), Reason::kNone);
  env.set_time(start + std::chrono::seconds(59));
  ASSERT_EQ(put_numbered(*store, 2, kBlock), Reason::kNone);
  EXPECT_TRUE(has_block(*store, 1, kBlock)) << "and reading it does not make it younger";
  env.set_time(start + std::chrono::seconds(60));
  const BlockId id = block_id(1);
  bool present = true;
  ASSERT_TRUE(store->contains(std::span(&id, 1), std::span(&present, 1), Deadline::never()));
  EXPECT_FALSE(present);
  const AlignedBuffer memory(kBlock);
  EXPECT_EQ(get_block(*store, id, memory, kBlock), Reason::kMiss);
  EXPECT_EQ(env.raw(file_of(1)), nullptr) << "its file is gone";
  EXPECT_EQ(store->stats().evictions, 1u);
  EXPECT_TRUE(has_block(*store, 2, kBlock));
  ASSERT_EQ(put_numbered(*store, 1, kBlock), Reason::kNone);
  EXPECT_TRUE(has_block(*store, 1, kBlock));
}

TEST(FsStoreTest, AnOldCopyIsWrittenAgain) {
  MemoryEnv env;
  const auto store = open_or_die(env, {.path = "/d", .ttl_seconds = 60});
  ASSERT_EQ(put_numbered(*store, 1, kBlock), Reason::kNone);
  env.set_time(env.time() + std::chrono::seconds(100));
  ASSERT_EQ(put_numbered(*store, 1, kBlock), Reason::kNone);
  EXPECT_TRUE(has_block(*store, 1, kBlock));
  EXPECT_EQ(store->stats().writes, 2u);
  EXPECT_EQ(store->stats().blocks, 1u);
}

TEST(FsStoreTest, TemporariesOfTheDeadGoAndThoseOfTheLivingStay) {
  MemoryEnv env;
  auto store = open_or_die(env);
  ASSERT_TRUE(env.open("/d/tmp/other-1-2-3", OpenMode::kCreate, Direct::kOff));
  store = open_or_die(env);
  EXPECT_NE(env.raw("/d/tmp/other-1-2-3"), nullptr);
  env.set_time(env.time() + std::chrono::minutes(61));
  ASSERT_TRUE(env.open("/d/tmp/living-1-2-3", OpenMode::kCreate, Direct::kOff));
  ASSERT_EQ(put_numbered(*store, 1, kBlock), Reason::kNone) << "a writer sweeps, now and then";
  EXPECT_EQ(env.raw("/d/tmp/other-1-2-3"), nullptr);
  EXPECT_NE(env.raw("/d/tmp/living-1-2-3"), nullptr);
}

TEST(FsStoreTest, AMissingRootIsMadeAtOpenButNotBehindOnesBack) {
  TempDir temp;
  const std::string root = temp.path() + "/a/b/c";
  const auto store = FsStore::open("fs:" + root + "?threads=0");
  ASSERT_TRUE(store) << store.error().message;
  ASSERT_EQ(put_numbered(**store, 1, kBlock), Reason::kNone);
  // As when the file system is unmounted: what is left is an empty directory.
  std::filesystem::remove_all(root);
  std::filesystem::create_directory(root);
  const AlignedBuffer memory(kBlock);
  EXPECT_EQ(get_block(**store, block_id(1), memory, kBlock), Reason::kMiss);
  EXPECT_EQ(put_numbered(**store, 2, kBlock), Reason::kUnavailable);
  EXPECT_TRUE(std::filesystem::is_empty(root)) << "nothing is written to what lies below the mount point";
  EXPECT_GT((*store)->stats().errors, 0u);
}

// In a process of its own, which gives up root's right to read everything.
TEST(FsStoreTest, ADirectoryThatMayNotBeReadIsUnavailable) {
  TempDir temp;
  const auto store = FsStore::open("fs:" + temp.path() + "?threads=0");
  ASSERT_TRUE(store);
  ASSERT_EQ(put_numbered(**store, 1, kBlock), Reason::kNone);
  ASSERT_EQ(::chmod(fs::Layout(temp.path()).directory(block_id(1)).c_str(), 0), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (::geteuid() == 0 && ::setuid(65534) != 0) ::_exit(0);
    const AlignedBuffer memory(kBlock);
    const BlockId id = block_id(1);
    bool present = true;
    if (get_block(**store, id, memory, kBlock) != Reason::kUnavailable) ::_exit(1);
    const auto found = (*store)->contains(std::span(&id, 1), std::span(&present, 1), Deadline::never());
    if (found || found.error().code != ErrorCode::kIo || present) ::_exit(2);
    if (put_numbered(**store, 1, kBlock) != Reason::kUnavailable) ::_exit(3);
    ::_exit((*store)->stats().errors == 3 ? 0 : 4);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  ASSERT_EQ(::chmod(fs::Layout(temp.path()).directory(block_id(1)).c_str(), 0700), 0);
  EXPECT_TRUE(has_block(**store, 1, kBlock)) << "and nothing was dropped";
}

TEST(FsStoreTest, ThingsInTheWayAreNotBlocks) {
  TempDir temp;
  const auto store = FsStore::open("fs:" + temp.path() + "?threads=0");
  // A directory where the file should be, and a file where the directory should be.
  std::filesystem::create_directories(fs::Layout(temp.path()).file(block_id(1)));
  std::filesystem::create_directories(temp.path() + "/" + block_id(2, 9).ns.hex());
  std::ofstream(temp.path() + "/" + block_id(2, 9).ns.hex() + "/" + block_id(2, 9).key.hex().substr(0, 2)) << "x";
  const AlignedBuffer memory(kBlock);
  EXPECT_EQ(get_block(**store, block_id(1), memory, kBlock), Reason::kUnavailable);
  EXPECT_EQ(put_numbered(**store, 1, kBlock), Reason::kUnavailable);
  EXPECT_EQ(get_block(**store, block_id(2, 9), memory, kBlock), Reason::kMiss);
  EXPECT_EQ(put_numbered(**store, 2, kBlock, 9), Reason::kUnavailable);
  EXPECT_TRUE(std::filesystem::is_empty(temp.path() + "/tmp"));
}

}  // namespace
}  // namespace reprise
