#include "cli/explain_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "testing/command_line_fixture.h"

namespace reprise::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kKey = "6F3c0a519f2b84d7c01e5a3f7d9e2b48";
constexpr const char* kCopy =
    R"({"tenant": "default", "namespace": "059c60", "where": "memory", "bytes": 65536, "age_seconds": 200,
        "hits": 12, "readers": 2, "holders": ["session 3", "session 4"], "last_departure": "evicted",
        "departed_seconds": 7500})";
constexpr const char* kGone =
    R"({"tenant": "team-b", "namespace": "77", "where": "nowhere", "bytes": 0, "age_seconds": null, "hits": 0,
        "readers": 0, "holders": [], "last_departure": null, "departed_seconds": null})";

TEST(ExplainText, TellsWhatThePageSays) {
  const auto read = explain_text(std::string("[") + kCopy + "," + kGone + "]");
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->copies, 2U);
  EXPECT_THAT(read->text,
              AllOf(HasSubstr("tenant default, namespace 059c60"), HasSubstr("memory, 64.0 KiB, for 3 min 20 s"),
                    HasSubstr("session 3, session 4"), HasSubstr("evicted, 2 h 5 min ago")));
  EXPECT_THAT(read->text.substr(read->text.find("team-b")), AllOf(HasSubstr("nowhere"), Not(HasSubstr("leased by")),
                                                                  Not(HasSubstr("last copy")), Not(HasSubstr("null"))));
}

TEST(ExplainText, TakesAnObjectThatHoldsTheArrayAndRefusesTheRest) {
  EXPECT_EQ(explain_text(std::string(R"({"key": "6f", "copies": [)") + kCopy + "]}")->copies, 1U);
  EXPECT_EQ(explain_text("[]")->copies, 0U);
  for (const char* body : {"", "{}", "7", "[1]", "<html>", "[{\"tenant\":"}) {
    EXPECT_FALSE(explain_text(body).has_value()) << body;
  }
  EXPECT_TRUE(explain_text(R"([{"holders": 7, "bytes": "x", "age_seconds": 1e300}])").has_value())
      << "odd, but harmless";
}

class Explain : public testing::CommandLineTest {};

TEST_F(Explain, AsksTheAdminPage) {
  http_answer_ = HttpAnswer{200, std::string("[") + kCopy + "]"};
  EXPECT_EQ(run({"explain", kKey}), kOk);
  EXPECT_THAT(out_.str(), HasSubstr("tenant default"));
  EXPECT_EQ(asked_.at(0).first, "http://127.0.0.1:9601/v1/explain?key=6f3c0a519f2b84d7c01e5a3f7d9e2b48");
  EXPECT_EQ(asked_.at(0).second, "");
  EXPECT_EQ(run({"explain", kKey, "--admin", "host:1/", "--token-file", file("token", "secret \n"), "--json"}), kOk);
  EXPECT_TRUE(asked_.at(1).first.starts_with("http://host:1/v1/explain?")) << asked_.at(1).first;
  EXPECT_EQ(asked_.at(1).second, "secret");
  EXPECT_EQ(out_.str(), std::string("[") + kCopy + "]\n");
}

TEST_F(Explain, SaysWhatIsWrongAndWhatToDo) {
  EXPECT_EQ(run({"explain", kKey}), kProblem) << "nobody knows it";
  EXPECT_EQ(run({"explain", "6f3c"}), kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("32 hexadecimal digits"));
  EXPECT_EQ(run({"explain", std::string(32, 'g')}), kUsage);
  EXPECT_EQ(run({"explain", kKey, "--token-file", "/nonexistent"}), kUsage);
  EXPECT_THAT(err_.str(), AllOf(HasSubstr("--token-file"), HasSubstr("/nonexistent")));
  EXPECT_EQ(asked_.size(), 1U);
  for (const auto& [status, words] : std::vector<std::pair<int, const char*>>{
           {401, "--token-file"}, {404, "--listen-admin"}, {503, "503: draining"}, {200, "no list of copies"}}) {
    http_answer_ = HttpAnswer{status, "draining"};
    EXPECT_EQ(run({"explain", kKey}), kUsage);
    EXPECT_THAT(err_.str(), HasSubstr(words)) << status;
  }
  http_answer_ = fail(ErrorCode::kIo, "no answer from http://127.0.0.1:9601");
  EXPECT_EQ(run({"explain", kKey}), kUsage);
  EXPECT_THAT(err_.str(), AllOf(HasSubstr("no answer"), HasSubstr("--listen-admin")));
}

}  // namespace
}  // namespace reprise::cli
