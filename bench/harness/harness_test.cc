#include "bench/harness/harness.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "bench/harness/report.h"

namespace reprise::bench {
namespace {

using ::testing::HasSubstr;

TEST(Quantile, InterpolatesBetweenNeighboursInAnyOrder) {
  const std::vector<double> values = {4, 1, 3, 2};
  EXPECT_DOUBLE_EQ(quantile(values, 0.25), 1.75);
  EXPECT_DOUBLE_EQ(quantile(values, 0.5), 2.5);
  EXPECT_DOUBLE_EQ(quantile(values, 0.75), 3.25);
  EXPECT_DOUBLE_EQ(quantile(values, 0), 1);
  EXPECT_DOUBLE_EQ(quantile(values, 1), 4);
  EXPECT_DOUBLE_EQ(quantile({}, 0.5), 0);
}

TEST(Summarize, TakesTheMedianOfPairwiseRatiosNotTheRatioOfMedians) {
  // Drift: the machine slows down by a factor of ten; each pair still says 0.9.
  const std::vector<Pair> pairs = {{90, 100, 100}, {9, 10, 11}, {45, 50, 45}};
  const Summary summary = summarize(pairs);
  EXPECT_DOUBLE_EQ(summary.value, 45);
  EXPECT_DOUBLE_EQ(*summary.limit, 50);
  EXPECT_DOUBLE_EQ(*summary.ratio, 0.9);
  EXPECT_DOUBLE_EQ(*summary.aa_low, 0.95);
  EXPECT_DOUBLE_EQ(*summary.aa_high, 1.05);
}

TEST(Verdict, RatioFloorIsScaledByTheLowerQuartileOfTheLimitAgainstItself) {
  Summary summary{.value = 1, .limit = 1, .ratio = 0.90, .aa_low = 0.94, .aa_high = 1.02};
  EXPECT_EQ(verdict(Goal::ratio_at_least(0.95), summary), true);  // 0.95 x 0.94 = 0.893
  summary.aa_low = 0.97;                                          // 0.9215
  EXPECT_EQ(verdict(Goal::ratio_at_least(0.95), summary), false);
}

TEST(Verdict, RatioCeilingIsScaledByTheUpperQuartile) {
  Summary summary{.value = 1, .limit = 1, .ratio = 1.30, .aa_low = 0.5, .aa_high = 1.05};
  EXPECT_EQ(verdict(Goal::ratio_at_most(1.25), summary), true);
  summary.aa_high = 1.03;
  EXPECT_EQ(verdict(Goal::ratio_at_most(1.25), summary), false);
}

TEST(Verdict, AnAllowanceIsTakenOffPairByPairBeforeTheRatio) {
  const Goal goal = Goal::limit_plus(1.5, 60);
  EXPECT_EQ(goal.text(), "value <= 1.5 x limit + 60");
  // The second pair met a machine four times as slow; both stand at 1.5 limits and the allowance.
  std::vector<Pair> pairs = {{75, 10, 10}, {120, 40, 40}};
  EXPECT_DOUBLE_EQ(*summarize(pairs, goal.allowance).ratio_beyond, 1.5);
  EXPECT_EQ(verdict(goal, summarize(pairs, goal.allowance)), true);
  pairs[0].ours = 76;
  EXPECT_EQ(verdict(goal, summarize(pairs, goal.allowance)), false);
  pairs[0].limit_again = 10.5;  // the machine's own noise is allowed for
  EXPECT_EQ(verdict(goal, summarize(pairs, goal.allowance)), true);
  EXPECT_EQ(verdict(goal, {.value = 1}), std::nullopt);
}

TEST(Verdict, AbsoluteBarsCompareTheMedian) {
  const Summary summary{.value = 0.15};
  EXPECT_EQ(verdict(Goal::value_at_most(0.15), summary), true);
  EXPECT_EQ(verdict(Goal::value_at_most(0.149), summary), false);
  EXPECT_EQ(verdict(Goal::value_at_least(0.15), summary), true);
  EXPECT_EQ(verdict(Goal::value_at_least(0.151), summary), false);
}

TEST(Verdict, IsAbsentWithoutGoalAndForARatioWithoutLimit) {
  EXPECT_EQ(verdict(Goal::none(), {.value = 1}), std::nullopt);
  EXPECT_EQ(verdict(Goal::ratio_at_least(0.5), {.value = 1}), std::nullopt);
}

TEST(Harness, AlternatesTheOrderAndKeepsEveryRun) {
  std::string order;
  double next = 0;
  Harness harness("t", {.pairs = 2});
  harness.add({.name = "c",
               .unit = "x",
               .ours = [&]() -> Result<Sample> { return order += 'o', Sample{2, {10, 20}}; },
               .limit = [&]() -> Result<Sample> { return order += 'l', Sample{++next}; },
               .prepare = [&]() -> Result<void> { return order += '(', Result<void>(); },
               .cleanup = [&] { order += ')'; }});
  EXPECT_EQ(harness.run(), 0);
  EXPECT_EQ(order, "(ollllo)");
}

TEST(Harness, OursIsAlwaysComparedWithItsNeighbour) {
  double next = 0;
  Harness harness("t", {.pairs = 2});
  harness.add({.name = "c",
               .unit = "x",
               .ours = [&]() -> Result<Sample> { return Sample{12, {10, 20}}; },
               .limit = [&]() -> Result<Sample> { return Sample{++next}; },
               .goal = Goal::ratio_at_least(7)});
  EXPECT_EQ(harness.run(), 0);
  const Row& row = harness.rows().at(0);
  // Limits come as 1 2 | 3 4: beside ours are the 1 of the first pair and the 4 of the second.
  EXPECT_DOUBLE_EQ(*row.pairs.at(0).limit, 1);
  EXPECT_DOUBLE_EQ(*row.pairs.at(1).limit, 4);
  EXPECT_DOUBLE_EQ(*row.summary.ratio, (12 + 3) / 2.0);
  EXPECT_DOUBLE_EQ(row.p50_us, 15);
  EXPECT_EQ(row.holds, true);
}

TEST(Harness, AFailedCaseFailsTheRunWithoutAVerdictAndTheOthersStillRun) {
  bool cleaned = false;
  Harness harness("t", {.pairs = 3});
  harness.add({.name = "broken",
               .unit = "x",
               .ours = []() -> Result<Sample> { return fail(ErrorCode::kIo, "no disk"); },
               .goal = Goal::value_at_most(1),
               .cleanup = [&] { cleaned = true; }});
  harness.add({.name = "fine", .unit = "x", .ours = []() -> Result<Sample> { return Sample{1}; }});
  EXPECT_EQ(harness.run(), 1);
  EXPECT_TRUE(cleaned);
  EXPECT_EQ(harness.rows().at(0).error, "no disk");
  EXPECT_EQ(harness.rows().at(0).holds, std::nullopt);
  EXPECT_DOUBLE_EQ(harness.rows().at(1).summary.value, 1);
}

TEST(Harness, QuickGivesNoVerdictAndFilterChoosesCases) {
  Harness harness("t", {.quick = true, .pairs = 1, .filter = "^b"});
  const auto one = []() -> Result<Sample> { return Sample{1}; };
  harness.add({.name = "ab", .unit = "x", .ours = one});
  harness.add({.name = "ba", .unit = "x", .ours = one, .goal = Goal::value_at_most(0)});
  EXPECT_EQ(harness.run(), 0);
  ASSERT_EQ(harness.rows().size(), 1u);
  EXPECT_EQ(harness.rows()[0].name, "ba");
  EXPECT_EQ(harness.rows()[0].holds, std::nullopt);
}

TEST(Report, JsonHasTheAgreedKeysAndNullsWhereThereIsNoFigure) {
  Row row{.name = "c", .unit = "us", .goal = Goal::value_at_most(2)};
  row.pairs = {{.ours = 1}};
  row.summary = summarize(row.pairs);
  row.holds = true;
  const auto json = nlohmann::json::parse(to_json(Report{"n", {}, false, {{"k", "v"}}, {row}}));
  EXPECT_EQ(json["name"], "n");
  EXPECT_EQ(json["machine"]["card"], "none");
  const auto& out = json["rows"][0];
  EXPECT_EQ(out["case"], "c");
  EXPECT_EQ(out["value"], 1);
  EXPECT_TRUE(out["limit"].is_null());
  EXPECT_TRUE(out["p50_us"].is_null());
  EXPECT_EQ(out["goal"], "value <= 2");
  EXPECT_EQ(out["holds"], true);
  EXPECT_EQ(out["runs"].size(), 1u);
}

TEST(Report, TableShowsAMissedBar) {
  Row row{.name = "c", .unit = "us", .goal = Goal::value_at_most(2)};
  row.holds = false;
  EXPECT_THAT(to_table(Report{"n", {}, false, {}, {row}}), HasSubstr("MISSED"));
}

TEST(Random, NeighbouringSeedsShareNothing) {
  std::set<std::uint64_t> seen;
  for (std::uint64_t seed : {0ULL, 1ULL, 2ULL, 0x9E3779B97F4A7C15ULL}) {
    Random random(seed);
    for (int i = 0; i < 100; ++i) seen.insert(random.next());
  }
  EXPECT_EQ(seen.size(), 400u);
}

TEST(Options, ReadsTheCommonAndTheDriversOwn) {
  std::string dir = "/tmp";
  const char* argv[] = {"b", "--quick", "--filter", "read", "--dir", "/data"};
  const auto options = parse_options("t", 6, argv, {{"--dir", "where", &dir}});
  ASSERT_TRUE(options);
  EXPECT_TRUE(options->quick);
  EXPECT_EQ(options->pairs, 2u);
  EXPECT_EQ(options->filter, "read");
  EXPECT_EQ(dir, "/data");
}

TEST(Options, RefusesWhatItDoesNotKnow) {
  const char* unknown[] = {"b", "--fast"};
  const auto no_flag = parse_options("t", 2, unknown);
  ASSERT_FALSE(no_flag);
  EXPECT_THAT(no_flag.error().message, HasSubstr("--fast"));
  const char* bad_regex[] = {"b", "--filter", "("};
  const auto no_regex = parse_options("t", 3, bad_regex);
  ASSERT_FALSE(no_regex);
  EXPECT_THAT(no_regex.error().message, HasSubstr("regular expression"));
}

}  // namespace
}  // namespace reprise::bench
