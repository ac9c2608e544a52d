#include "cli/bench_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "testing/command_line_fixture.h"

namespace reprise::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class BenchCommand : public testing::CommandLineTest {
 protected:
  BenchCommand() { cache_ = std::make_shared<testing::FakeCache>(64 << 20); }
  static std::vector<std::string> quick(std::vector<std::string> extra) {
    extra.insert(extra.begin(), {"bench", "--duration", "20ms", "--working-set", "256KiB", "--cache", "embedded:"});
    return extra;
  }
};

TEST_F(BenchCommand, MeasuresEveryCaseAndLeavesNothingBehind) {
  const auto json = json_of(quick({"--sizes", "4KiB,1000", "--batch", "1,8", "--threads", "2"}));
  ASSERT_EQ(json.at("cases").size(), 4U);
  for (const auto& one : json.at("cases")) {
    EXPECT_GT(one.at("get").at("calls"), 0);
    EXPECT_GT(one.at("put").at("bytes_per_second"), 0);
    EXPECT_GT(one.at("memcpy_bytes_per_second"), 0);
    EXPECT_EQ(one.at("get").at("blocks_done"), one.at("get").at("blocks_asked"));
    EXPECT_GT(one.at("checked_blocks"), 0);
    EXPECT_EQ(one.at("wrong_blocks"), 0);
    EXPECT_EQ(one.at("threads"), 2);
    EXPECT_LE(one.at("get").at("latency_us").at("p50"), one.at("get").at("latency_us").at("p99"));
  }
  EXPECT_EQ(json.at("cases").at(3).at("block_bytes"), 1000);
  EXPECT_EQ(json.at("cases").at(3).at("batch"), 8);
  EXPECT_EQ(cache_->stats().l1.blocks, 0U);
}

TEST_F(BenchCommand, PrintsATable) {
  EXPECT_EQ(run(quick({"--sizes", "4KiB", "--batch", "2", "--json", folder_ / "bench.json"})), kOk);
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("4KiB x 2 get"), HasSubstr("4KiB x 2 put"), HasSubstr("memcpy GB/s"),
                                HasSubstr("0 of them wrong")));
  EXPECT_THAT(err_.str(), HasSubstr("4KiB x 2 (1 of 1)"));
  EXPECT_EQ(nlohmann::json::parse(content(folder_ / "bench.json")).at("cases").size(), 1U);
}

TEST_F(BenchCommand, TheMixDecidesWhatIsCalled) {
  const auto gets = json_of(quick({"--sizes", "4KiB", "--batch", "1", "--mix", "1"})).at("cases").at(0);
  EXPECT_EQ(gets.at("put").at("calls"), 0);
  const auto puts = json_of(quick({"--sizes", "4KiB", "--batch", "1", "--mix", "0"})).at("cases").at(0);
  EXPECT_EQ(puts.at("get").at("calls"), 0);
  EXPECT_EQ(puts.at("put").at("blocks_done"), puts.at("put").at("blocks_asked")) << "what is put is always new";
}

TEST_F(BenchCommand, OneWrongByteIsFound) {
  cache_ = std::make_shared<testing::FlippingCache>(cache_, 1);
  EXPECT_EQ(run(quick({"--sizes", "4KiB", "--batch", "1", "--mix", "1"})), kProblem);
  EXPECT_THAT(err_.str(), AllOf(HasSubstr("WRONG BYTES"), HasSubstr("byte 2048")));
}

TEST_F(BenchCommand, ACacheThatIsTooSmallIsNotTakenForASlowOne) {
  cache_ = std::make_shared<testing::FakeCache>(64 << 10);
  const auto one = json_of(quick({"--sizes", "4KiB", "--batch", "8", "--mix", "1"})).at("cases").at(0);
  EXPECT_LT(one.at("get").at("blocks_done"), one.at("get").at("blocks_asked"));
  EXPECT_GT(one.at("cut_short").at("miss"), 0);
  cache_ = std::make_shared<testing::FakeCache>(0);
  EXPECT_EQ(run(quick({"--sizes", "4KiB", "--batch", "8"})), kProblem);
  EXPECT_THAT(err_.str(), HasSubstr("kept and found nothing"));
}

TEST_F(BenchCommand, StopsWithWhatItHas) {
  stop_ = true;
  EXPECT_EQ(run(quick({})), kInterrupted);
}

TEST_F(BenchCommand, BadArgumentsNameTheFlag) {
  const std::vector<std::vector<std::string>> cases = {
      {"--sizes", "4K", "4K"},          {"--sizes", "0", "1B to 1GiB"},    {"--batch", "0", "1 to 4096"},
      {"--batch", "x", "'x'"},          {"--threads", "0", "1 to 256"},    {"--mix", "1.5", "0 (only put)"},
      {"--duration", "5", "duration"},  {"--working-set", "lots", "lots"}, {"--batch", "4096", "more than 2GiB"},
      {"--duration", "0", "1ms to 24h"}};
  for (const auto& each : cases) {
    EXPECT_EQ(run({"bench", "--cache", "embedded:", each[0], each[1]}), kUsage) << each[0] << " " << each[1];
    EXPECT_THAT(err_.str(), AllOf(HasSubstr(each[0]), HasSubstr(each[2])));
  }
  EXPECT_TRUE(opened_.empty());
}

TEST_F(BenchCommand, OptionsFitTheBenchmarkUnlessChosen) {
  EXPECT_EQ(run({"bench", "--cache", "tcp://h:1", "--threads", "20", "--sizes", "64", "--batch", "1", "--duration",
                 "1ms", "--working-set", "1KiB"}),
            kOk);
  EXPECT_EQ(opened_.back().attach_connections, 20U);
  EXPECT_EQ(run(quick({"--sizes", "64", "--batch", "1", "--l1-capacity", "1MiB"})), kOk);
  EXPECT_EQ(opened_.back().l1_capacity, 1U << 20);
  cache_ = std::make_shared<testing::AwayCache>();
  EXPECT_EQ(run({"bench", "--duration", "1ms"}), kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("nothing answers"));
}

TEST(PlanBench, EveryThreadHasAtLeastTwoChains) {
  BenchArguments arguments;
  arguments.threads = 4;
  arguments.sizes = {"1MiB"};
  arguments.batches = {"1", "32"};
  arguments.working_set = "64MiB";
  const auto plans = plan_bench(arguments);
  ASSERT_TRUE(plans.has_value()) << plans.error().message;
  EXPECT_EQ(plans->at(0).chains, 16U);
  EXPECT_EQ(plans->at(1).chains, 2U);
}

}  // namespace
}  // namespace reprise::cli
