#include "server/auth_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "testing/temp_dir.h"

namespace reprise {
namespace {

using ::testing::HasSubstr;

constexpr const char* kGood = R"(
[[tenant]]
name = "team-a"
capacity = "8MiB"
operations-per-second = 100
tokens = ["a1:0123456789abcdef", "a2:fedcba9876543210"]

[[tenant]]
name = "team-b"
salt = "pepper"
capacity = "1MiB"
l2-url = "mock:"
)";

std::string error_of(const std::string& text) {
  const auto parsed = parse_auth_file(text, "auth.toml");
  if (parsed) return "accepted";
  EXPECT_EQ(parsed.error().code, ErrorCode::kConfig);
  return parsed.error().message;
}

TEST(AuthFile, ReadsTenantsAndTokens) {
  const auto parsed = parse_auth_file(kGood, "auth.toml");
  ASSERT_TRUE(parsed) << parsed.error().message;
  ASSERT_EQ(parsed->size(), 2U);
  const TenantSpec& a = parsed->at(0);
  EXPECT_EQ(a.name, "team-a");
  EXPECT_EQ(a.salt, "team-a");
  EXPECT_EQ(a.capacity, 8ULL << 20);
  EXPECT_EQ(a.operations_per_second, 100U);
  ASSERT_EQ(a.tokens.size(), 2U);
  EXPECT_EQ(a.tokens[1].key_id, "a2");
  EXPECT_EQ(a.tokens[1].secret, "fedcba9876543210");
  EXPECT_EQ(parsed->at(1).salt, "pepper");
  EXPECT_EQ(parsed->at(1).l2_url, "mock:");
}

TEST(AuthFile, SaysWhereAndWhatIsWrong) {
  EXPECT_THAT(error_of("[[tenant]]\nname = \"a\"\n"), HasSubstr("needs a capacity"));
  EXPECT_THAT(error_of("[[tenant]]\nname = \"a\"\ncapacity = \"much\"\n"), HasSubstr("auth.toml:3"));
  EXPECT_THAT(error_of("[[tenant]]\ncapacity = \"1MiB\"\n"), HasSubstr("needs a name"));
  EXPECT_THAT(error_of("[[tenant]]\nname = \"a\"\ncapacity = \"1MiB\"\nquota = 1\n"), HasSubstr("no 'quota'"));
  EXPECT_THAT(error_of("[[tenant]]\nname = \"a\"\ncapacity = \"1MiB\"\ntokens = [\"x:short\"]\n"),
              HasSubstr("shorter"));
  EXPECT_THAT(error_of("[[tenant]]\nname = \"a\"\ncapacity = \"1MiB\"\ntokens = \"x\"\n"), HasSubstr("list"));
  EXPECT_THAT(error_of("[[tenant]]\nname = \"default\"\ncapacity = \"1MiB\"\n"), HasSubstr("otherwise"));
  EXPECT_THAT(error_of("tenant = 1\n"), HasSubstr("[[tenant]]"));
  EXPECT_THAT(error_of(""), HasSubstr("[[tenant]]"));
  EXPECT_THAT(error_of("[[tenant\n"), HasSubstr("auth.toml:1"));
  EXPECT_THAT(error_of(std::string(kGood) + "[[tenant]]\nname = \"team-a\"\ncapacity = \"1MiB\"\n"),
              HasSubstr("two tenants"));
  EXPECT_THAT(error_of(std::string(kGood) +
                       "[[tenant]]\nname = \"c\"\ncapacity = \"1MiB\"\ntokens = [\"a1:0123456789abcdef\"]\n"),
              HasSubstr("two tokens"));
}

TEST(AuthFile, OthersMustNotBeAbleToReadIt) {
  const testing::TempDir dir;
  const std::string path = dir.path() + "/auth.toml";
  std::ofstream(path) << kGood;
  ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
  const auto open = read_auth_file(path);
  ASSERT_FALSE(open);
  EXPECT_THAT(open.error().message, HasSubstr("chmod 600"));
  ASSERT_EQ(::chmod(path.c_str(), 0600), 0);
  EXPECT_TRUE(read_auth_file(path));
  EXPECT_THAT(read_auth_file(dir.path() + "/none").error().message, HasSubstr("No such file"));
}

}  // namespace
}  // namespace reprise
