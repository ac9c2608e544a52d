#include "cli/replay_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli/text_table.h"

namespace reprise::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

ReplayResult example() {
  ReplayResult result;
  result.policy = "lru";
  result.capacity_blocks = 1000;
  result.block_bytes = 4096;
  result.counts = {
      .requests = 2, .blocks = 10, .l1_blocks = 3, .l2_blocks = 2, .tokens = 5000, .l1_tokens = 1536, .l2_tokens = 964};
  result.series = {{1000, {.requests = 1, .blocks = 4}}, {2000, {.requests = 1, .blocks = 6, .l1_blocks = 3}}};
  result.missed_blocks[static_cast<std::size_t>(Reason::kMiss)] = 4;
  result.missed_blocks[static_cast<std::size_t>(Reason::kTimeout)] = 1;
  result.acquire.add(std::chrono::microseconds(7));
  result.cache_stats.l2.write_bytes = 8192;
  return result;
}

TEST(ReplayJson, CarriesTheFiguresUnderTheirNames) {
  const std::vector results = {example()};
  const auto json = nlohmann::json::parse(replay_json({.trace = "t.jsonl", .tier = "mock:"}, results));
  EXPECT_EQ(json.at("trace"), "t.jsonl");
  const auto& one = json.at("results").at(0);
  EXPECT_EQ(one.at("policy"), "lru");
  EXPECT_EQ(one.at("capacity_blocks"), 1000);
  EXPECT_EQ(one.at("requests"), 2);
  EXPECT_DOUBLE_EQ(one.at("prefix_hit_ratio"), 0.5);
  EXPECT_DOUBLE_EQ(one.at("l2_hit_ratio"), 0.2);
  EXPECT_DOUBLE_EQ(one.at("token_hit_ratio"), 0.5);
  EXPECT_EQ(one.at("prefill_tokens_saved"), 2500);
  EXPECT_EQ(one.at("missed_blocks").at("timeout"), 1);
  EXPECT_EQ(one.at("l2_written_bytes"), 8192);
  EXPECT_EQ(one.at("latency_us").at("acquire").at("histogram").size(), 1U);
  EXPECT_EQ(one.at("series").size(), 2U);
}

TEST(ReplayJson, APolicyOnlyResultHasNoBytesAndNoLatencies) {
  std::vector results = {example()};
  results[0].with_bytes = false;
  const auto json = nlohmann::json::parse(replay_json({}, results));
  EXPECT_FALSE(json.at("results").at(0).contains("latency_us"));
  EXPECT_FALSE(json.at("results").at(0).contains("wrong_blocks"));
}

TEST(ReplayJson, SurvivesAFileNameThatIsNotText) {
  EXPECT_TRUE(nlohmann::json::accept(replay_json({.trace = "a\xff\"b"}, {})));
}

TEST(ReplayHtml, HoldsItsDataAndLoadsNothing) {
  const std::vector results = {example()};
  const std::string page = replay_html({.trace = "</script><script>alert(1)</script>"}, results);
  EXPECT_THAT(page, HasSubstr("\"prefix_hit_ratio\":0.5"));
  EXPECT_THAT(page, Not(HasSubstr("<script>alert")));
  EXPECT_THAT(page, Not(HasSubstr("REPLAY_JSON")));
  for (const char* outside : {" src=", "@import", "<link", "url("}) EXPECT_THAT(page, Not(HasSubstr(outside)));
}

TEST(ReplayTables, ShowReasonsTiersAndWrongBytes) {
  std::vector results = {example()};
  results[0].wrong_blocks = 1;
  results[0].first_wrong = "request 2, block 0";
  const std::string text = replay_tables({.trace = "t", .tier = "mock:", .ingest = "HOT"}, results);
  for (const char* part : {"0.5000", "from L2", "timeout", "2.5 k of 5.0 k", "8.00 KiB", "lru 1,000 acquire",
                           "ingests HOT", "WRONG BYTES", "request 2, block 0"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  EXPECT_THAT(replay_tables({.trace = "t"}, results), Not(HasSubstr("from L2")));
  EXPECT_THAT(replay_tables({}, {}), HasSubstr("nothing"));
}

TEST(Series, StaysBoundedAndLosesNothing) {
  Series series;
  for (int i = 0; i < 100'000; ++i) series.add(i, {.requests = 1, .blocks = 2, .l1_blocks = 1});
  HitCounts all;
  double previous = -1;
  for (const SeriesPoint& point : series.points()) {
    EXPECT_GT(point.end_ms, previous);
    previous = point.end_ms;
    all.add(point.counts);
  }
  EXPECT_LE(series.points().size(), 240U);
  EXPECT_EQ(all.requests, 100'000U);
  EXPECT_EQ(all.blocks, 200'000U);
  EXPECT_EQ(all.l1_blocks, 100'000U);
  EXPECT_EQ(previous, 99'999);
}

TEST(TextTable, AlignsItsColumns) {
  TextTable table({"name", "n"});
  table.add({"a", "1,000"});
  EXPECT_EQ(table.text(), "  name      n\n  -----------\n  a     1,000\n");
  EXPECT_EQ(with_commas(0), "0");
  EXPECT_EQ(with_commas(1'234'567), "1,234,567");
  EXPECT_EQ(short_number(24'400'000), "24.4 M");
  EXPECT_EQ(microseconds(0.824), "0.82");
  EXPECT_EQ(microseconds(1204), "1,204");
}

}  // namespace
}  // namespace reprise::cli
