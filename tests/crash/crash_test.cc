// kill -9 in the middle of a put load: after the restart no byte is wrong, every block whose write had returned is
// there (so every sealed segment's are), and nothing erased has come back.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "store/disk/disk_store.h"
#include "testing/blocks.h"
#include "testing/temp_dir.h"

namespace reprise {
namespace {

using namespace reprise::testing;  // NOLINT(google-build-using-namespace)

constexpr std::size_t kBytes = 20'000;

/// What the driver said it did.
struct Said {
  bool opened = false;
  std::set<std::uint64_t> written;
  std::set<std::uint64_t> erasing;  // begun; may or may not have happened
  std::set<std::uint64_t> erased;
};

Said parse(const std::string& output) {
  Said said;
  std::istringstream lines(output);
  std::string line;
  while (std::getline(lines, line)) {
    if (lines.eof()) break;  // no newline: cut off
    if (line == "o") {
      said.opened = true;
      continue;
    }
    const std::uint64_t n = std::stoull(line.substr(2));
    if (line[0] == 'w') said.written.insert(n);
    if (line[0] == 'x') said.erasing.insert(n);
    if (line[0] == 'e') said.erased.insert(n);
  }
  return said;
}

/// Runs the driver; kills it after `life` from the moment its store is open, unless that is zero.
Said run_driver(const std::vector<std::string>& arguments, std::chrono::microseconds life) {
  int ends[2];
  EXPECT_EQ(::pipe(ends), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(ends[1], STDOUT_FILENO);
    ::close(ends[0]);
    ::close(ends[1]);
    std::vector<char*> argv{const_cast<char*>(CRASH_DRIVER)};
    for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    ::execv(CRASH_DRIVER, argv.data());
    ::_exit(127);
  }
  ::close(ends[1]);
  std::string output;
  std::thread killer;
  char buffer[65536];
  ssize_t n = 0;
  while ((n = ::read(ends[0], buffer, sizeof buffer)) > 0) {
    if (output.empty() && life.count() > 0) {
      killer = std::thread([=] {
        std::this_thread::sleep_for(life);
        ::kill(child, SIGKILL);
      });
    }
    output.append(buffer, static_cast<std::size_t>(n));
  }
  if (killer.joinable()) killer.join();
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(life.count() > 0 || status == 0) << status;
  return parse(output);
}

int rounds() {
  const char* text = std::getenv("REPRISE_CRASH_ROUNDS");
  return text == nullptr ? 8 : std::atoi(text);
}

double open_ms(const std::string& url, std::unique_ptr<DiskStore>& out) {
  const auto begin = std::chrono::steady_clock::now();
  auto store = DiskStore::open(std::string_view(url));
  const auto took = std::chrono::steady_clock::now() - begin;
  EXPECT_TRUE(store) << store.error().message;
  out.reset(store ? static_cast<DiskStore*>(store->release()) : nullptr);
  return std::chrono::duration<double, std::milli>(took).count();
}

void kill_rounds(const std::string& options, std::uint64_t seed) {
  TempDir temp;
  // Large enough that nothing is reclaimed: what is missing afterwards was lost.
  const std::string url = "disk:" + temp.path() + "/d?capacity=8GiB&segment=4MiB&" + options;
  std::mt19937_64 random(seed);
  std::set<std::uint64_t> written;
  std::set<std::uint64_t> erasing;
  std::set<std::uint64_t> erased;
  std::uint64_t highest = 0;
  for (int round = 0; round < rounds(); ++round) {
    // Lives of 1 ms to 400 ms, even in their logarithm: some die in their first segment, some after many.
    const std::chrono::microseconds life(
        static_cast<std::int64_t>(1000 * std::pow(400.0, static_cast<double>(random() % 1000) / 1000)));
    const std::uint64_t first = highest + 1000;
    const Said said = run_driver({url, std::to_string(first), "3", std::to_string(kBytes)}, life);
    ASSERT_TRUE(said.opened);
    written.insert(said.written.begin(), said.written.end());
    erasing.insert(said.erasing.begin(), said.erasing.end());
    erased.insert(said.erased.begin(), said.erased.end());
    highest = std::max(first, written.empty() ? 0 : *written.rbegin()) + 1000;
    std::unique_ptr<DiskStore> store;
    const double took = open_ms(url, store);
    ASSERT_NE(store, nullptr);
    std::uint64_t beyond = 0;
    for (std::uint64_t n = first; n < highest; ++n) {
      const AlignedBuffer memory(kBytes);
      const Reason reason = get_block(*store, block_id(n), memory, kBytes);
      ASSERT_TRUE(reason == Reason::kNone || reason == Reason::kMiss) << n << ": " << to_string(reason);
      const bool there = reason == Reason::kNone;
      if (there) {
        ASSERT_TRUE(std::ranges::equal(memory.span().first(kBytes), block_payload(n, kBytes).span().first(kBytes)))
            << n;
      }
      ASSERT_FALSE(there && erased.contains(n)) << "erased block " << n << " came back";
      ASSERT_TRUE(there || !written.contains(n) || erasing.contains(n)) << "written block " << n << " is lost";
      beyond += there && !written.contains(n);
    }
    std::printf(
        "round %d: killed after %.1f ms, %zu blocks acknowledged, %llu more found, %llu segments scanned, "
        "opened in %.1f ms\n",
        round, static_cast<double>(life.count()) / 1000, said.written.size(), static_cast<unsigned long long>(beyond),
        static_cast<unsigned long long>(store->scanned_at_open()), took);
  }
  // And all rounds together, once more from sealed segments only.
  std::unique_ptr<DiskStore> store;
  open_ms(url, store);
  ASSERT_NE(store, nullptr);
  EXPECT_EQ(store->scanned_at_open(), 0u);
  for (const std::uint64_t n : written) {
    const bool there = has_block(*store, n, kBytes);
    ASSERT_TRUE(there || erasing.contains(n)) << n;
    ASSERT_FALSE(there && erased.contains(n)) << n;
  }
}

TEST(Crash, KilledWhileWriting) {
  kill_rounds("io=auto", 1);
}

TEST(Crash, KilledWhileWritingPlain) {
  kill_rounds("io=plain&direct=off", 2);
}

TEST(Crash, OpeningMuchDataIsTimed) {
  const char* text = std::getenv("REPRISE_CRASH_BIG");
  if (text == nullptr) GTEST_SKIP() << "set REPRISE_CRASH_BIG to the GiB of data to open";
  const std::uint64_t gib = std::strtoull(text, nullptr, 10);
  TempDir temp;
  const std::string url = "disk:" + temp.path() + "/d?capacity=" + std::to_string(gib + 1) + "GiB";
  constexpr std::size_t kBlock = 256 << 10;
  const std::uint64_t blocks = (gib << 30) / kBlock;
  const Said said = run_driver({url, "0", "2", std::to_string(kBlock), std::to_string(blocks)}, {});
  for (int i = 0; i < 3; ++i) {
    std::unique_ptr<DiskStore> store;
    const double took = open_ms(url, store);
    ASSERT_NE(store, nullptr);
    std::printf("opened %llu blocks, %.1f GiB, in %.1f ms; index %.1f bytes a block\n",
                static_cast<unsigned long long>(store->stats().blocks),
                static_cast<double>(store->stats().used_bytes) / (1 << 30), took,
                static_cast<double>(store->index_bytes()) / static_cast<double>(store->stats().blocks));
    EXPECT_EQ(store->stats().blocks, said.written.size() - said.erased.size());
  }
}

}  // namespace
}  // namespace reprise
