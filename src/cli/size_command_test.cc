#include "cli/size_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "testing/command_line_fixture.h"

namespace reprise::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class Size : public testing::CommandLineTest {
 protected:
  const std::string model_ = file("config.json", R"({"model_type": "llama", "hidden_size": 4096,
      "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8, "torch_dtype": "bfloat16"})");
};

TEST_F(Size, TellsTokensBlocksAndCapacity) {
  EXPECT_EQ(run({"size", "--model", model_, "--tokens", "32768", "--tp", "4"}), kOk) << err_.str();
  EXPECT_THAT(out_.str(),
              AllOf(HasSubstr("llama, 32 layers, 8 KV heads"), HasSubstr("128 KiB, 32.0 KiB on each of 4 ranks"),
                    HasSubstr("2.00 MiB, 512 KiB on each"), HasSubstr("32,768 tokens"), HasSubstr("4.00 GiB"),
                    HasSubstr("--l1-capacity 4GiB"), HasSubstr("1GiB for each rank")));
  EXPECT_EQ(run({"size", "--model", folder_.string()}), kOk) << "the folder will do";
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("a token"), Not(HasSubstr("ranks")), Not(HasSubstr("--l1-capacity"))));
}

TEST_F(Size, TellsProgramsTheSame) {
  EXPECT_EQ(run({"size", "--model", model_, "--tokens",     "1000",   "--requests",
                 "2",    "--tp",    "16",   "--pp",         "2",      "--block-tokens",
                 "32",   "--dtype", "fp8",  "--pod-memory", "160GiB", "--engine-memory",
                 "9GiB", "--json"}),
            kOk)
      << err_.str();
  const auto told = nlohmann::json::parse(out_.str());
  EXPECT_EQ(told["token_bytes"], 128 << 10);
  EXPECT_EQ(told["rank_token_bytes"], 4 << 10);
  EXPECT_EQ(told["head_copies"], 2);
  EXPECT_EQ(told["rank_block_bytes"], 128 << 10);
  EXPECT_EQ(told["needed"]["blocks"], 64);
  EXPECT_EQ(told["needed"]["bytes"], 64 * (4 << 20));
  EXPECT_EQ(told["needed"]["rank_bytes"], 64 * (128 << 10));
  EXPECT_EQ(told["fitting"]["rank_capacity_bytes"], 1 << 30);
  EXPECT_EQ(told["fitting"]["tokens"], (1 << 30) / (4 << 10));
}

TEST_F(Size, NotesWhatFiguresCannotShow) {
  const std::string odd = file("odd.json", R"({"num_attention_heads": 8, "num_hidden_layers": 5, "head_dim": 64,
      "num_key_value_heads": 1, "sliding_window": 512, "layer_types": ["sliding_attention", "sliding_attention",
      "full_attention", "linear_attention", "sliding_attention"]})");
  EXPECT_EQ(run({"size", "--model", odd, "--tp", "2", "--pp", "3", "--capacity", "1GiB"}), kOk) << err_.str();
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("on 2 ranks"), HasSubstr("last 512 tokens"), HasSubstr("states of 1 layers"),
                                HasSubstr("unlike numbers"), HasSubstr("6.00 GiB"), HasSubstr("for each rank hold")));
}

TEST_F(Size, RefusesWithTheReason) {
  const auto why = [this](std::vector<std::string> more, const std::string& model = "") {
    more.insert(more.begin(), {"size", "--model", model.empty() ? model_ : model});
    EXPECT_EQ(run(more), kUsage) << out_.str();
    return err_.str();
  };
  EXPECT_THAT(why({}, "/no/such/file"), HasSubstr("cannot read /no/such/file"));
  EXPECT_THAT(why({}, file("bad.json", "{")), HasSubstr("bad.json: it is no JSON object"));
  EXPECT_THAT(why({"--tp", "3"}), HasSubstr("8 KV heads"));
  EXPECT_THAT(why({"--tp", "0"}), HasSubstr("--tp"));
  EXPECT_THAT(why({"--tokens", "many"}), HasSubstr("--tokens"));
  EXPECT_THAT(why({"--capacity", "much"}), HasSubstr("--capacity"));
  EXPECT_THAT(why({"--capacity", "400"}), HasSubstr("400 bytes for each rank hold no block"));
  EXPECT_THAT(why({"--capacity", "1GiB", "--pod-memory", "1GiB"}), HasSubstr("not both"));
  EXPECT_THAT(why({"--engine-memory", "1GiB"}), HasSubstr("needs --pod-memory"));
  EXPECT_THAT(why({"--pod-memory", "1GiB", "--engine-memory", "2GiB"}), HasSubstr("nothing is left"));
  EXPECT_EQ(run({"size"}), kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("--model"));
}

}  // namespace
}  // namespace reprise::cli
