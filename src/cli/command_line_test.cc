// The whole command line over a fake cache: what a user types, what comes out, and the exit code.
#include "cli/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/cache_target.h"
#include "testing/command_line_fixture.h"

namespace reprise::cli {
namespace {

using CommandLine = ::reprise::testing::CommandLineTest;

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST_F(CommandLine, HelpTeachesByExample) {
  EXPECT_EQ(run({"--help"}), kOk);
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("replay"), HasSubstr("check"), HasSubstr("Examples:")));
  EXPECT_EQ(run({"replay", "--help"}), kOk);
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("--capacity-blocks"), HasSubstr("--l2-ingest"), HasSubstr("Exit code"),
                                Not(HasSubstr("--flip-byte"))));
  EXPECT_EQ(run({"--version"}), kOk);
  EXPECT_THAT(out_.str(), HasSubstr("reprise "));
}

TEST_F(CommandLine, SuggestsWhatWasMeant) {
  EXPECT_EQ(run({"reply"}), kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("did you mean 'replay'?"));
  EXPECT_EQ(run({"replay", trace(), "--polcy", "lru"}), kUsage);
  EXPECT_THAT(err_.str(), AllOf(HasSubstr("'--polcy'"), HasSubstr("did you mean '--policy'?")));
  EXPECT_EQ(run({"replay", trace(), "--policy", "lur"}), kUsage);
  EXPECT_THAT(err_.str(), AllOf(HasSubstr("--policy"), HasSubstr("did you mean 'lru'?")));
  EXPECT_EQ(run({}), kUsage);
}

TEST_F(CommandLine, BadValuesNameTheOptionAndTheLimit) {
  const std::vector<std::vector<std::string>> cases = {{"--capacity-blocks", "0", "1 to 2147483648"},
                                                       {"--capacity-blocks", "many", "whole number"},
                                                       {"--block-bytes", "2GiB", "1GiB"},
                                                       {"--block-bytes", "4K", "4K"},
                                                       {"--ingest", "SOME", "ALL, HOT or EVICTED"},
                                                       {"--l2-threads", "0", "1 to 256"},
                                                       {"--l1-capacity", "1TB2", "1TB2"},
                                                       {"--pace", "-1", "greater than 0"}};
  for (const auto& each : cases) {
    EXPECT_EQ(run({"replay", trace(), each[0], each[1]}), kUsage) << each[0];
    const std::string named = each[0] == "--ingest" ? "--l2-ingest" : each[0];
    EXPECT_THAT(err_.str(), AllOf(HasSubstr(named), HasSubstr(each[2])));
  }
  EXPECT_TRUE(opened_.empty());
}

TEST_F(CommandLine, ReplayCountsBlocksAndTokens) {
  const auto json = json_of({"replay", trace(), "--policy", "lru", "--capacity-blocks", "10"});
  const auto& one = json.at("results").at(0);
  EXPECT_EQ(one.at("requests"), 3);
  EXPECT_EQ(one.at("blocks"), 9);
  EXPECT_EQ(one.at("l1_blocks"), 5);  // 0 + 2 + 3
  EXPECT_EQ(one.at("prefill_tokens_saved"), 1024 + 1536);
  EXPECT_EQ(one.at("tokens"), 1536 + 1300 + 1536);
  EXPECT_EQ(one.at("missed_blocks").at("miss"), 4);
  EXPECT_EQ(one.at("checked_bytes"), 5 * 4096);
  EXPECT_EQ(one.at("wrong_blocks"), 0);
  ASSERT_EQ(opened_.size(), 1U);
  EXPECT_EQ(opened_[0].l1_capacity, 10U * 4096);
  EXPECT_EQ(opened_[0].l1_policy, "lru");
}

TEST_F(CommandLine, EveryPolicyAtEveryCapacityIsARun) {
  const auto json =
      json_of({"replay", trace(), "--policy", "all", "--capacity-blocks", "2,10", "--block-bytes", "100"});
  EXPECT_EQ(json.at("results").size(), 2 * policies_.names().size());
  EXPECT_EQ(json.at("results").at(1).at("capacity_blocks"), 10);
  EXPECT_EQ(opened_.at(0).l1_capacity, 200U);
}

TEST_F(CommandLine, PolicyOnlyAgreesAndOpensNoCache) {
  const auto json = json_of({"replay", trace(), "--policy", "lru", "--capacity-blocks", "10", "--no-bytes"});
  EXPECT_EQ(json.at("results").at(0).at("l1_blocks"), 5);
  EXPECT_EQ(json.at("results").at(0).at("prefill_tokens_saved"), 1024 + 1536);
  EXPECT_TRUE(opened_.empty());
}

