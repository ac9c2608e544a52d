#include "cli/stat_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/cache_target.h"
#include "testing/chains.h"
#include "testing/command_line_fixture.h"

namespace reprise::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

CacheStats some_stats() {
  CacheStats stats;
  stats.l1 = {.name = "l1", .capacity_bytes = 8 << 20, .used_bytes = 2 << 20, .blocks = 512, .hits = 60};
  stats.l2 = {.name = "disk", .capacity_bytes = 1 << 30, .blocks = 9, .hits = 15, .errors = 3};
  stats.requested = 100;
  stats.leases = 4;
  stats.leased_blocks = 1234;
  stats.leases_expired = 2;
  stats.ejections = 5;
  stats.reasons[static_cast<std::size_t>(Reason::kMiss)] = 7;
  stats.reasons[static_cast<std::size_t>(Reason::kHole)] = 1;
  return stats;
}

TEST(StatText, SaysWhatIsThereAndWhatWasFound) {
  const std::string text = stat_text("unix:///x", some_stats(), nullptr, 0);
  EXPECT_THAT(text, AllOf(HasSubstr("unix:///x"), HasSubstr("25.0 %"), HasSubstr("512"), HasSubstr("disk")));
  EXPECT_THAT(text, HasSubstr("100: 75.0 % found (60.0 % in memory, 15.0 % behind it)"));
  EXPECT_THAT(text, HasSubstr("miss 7, hole 1"));
  EXPECT_THAT(text, AllOf(HasSubstr("4 over 1,234 blocks; ran out 2"), HasSubstr("ejected 5 times")));
  EXPECT_THAT(text, Not(HasSubstr("blocks/s")));
}

TEST(StatText, WithoutAStoreNothingIsSaidOfIt) {
  CacheStats stats = some_stats();
  stats.l2 = {};
  stats.requested = 0;
  const std::string text = stat_text("embedded:", stats, nullptr, 0);
  EXPECT_THAT(text, AllOf(Not(HasSubstr("Behind memory")), HasSubstr("0: - found")));
}

TEST(StatText, RatesAreDifferencesAndSurviveARestart) {
  CacheStats now = some_stats();
  CacheStats before = now;
  now.requested += 400;
  now.l1.hits += 100;
  EXPECT_THAT(stat_text("u", now, &before, 2), HasSubstr("asked for 200 blocks/s, 25.0 % found"));
  EXPECT_THAT(stat_text("u", before, &now, 2), HasSubstr("asked for 0 blocks/s, - found"));
}

class Stat : public testing::CommandLineTest {
 protected:
  Stat() { cache_ = std::make_shared<testing::FakeCache>(1 << 20); }
};

TEST_F(Stat, ShowsTheCacheOfTheEnvironment) {
  services_.environment = {"REPRISE_CACHE=tcp://host:9600"};
  const Namespace ns = testing::make_namespace(4096);
  const auto keys = testing::make_keys(1, 3);
  const testing::Payloads payloads(ns, keys);
  ASSERT_TRUE(cache_->put(Chain(ns, keys), 0, payloads.views).has_value());
  EXPECT_EQ(run({"stat"}), kOk);
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("tcp://host:9600"), HasSubstr("12.0 KiB"), HasSubstr("1.2 %")));
  EXPECT_EQ(run({"stat", "--json"}), kOk);
  const auto json = nlohmann::json::parse(out_.str());
  EXPECT_EQ(json.at("l1").at("blocks"), 3);
  EXPECT_EQ(json.at("leases"), 0);
  EXPECT_EQ(json.at("reasons"), nlohmann::json::object());
}

TEST_F(Stat, WatchesUntilToldToStop) {
  int looks = 0;
  cache_ = std::make_shared<testing::WatchedCache>(cache_, [&] { stop_ = ++looks > 3; });
  EXPECT_EQ(run({"stat", "--watch", "0.1"}), kOk);
  EXPECT_EQ(looks, 4);  // one of them asked whether anybody is there
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("blocks/s"), Not(HasSubstr("\x1b["))));
  looks = 0;
  out_is_tty_ = true;
  EXPECT_EQ(run({"stat", "--watch", "0.1"}), kOk);
  EXPECT_THAT(out_.str(), HasSubstr("\x1b[2J"));
}

TEST_F(Stat, WatchHasADefault) {
  cache_ = std::make_shared<testing::WatchedCache>(cache_, [&] { stop_ = true; });
  EXPECT_EQ(run({"stat", "--watch", "--json"}), kOk) << err_.str();
  EXPECT_EQ(run({"stat", "--watch", "0"}), kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("--watch"));
}

TEST_F(Stat, NobodyThereIsAProblem) {
  cache_ = std::make_shared<testing::AwayCache>();
  EXPECT_EQ(run({"stat"}), kProblem);
  EXPECT_THAT(err_.str(), HasSubstr("nothing answers at 'unix:///run/reprise/reprise.sock'"));
  EXPECT_EQ(out_.str(), "");
  refuse_ = true;
  EXPECT_EQ(run({"stat"}), kUsage);
}

TEST_F(Stat, ServersDecideAboutTheirMemory) {
  EXPECT_EQ(run({"stat", "--l1-capacity", "1MiB"}), kUsage);
  EXPECT_THAT(err_.str(), AllOf(HasSubstr("--l1-capacity"), HasSubstr("reprise serve")));
  services_.environment = {"REPRISE_L1_CAPACITY=1MiB"};  // meant for a server beside
  EXPECT_EQ(run({"stat", "--attach-timeout", "1s"}), kOk);
  EXPECT_EQ(opened_.back().attach_timeout, std::chrono::seconds(1));
}

}  // namespace
}  // namespace reprise::cli
