// put and get together: what goes in comes out, or the exit code says that it does not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "cli/named_chain.h"
#include "testing/command_line_fixture.h"

namespace reprise::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string noise(std::size_t size, unsigned seed = 1) {
  std::string out(size, '\0');
  for (char& c : out) c = static_cast<char>((seed = seed * 1'103'515'245 + 12'345) >> 16);
  return out;
}

class PutGet : public testing::CommandLineTest {
 protected:
  static constexpr std::size_t kBlock = 1024;
  static constexpr std::size_t kHolds = kBlock - 40;  // of a file
  PutGet() { cache_ = std::make_shared<testing::FakeCache>(8 << 20); }

  int put(const std::string& input, std::vector<std::string> extra = {}) {
    return run_with_input(input, with("put", std::move(extra)));
  }
  int get(std::vector<std::string> extra = {}) { return run(with("get", std::move(extra))); }

 private:
  static std::vector<std::string> with(const char* command, std::vector<std::string> extra) {
    extra.insert(extra.begin(), {command, "--block-bytes", std::to_string(kBlock)});
    return extra;
  }
};

TEST_F(PutGet, GivesBackFilesOfAnyLength) {
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, kHolds - 1, kHolds, kHolds + 1, 3 * kHolds, 300 * kHolds + 17, 512 * kHolds}) {
    const std::string input = noise(size);
    ASSERT_EQ(put(input), kOk) << size << err_.str();
    ASSERT_EQ(get(), kOk) << size << err_.str();
    EXPECT_TRUE(out_.str() == input) << size;
  }
  EXPECT_EQ(urls_.front(), "unix:///run/reprise/reprise.sock");
}

TEST_F(PutGet, AShorterFileReplacesALongerOneOfItsName) {
  EXPECT_EQ(put(noise(5 * kHolds, 1)), kOk);
  EXPECT_EQ(put(noise(2 * kHolds, 2)), kOk);
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("2 new, 0 present"), HasSubstr("first key ")));
  EXPECT_EQ(get(), kOk);
  EXPECT_TRUE(out_.str() == noise(2 * kHolds, 2));
}

TEST_F(PutGet, TextsAndNamespacesKeepFilesApart) {
  EXPECT_EQ(put("one", {"--prompt", "conversation number one"}), kOk);
  EXPECT_EQ(put("two", {"--prompt", "conversation number two"}), kOk);
  EXPECT_EQ(put("three", {"--prompt", "conversation number one", "--salt", "other"}), kOk);
  EXPECT_EQ(put("four", {"--prompt", "conversation number one", "--extra", "lora=x", "--extra", "rope=2"}), kOk);
  EXPECT_EQ(get({"--prompt", "conversation number one"}), kOk);
  EXPECT_EQ(out_.str(), "one");
  EXPECT_EQ(get({"--prompt", "conversation number two"}), kOk);
  EXPECT_EQ(out_.str(), "two");
  EXPECT_EQ(get({"--prompt", "conversation number one", "--extra", "rope=2", "--extra", "lora=x"}), kOk);
  EXPECT_EQ(out_.str(), "four");
  EXPECT_EQ(get({"--prompt", "conversation"}), kProblem);
  EXPECT_THAT(err_.str(), AllOf(HasSubstr("block 0: miss"), HasSubstr("prompt")));
}

TEST_F(PutGet, AFileAppearsOnlyWhenItIsComplete) {
  const std::string path = folder_ / "out.bin";
  EXPECT_EQ(get({path}), kProblem);
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_EQ(run({"put", file("in.bin", noise(3000)), "--block-bytes", "1024"}), kOk);
  EXPECT_EQ(get({path}), kOk);
  EXPECT_TRUE(content(path) == noise(3000));
  EXPECT_FALSE(std::filesystem::exists(path + ".part"));
  EXPECT_EQ(get({"/nonexistent/out.bin"}), kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("/nonexistent/out.bin"));
  EXPECT_EQ(run({"put", "/nonexistent/in.bin"}), kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("/nonexistent/in.bin"));
}