TEST_F(CommandLine, OneFlippedByteIsReported) {
  // Of the four blocks put, the third (id 3) is asked for again by the last request only.
  const auto json = json_of({"replay", trace(), "--capacity-blocks", "10", "--flip-byte", "3"}, kProblem);
  EXPECT_EQ(json.at("results").at(0).at("wrong_blocks"), 1);
  EXPECT_THAT(err_.str(), AllOf(HasSubstr("WRONG BYTES"), HasSubstr("request 3, block 2"), HasSubstr("byte 2048")));
}

TEST_F(CommandLine, AMalformedLineIsReportedWithItsNumberAndSkipped) {
  const std::string path = trace("{oops\n");
  const auto json = json_of({"replay", path, "--policy", "lru,fifo", "--capacity-blocks", "10"});
  EXPECT_EQ(json.at("results").at(0).at("requests"), 3);
  EXPECT_EQ(json.at("results").at(1).at("skipped_lines"), 1);
  EXPECT_THAT(err_.str(), HasSubstr("t.jsonl:2: skipped: not JSON"));
  const std::string said = err_.str();
  EXPECT_EQ(said.find("t.jsonl:2"), said.rfind("t.jsonl:2")) << "complained twice";
}

TEST_F(CommandLine, StrictStopsAtAMalformedLine) {
  const std::string path = trace("{oops\n");
  for (const char* form : {"--strict", "--no-bytes"}) {
    EXPECT_EQ(run({"replay", path, "--capacity-blocks", "10", "--strict", form}), kProblem);
    EXPECT_THAT(err_.str(), HasSubstr("t.jsonl:2: not JSON"));
  }
}

TEST_F(CommandLine, StopsAfterTheRequestsAskedForAndWhenToldTo) {
  EXPECT_EQ(
      json_of({"replay", trace(), "--capacity-blocks", "10", "--requests", "2"}).at("results").at(0).at("requests"), 2);
  stop_ = true;
  const auto json = json_of({"replay", trace(), "--capacity-blocks", "10,20"}, kInterrupted);
  ASSERT_EQ(json.at("results").size(), 1U);
  EXPECT_EQ(json.at("results").at(0).at("interrupted"), true);
}

TEST_F(CommandLine, WhatCannotRunSaysWhy) {
  EXPECT_EQ(run({"replay", "/nonexistent.jsonl", "--capacity-blocks", "10"}), kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("/nonexistent.jsonl"));
  refuse_ = true;
  EXPECT_EQ(run({"replay", trace(), "--capacity-blocks", "10"}), kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("l1.capacity"));
  refuse_ = false;
  EXPECT_EQ(run({"replay", trace(), "--capacity-blocks", "10", "--json", "/nonexistent/x.json"}), kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("/nonexistent/x.json"));
}

TEST_F(CommandLine, WritesThePage) {
  EXPECT_EQ(run({"replay", trace(), "--capacity-blocks", "10", "--html", folder_ / "page.html"}), kOk);
  EXPECT_GT(std::filesystem::file_size(folder_ / "page.html"), 10'000U);
}

TEST_F(CommandLine, OptionsReachTheCache) {
  services_.environment = {"REPRISE_LEASE_TTL=7s", "REPRISE_L2_THREDS=4"};
  EXPECT_EQ(run({"replay", trace(), "--capacity-blocks", "10", "--tier", "mock:", "--ingest", "evicted"}), kOk);
  EXPECT_EQ(opened_.at(0).lease_ttl, std::chrono::seconds(7));
  EXPECT_EQ(opened_.at(0).l2_url, "mock:");
  EXPECT_EQ(opened_.at(0).l2_ingest, Ingest::kEvicted);
  EXPECT_EQ(opened_.at(0).policy_salt, 1U) << "a replay is reproducible unless told otherwise";
  EXPECT_THAT(err_.str(), HasSubstr("did you mean 'REPRISE_L2_THREADS'?"));
  EXPECT_EQ(run({"replay", trace(), "--capacity-blocks", "10", "--policy-salt", "0"}), kOk);
  EXPECT_EQ(opened_.at(1).policy_salt, 0U);
}

TEST_F(CommandLine, CheckShowsWhereOptionsComeFromAndJudges) {
  services_.environment = {"REPRISE_L2_THREADS=3"};
  const std::string config = file("r.toml", "[l1]\ncapacity = \"1MiB\"\n");
  EXPECT_EQ(run({"check", "--config", config, "--l1-policy", "lru"}), kOk);
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("r.toml:2"), HasSubstr("REPRISE_L2_THREADS"), HasSubstr("--l1-policy"),
                                HasSubstr("is sound")));
  EXPECT_EQ(run({"check", "--l1-capacity", "60TiB"}), kProblem);
  EXPECT_THAT(out_.str(), HasSubstr("cannot work"));
  EXPECT_EQ(run({"check", "--l1-capacity", "70TiB"}), kUsage);
  EXPECT_THAT(err_.str(), AllOf(HasSubstr("--l1-capacity"), HasSubstr("64TiB")));
}

