// /metrics: its grammar, its numbers, and that docs/metrics.md lists exactly what is served.
#include "server/admin/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "testing/fake_server_view.h"

namespace reprise::admin {
namespace {

struct Family {
  std::string type;
  std::string help;
  std::set<std::string> labels;
};

struct Served {
  std::map<std::string, Family> families;
  std::map<std::string, double> samples;  ///< By name and labels as written.
};

/// Reads the text format; every line must be of its grammar.
Served parse(const std::string& text) {
  static const std::regex kComment("# (HELP|TYPE) ([a-z_]+) (.+)");
  static const std::regex kSample(
      R"re(([a-z_0-9]+)(\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (-?[0-9.]+(?:e[+-]?[0-9]+)?|\+Inf|NaN))re");
  static const std::regex kLabel(R"re(([a-z_]+)="((?:[^"\\]|\\.)*)")re");
  Served served;
  std::istringstream lines(text);
  std::string last;
  for (std::string line; std::getline(lines, line);) {
    std::smatch m;
    if (std::regex_match(line, m, kComment)) {
      last = m[2];
      (m[1] == "HELP" ? served.families[last].help : served.families[last].type) = m[3];
      continue;
    }
    EXPECT_TRUE(std::regex_match(line, m, kSample)) << line;
    EXPECT_TRUE(m[1].str().starts_with(last)) << line << " stands below " << last;
    EXPECT_TRUE(served.samples.emplace(m[1].str() + m[2].str(), std::strtod(m[4].str().c_str(), nullptr)).second)
        << "twice: " << line;
    const std::string labels = m[3];
    for (std::sregex_iterator it(labels.begin(), labels.end(), kLabel), end; it != end; ++it) {
      if ((*it)[1] != "le") served.families[last].labels.insert((*it)[1]);
    }
  }
  return served;
}

TEST(Metrics, FollowTheGrammarAndTheConventions) {
  const testing::FakeServerView view;
  const std::string text = metrics_text(view);
  EXPECT_TRUE(text.ends_with('\n'));
  const Served served = parse(text);
  EXPECT_GT(served.families.size(), 40u);
  for (const auto& [name, family] : served.families) {
    EXPECT_TRUE(name.starts_with("reprise_")) << name;
    EXPECT_EQ(name.ends_with("_total"), family.type == "counter") << name;
    EXPECT_TRUE(family.help.ends_with('.')) << name;
  }
}

TEST(Metrics, AreTheViewsNumbers) {
  const testing::FakeServerView view;
  auto samples = parse(metrics_text(view)).samples;
  EXPECT_EQ(samples[R"(reprise_hits_total{tenant="default",tier="l1"})"], 900);
  EXPECT_EQ(samples[R"(reprise_hits_total{tenant="default",tier="l2"})"], 300);
  EXPECT_FALSE(samples.contains(R"(reprise_hits_total{tenant="team-b",tier="l2"})")) << "it has no L2";
  EXPECT_EQ(samples[R"(reprise_capacity_bytes{tenant="team-b",tier="l1"})"], 64 << 20);
  EXPECT_EQ(samples[R"(reprise_requested_total{tenant="default"})"], 2000);
  EXPECT_EQ(samples[R"(reprise_short_answers_total{tenant="default",reason="miss"})"], 41);
  EXPECT_EQ(samples[R"(reprise_departures_total{tenant="team-b",reason="erased"})"], 8);
  EXPECT_EQ(samples[R"(reprise_connections_closed_total{reason="peer"})"], 14);
  EXPECT_EQ(samples["reprise_ready"], 1);
  EXPECT_EQ(samples["reprise_uptime_seconds"], 90);
  EXPECT_GT(samples["reprise_resident_memory_bytes"], 1 << 20);
}

TEST(Metrics, CountBeyondAMillionExactly) {
  testing::FakeServerView view;
  view.change([](auto& value) { value.tenants[0].stats.l1.hits = 9'007'199'254'740'993 - 2; });
  EXPECT_EQ(parse(metrics_text(view)).samples[R"(reprise_hits_total{tenant="default",tier="l1"})"],
            9'007'199'254'740'991.0);
}

TEST(Metrics, HistogramsAddUp) {
  const testing::FakeServerView view;
  auto samples = parse(metrics_text(view)).samples;
  const std::string name = "reprise_request_duration_seconds";
  EXPECT_EQ(samples[name + R"(_bucket{message="acquire",le="8e-06"})"], 0);
  EXPECT_EQ(samples[name + R"(_bucket{message="acquire",le="1.6e-05"})"], 50);
  EXPECT_EQ(samples[name + R"(_bucket{message="acquire",le="8.388608"})"], 99);
  EXPECT_EQ(samples[name + R"(_bucket{message="acquire",le="+Inf"})"], 100);
  EXPECT_EQ(samples[name + R"(_count{message="acquire"})"], 100);
  EXPECT_DOUBLE_EQ(samples[name + R"(_sum{message="acquire"})"], 0.06);
}

TEST(Metrics, LabelsAreEscaped) {
  testing::FakeServerView view;
  view.change([](auto& value) { value.tenants[0].name = "a\"b\\c\nd"; });
  EXPECT_TRUE(parse(metrics_text(view)).samples.contains(R"(reprise_leases{tenant="a\"b\\c\nd"})"));
}

TEST(Metrics, QuantilesOfLatency) {
  MessageView message;
  EXPECT_EQ(latency_quantile(message, 0.5), 0);
  message.latency[0] = 10;
  EXPECT_DOUBLE_EQ(latency_quantile(message, 0.5), 0.5e-6);
  message.latency[3] = 10;
  EXPECT_DOUBLE_EQ(latency_quantile(message, 0.5), 1e-6);
  EXPECT_DOUBLE_EQ(latency_quantile(message, 0.75), 6e-6);
  EXPECT_DOUBLE_EQ(latency_quantile(message, 1), 8e-6);
  message.latency[MessageView::kBuckets] = 1000;
  EXPECT_DOUBLE_EQ(latency_quantile(message, 0.99), latency_bound(MessageView::kBuckets - 1));
}

TEST(Metrics, AreThoseOfTheDocument) {
  const testing::FakeServerView view;
  std::string rows;
  for (const auto& [name, family] : parse(metrics_text(view)).families) {
    std::string labels;
    for (const std::string& label : family.labels) labels += (labels.empty() ? "`" : ", `") + label + "`";
    rows += "| `" + name + "` | " + family.type + " | " + labels + " | " + family.help + " |\n";
  }
  std::ifstream page(REPRISE_SOURCE_DIR "/docs/metrics.md");
  std::string written;
  for (std::string line; std::getline(page, line);) {
    if (line.starts_with("| `reprise_")) written += line + "\n";
  }
  EXPECT_EQ(written, rows) << "the rows of docs/metrics.md should be these:\n" << rows;
}

}  // namespace
}  // namespace reprise::admin
