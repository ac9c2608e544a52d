#include "cli/check_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "testing/fake_cache.h"

namespace reprise::cli {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::Not;
using Level = Finding::Level;

auto finding(Level level, const std::string& subject, const std::string& text) {
  return Contains(
      AllOf(Field(&Finding::level, level), Field(&Finding::subject, subject), Field(&Finding::text, HasSubstr(text))));
}
auto any_bad() {
  return Contains(Field(&Finding::level, Level::kBad));
}

class Check : public ::testing::Test {
 protected:
  Check() {
    services_.policy_names = {"adaptive", "lru"};
    services_.store_schemes = {"disk", "fs", "mock", "rocksdb"};
    machine_.memory_bytes = 16ULL << 30;
    machine_.available_bytes = 10ULL << 30;
    machine_.io_uring = true;
    machine_.huge_pages = "madvise";
    machine_.shared_huge_pages = "never";
    machine_.memlock_bytes = UINT64_MAX;
    disk_ = {.existing = "/data", .is_directory = true, .writable = true, .free_bytes = 50ULL << 30};
  }
  [[nodiscard]] std::vector<Finding> run() const {
    return judge(options_, machine_, [this](const std::string&) { return disk_; }, services_);
  }

  CacheOptions options_;
  MachineFacts machine_;
  DiskFacts disk_;
  Services services_;
};

TEST_F(Check, TheDefaultsAreSound) {
  EXPECT_THAT(run(), Not(any_bad()));
  EXPECT_THAT(run(), finding(Level::kFine, "l1.capacity", "1GiB"));
}

TEST_F(Check, MemoryMustHoldCapacityAndQueue) {
  options_.l1_capacity = 11ULL << 30;
  EXPECT_THAT(run(), finding(Level::kBad, "l1.capacity", "11GiB"));
  options_.l1_capacity = 9ULL << 30;
  EXPECT_THAT(run(), finding(Level::kWarning, "l1.capacity", "a fifth"));
  options_.l2_url = "mock:";
  options_.l2_queue_bytes = 2ULL << 30;
  EXPECT_THAT(run(), finding(Level::kBad, "l1.capacity", "l2.queue-bytes 2GiB"));
  options_ = {};
  options_.l1_capacity = 0;
  EXPECT_THAT(run(), finding(Level::kBad, "l1.capacity", "nowhere"));
}

TEST_F(Check, NamesMustBeKnown) {
  options_.l1_policy = "lur";
  EXPECT_THAT(run(), finding(Level::kBad, "l1.policy", "did you mean 'lru'?"));
  options_ = {};
  options_.l2_url = "dsk:/data";
  EXPECT_THAT(run(), finding(Level::kBad, "l2.url", "did you mean 'disk'?"));
}

TEST_F(Check, TheDiskMustBeThereWritableAndLargeEnough) {
  options_.l2_url = "disk:/data/tier?capacity=60GiB";
  EXPECT_THAT(run(), finding(Level::kWarning, "l2.url", "60GiB is more than the 50.0 GiB free"));
  options_.l2_url = "disk:/data/tier?capacity=sixty";
  EXPECT_THAT(run(), finding(Level::kBad, "l2.url", "'sixty'"));
  options_.l2_url = "disk:/data/tier?capacity=40GiB";
  EXPECT_THAT(run(), Not(any_bad()));
  disk_.writable = false;
  EXPECT_THAT(run(), finding(Level::kBad, "l2.url", "no permission"));
  disk_.is_directory = false;
  EXPECT_THAT(run(), finding(Level::kBad, "l2.url", "not a directory"));
}

TEST_F(Check, OtherStoresInDirectoriesAreJudgedToo) {
  machine_.io_uring = false;
  for (const std::string scheme : {"fs:", "rocksdb:"}) {
    disk_.writable = true;
    options_.l2_url = scheme + "/data/tier?ttl=60s";
    EXPECT_THAT(run(), finding(Level::kFine, "l2.url", "50.0 GiB free in /data"));
    EXPECT_THAT(run(), Not(finding(Level::kWarning, "io_uring", ""))) << "they do not use it";
    disk_.writable = false;
    EXPECT_THAT(run(), finding(Level::kBad, "l2.url", "no permission"));
    options_.l2_url = scheme;
    EXPECT_THAT(run(), finding(Level::kBad, "l2.url", "names no directory"));
  }
  disk_.writable = true;
  options_.l2_url = "fs:/data?capacity=60GiB";
  EXPECT_THAT(run(), finding(Level::kWarning, "l2.url", "60GiB is more than the 50.0 GiB free"));
}

TEST_F(Check, WhatTheKernelRefusesIsAWarning) {
  options_.l2_url = "disk:/data";
  options_.l1_memory = Memory::kMemfd;
  machine_.io_uring = false;
  machine_.io_uring_refusal = "Operation not permitted";
  machine_.memlock_bytes = 8 << 20;
  const auto findings = run();
  EXPECT_THAT(findings, finding(Level::kWarning, "io_uring", "Operation not permitted"));
  EXPECT_THAT(findings, finding(Level::kWarning, "memlock", "8.00 MiB"));
  EXPECT_THAT(findings, finding(Level::kWarning, "l1.huge-pages", "memfd"));
  EXPECT_THAT(findings, Not(any_bad()));
}

TEST_F(Check, AServerBehindMemoryIsAsked) {
  options_.l2_url = "tcp://cache-1:9600";
  std::uint64_t capacity = 0;  // as one knows it who never spoke to the server
  services_.open = [&](std::string_view url, const CacheOptions&) -> Result<std::unique_ptr<Cache>> {
    EXPECT_EQ(url, "tcp://cache-1:9600");
    return std::make_unique<testing::FakeCache>(capacity);
  };
  EXPECT_THAT(run(),
              AllOf(finding(Level::kWarning, "l2.url", "no server answers at tcp://cache-1:9600 now"), Not(any_bad())));
  capacity = 3ULL << 30;
  EXPECT_THAT(run(), finding(Level::kFine, "l2.url", "3.00 GiB"));
  services_.open = [](std::string_view, const CacheOptions&) -> Result<std::unique_ptr<Cache>> {
    return fail(ErrorCode::kDenied, "the server asks for a token");
  };
  EXPECT_THAT(run(), finding(Level::kBad, "l2.url", "asks for a token"));
  options_.l2_url = "tpc://cache-1:9600";
  EXPECT_THAT(run(), finding(Level::kBad, "l2.url", "did you mean 'tcp'?"));
}

TEST_F(Check, ALeaseMustOutliveTheWaitForL2) {
  options_.l2_url = "mock:";
  options_.lease_ttl = std::chrono::milliseconds(500);
  EXPECT_THAT(run(), finding(Level::kWarning, "lease.ttl", "500ms"));
}

TEST(Machine, HasMemoryAndAProcessor) {
  const MachineFacts facts = probe_machine("none");
  EXPECT_GT(facts.memory_bytes, 64ULL << 20);
  EXPECT_GT(facts.available_bytes, 0U);
  EXPECT_LE(facts.available_bytes, facts.memory_bytes);
  EXPECT_GE(facts.cpus, 1U);
  EXPECT_TRUE(facts.io_uring || !facts.io_uring_refusal.empty());
}

TEST(Machine, ADiskIsJudgedByItsNearestParent) {
  const DiskFacts facts = probe_disk("/tmp/there/is/nothing/here/for/sure");
  EXPECT_EQ(facts.existing, "/tmp");
  EXPECT_TRUE(facts.is_directory);
  EXPECT_GT(facts.free_bytes, 0U);
}

}  // namespace
}  // namespace reprise::cli