TEST_F(CommandLine, OptionsPrintsTheDocumentation) {
  EXPECT_EQ(run({"options", "--markdown"}), kOk);
  EXPECT_THAT(out_.str(), HasSubstr("| `l2.queue-bytes` | `--l2-queue-bytes` |"));
  EXPECT_EQ(run({"options"}), kOk);
  EXPECT_THAT(out_.str(), HasSubstr("REPRISE_L1_CAPACITY"));
}

TEST_F(CommandLine, EveryCommandTeachesByExample) {
  for (const char* command : {"serve", "put", "get", "stat", "explain", "bench", "replay", "check"}) {
    EXPECT_EQ(run({command, "--help"}), kOk) << command;
    EXPECT_THAT(out_.str(),
                AllOf(HasSubstr("Example"), HasSubstr("reprise " + std::string(command)), HasSubstr("Exit code")))
        << command;
  }
}

TEST_F(CommandLine, ServeRunsTheServerWithItsOptions) {
  EXPECT_EQ(run({"serve", "--listen-tcp", "127.0.0.1:0", "--allow-uid", "7", "--allow-uids", "8,9", "--insecure-listen",
                 "admin,tcp", "--server-threads", "3", "--l1-capacity", "5MiB"}),
            kOk);
  ASSERT_EQ(served_.size(), 1U);
  EXPECT_EQ(served_[0].server.listen_tcp, "127.0.0.1:0");
  EXPECT_EQ(served_[0].server.listen_unix, "") << "only where nothing else is listened on";
  EXPECT_EQ(served_[0].server.allow_uids, "7,8,9");
  EXPECT_EQ(served_[0].server.listen_insecure, "admin,tcp");
  EXPECT_EQ(served_[0].server.threads, 3U);
  EXPECT_EQ(served_[0].cache.l1_capacity, 5U << 20);
}

TEST_F(CommandLine, ServeListensWhereTheOthersLook) {
  EXPECT_EQ(run({"serve"}), kOk);
  EXPECT_EQ("unix://" + served_.at(0).server.listen_unix, choose_cache("", {}));
  EXPECT_EQ(run({"serve", "--server-threads", "2000"}), kUsage);
  EXPECT_THAT(err_.str(), AllOf(HasSubstr("--server-threads"), HasSubstr("0 to 1024")));
  EXPECT_EQ(run({"replay", trace(), "--listen-tcp", "127.0.0.1:0"}), kUsage) << "an option of the server alone";
  EXPECT_EQ(served_.size(), 1U);
}

TEST_F(CommandLine, ReplayThroughAServerTakesItsPolicyAndMemory) {
  const auto json = json_of({"replay", trace(), "--cache", "unix:///run/x.sock", "--attach-connections", "3"});
  ASSERT_EQ(json.at("results").size(), 1U);
  const auto& one = json.at("results").at(0);
  EXPECT_EQ(one.at("policy"), "attached");
  EXPECT_EQ(one.at("capacity_blocks"), opened_.at(0).l1_capacity / 4096);
  EXPECT_EQ(one.at("l1_blocks"), 5);
  EXPECT_EQ(one.at("wrong_blocks"), 0);
  EXPECT_EQ(urls_.at(0), "unix:///run/x.sock");
  EXPECT_EQ(opened_.at(0).attach_connections, 3U);
}

TEST_F(CommandLine, ReplayThroughAServerRefusesWhatIsTheServers) {
  for (const std::vector<std::string>& extra : std::vector<std::vector<std::string>>{{"--policy", "lru"},
                                                                                     {"--capacity-blocks", "10"},
                                                                                     {"--tier", "mock:"},
                                                                                     {"--l1-capacity", "1MiB"},
                                                                                     {"--no-bytes"}}) {
    std::vector<std::string> arguments = {"replay", trace(), "--cache", "tcp://host:9600"};
    arguments.insert(arguments.end(), extra.begin(), extra.end());
    EXPECT_EQ(run(arguments), kUsage) << extra[0];
    EXPECT_THAT(err_.str(), HasSubstr(extra[0] == "--tier" ? "--l2-url" : extra[0]));
  }
  EXPECT_TRUE(opened_.empty());
  cache_ = std::make_shared<testing::AwayCache>();
  EXPECT_EQ(run({"replay", trace(), "--cache", "tcp://host:9600"}), kUsage);
  EXPECT_THAT(err_.str(), AllOf(HasSubstr("nothing answers at 'tcp://host:9600'"), HasSubstr("reprise serve")));
}

}  // namespace
}  // namespace reprise::cli