TEST_F(PutGet, WrongBytesAreNotGivenBack) {
  EXPECT_EQ(put(noise(5 * kHolds)), kOk);
  cache_ = std::make_shared<testing::FlippingCache>(cache_, 3);
  EXPECT_EQ(get(), kProblem);
  EXPECT_THAT(err_.str(), HasSubstr("block 2: is not of a 'reprise put'"));
}

// An older block that cannot be forgotten stays: put says so, and get does not mix two files.
TEST_F(PutGet, TwoFilesAreNeverMixed) {
  EXPECT_EQ(put(noise(kHolds, 1)), kOk);
  cache_ = std::make_shared<testing::ClingingCache>(cache_);
  EXPECT_EQ(put(noise(3 * kHolds, 2)), kProblem);
  EXPECT_THAT(out_.str(), HasSubstr("2 new, 1 present"));
  EXPECT_EQ(get(), kOk) << "the older file, whole";
  EXPECT_TRUE(out_.str() == noise(kHolds, 1));
  EXPECT_EQ(put(noise(5 * kHolds, 3), {"--prompt", "b"}), kOk);
  EXPECT_EQ(put(noise(7 * kHolds, 4), {"--prompt", "b"}), kProblem);
  EXPECT_EQ(get({"--prompt", "b"}), kOk);
  EXPECT_TRUE(out_.str() == noise(5 * kHolds, 3));
}

TEST_F(PutGet, WhatTheCacheDoesNotKeepIsAProblem) {
  cache_ = std::make_shared<testing::FakeCache>(3 * kBlock);
  EXPECT_EQ(put(noise(5 * kHolds)), kProblem);
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("3 new"), HasSubstr("2 declined (declined)")));
  EXPECT_EQ(get(), kProblem);
}

TEST_F(PutGet, TokensNameTheBlocksAnEngineAsksFor) {
  const std::string bytes = noise(2 * kBlock);
  EXPECT_EQ(put(bytes, {"--tokens", "1,2,3,4,5", "--block-tokens", "2", "--model", "m"}), kOk);
  const auto keys = block_keys(std::vector<std::uint32_t>{1, 2, 3, 4, 5}, 2);
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("2 blocks"), HasSubstr("first key " + (*keys)[0].hex()),
                                HasSubstr("last key  " + (*keys)[1].hex())));
  EXPECT_EQ(get({"--tokens", "@" + file("ids", "[1, 2, 3,\n4]"), "--block-tokens", "2", "--model", "m"}), kOk);
  EXPECT_TRUE(out_.str() == bytes);
  EXPECT_EQ(get({"--tokens", "1 2 3 4 5 6", "--block-tokens", "2", "--model", "m"}), kProblem)
      << "the third is missing";
  EXPECT_THAT(err_.str(), HasSubstr("block 2: miss"));
  // A short last block is filled up; a file that is too long is refused.
  EXPECT_EQ(put("abc", {"--tokens", "9,9", "--block-tokens", "2"}), kOk);
  EXPECT_EQ(get({"--tokens", "9,9", "--block-tokens", "2"}), kOk);
  EXPECT_EQ(out_.str(), "abc" + std::string(kBlock - 3, '\0'));
  EXPECT_EQ(put(noise(kBlock + 1), {"--tokens", "8,8", "--block-tokens", "2"}), kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("longer than the 1 blocks"));
}

TEST_F(PutGet, DryRunOnlyLooks) {
  EXPECT_EQ(get({"--dry-run"}), kProblem);
  EXPECT_EQ(put(noise(3 * kHolds)), kOk);
  const std::uint64_t hits = cache_->stats().l1.hits;
  EXPECT_EQ(get({"--dry-run"}), kOk);
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("3 blocks of 1KiB are there: 3 from memory"), HasSubstr("then miss")));
  EXPECT_EQ(get({"--dry-run", "--tokens", "1,2", "--block-tokens", "1"}), kProblem);
  EXPECT_THAT(out_.str(), HasSubstr("0 of 2 blocks"));
  EXPECT_EQ(cache_->stats().l1.hits, hits);
}

TEST_F(PutGet, DryRunFindsChainsLongerThanItsFirstQuestion) {
  cache_ = std::make_shared<testing::FakeCache>(8 << 20);
  EXPECT_EQ(run_with_input(noise(2500 * 24), {"put", "--block-bytes", "64"}), kOk);
  EXPECT_EQ(run({"get", "--dry-run", "--block-bytes", "64"}), kOk);
  EXPECT_THAT(out_.str(), HasSubstr("2,500 blocks"));
}

TEST_F(PutGet, BadArgumentsNameTheFlag) {
  const std::vector<std::vector<std::string>> cases = {{"--block-bytes", "40", "more than 40B"},
                                                       {"--block-bytes", "2GiB", "1GiB"},
                                                       {"--extra", "lora", "NAME=VALUE"},
                                                       {"--layers", "0", "namespace"},
                                                       {"--tokens", "1,x", "'x'"},
                                                       {"--tokens", "1,2", "no complete block of 16"},
                                                       {"--tokens", "@/nonexistent", "/nonexistent"},
                                                       {"--tokens", "4294967296", "token id"}};
  for (const auto& each : cases) {
    EXPECT_EQ(run({"put", each[0], each[1]}), kUsage) << each[0] << each[1];
    EXPECT_THAT(err_.str(), AllOf(HasSubstr(each[0] == "--layers" ? "layers" : each[0]), HasSubstr(each[2])));
  }
  EXPECT_TRUE(opened_.empty());
}

TEST_F(PutGet, NobodyThereIsSaid) {
  cache_ = std::make_shared<testing::AwayCache>();
  services_.environment = {"REPRISE_CACHE=tcp://far:9600"};
  EXPECT_EQ(put("x"), kUsage);
  EXPECT_THAT(err_.str(), AllOf(HasSubstr("nothing answers at 'tcp://far:9600'"), HasSubstr("reprise serve")));
  EXPECT_EQ(get({"--cache", "unix:///x"}), kUsage);
  EXPECT_EQ(urls_.back(), "unix:///x");
}

TEST_F(PutGet, BytesAreNotWrittenToATerminal) {
  out_is_tty_ = true;
  EXPECT_EQ(get(), kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("> FILE"));
}

TEST_F(PutGet, AnEmbeddedCacheWithoutAStoreIsWarnedAbout) {
  EXPECT_EQ(put("x", {"--cache", "embedded:"}), kOk);
  EXPECT_THAT(err_.str(), HasSubstr("ends with this command"));
  EXPECT_EQ(put("x", {"--cache", "embedded:", "--l2-url", "disk:/x"}), kOk);
  EXPECT_THAT(err_.str(), Not(HasSubstr("ends with this command")));
  EXPECT_EQ(opened_.back().l2_url, "disk:/x");
}

TEST_F(PutGet, StopsWhenToldTo) {
  stop_ = true;
  EXPECT_EQ(put(noise(5 * kHolds)), kInterrupted);
  EXPECT_EQ(get(), kInterrupted);
}

TEST(BlockNames, OfATextDoNotDependOnHowManyWereAskedFor) {
  ChainArguments arguments;
  auto names = BlockNames::create(arguments);
  ASSERT_TRUE(names.has_value());
  const BlockKey third = names->first(3)[2];
  EXPECT_EQ(names->first(100)[2], third);
  EXPECT_FALSE(names->is_fixed());
  arguments.prompt = "";
  auto nameless = BlockNames::create(arguments);
  EXPECT_NE(nameless->first(3)[2], third);
}

}  // namespace
}  // namespace reprise::cli
