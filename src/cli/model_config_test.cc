#include "cli/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace reprise::cli {
namespace {

using ::testing::HasSubstr;

std::string why_not(const std::string& json) {
  const auto read = read_model_config(json);
  return read ? "it was read" : read.error().message;
}

TEST(ModelConfig, ReadsAModelWithGroupedQueries) {
  const auto shape = read_model_config(R"({"model_type": "llama", "hidden_size": 4096, "num_attention_heads": 32,
      "num_hidden_layers": 32, "num_key_value_heads": 8, "torch_dtype": "bfloat16"})");
  ASSERT_TRUE(shape) << shape.error().message;
  EXPECT_EQ(shape->type, "llama");
  EXPECT_EQ(shape->dtype, "bfloat16");
  EXPECT_EQ(shape->full_layers, 32U);
  EXPECT_EQ(shape->window_layers, 0U);
  EXPECT_EQ(shape->kv_heads, 8U);
  EXPECT_EQ(shape->head_width, 256U);
  EXPECT_FALSE(shape->latent);
}

TEST(ModelConfig, AHeadMayBeWiderThanItsShareAndWithoutGroupsEveryHeadIsKept) {
  const auto wide = read_model_config(R"({"hidden_size": 1024, "num_attention_heads": 16, "head_dim": 128,
      "num_hidden_layers": 28, "num_key_value_heads": 8})");
  EXPECT_EQ(wide->head_width, 256U);
  const auto plain = read_model_config(R"({"n_embd": 768, "n_head": 12, "n_layer": 12})");
  EXPECT_EQ(plain->kv_heads, 12U);
  EXPECT_EQ(plain->head_width, 128U);
  const auto unlike = read_model_config(R"({"num_attention_heads": 64, "head_dim": 192, "v_head_dim": 128,
      "num_hidden_layers": 48, "num_key_value_heads": 4})");
  EXPECT_EQ(unlike->head_width, 320U);
}

TEST(ModelConfig, CompressedKvIsOneVectorForAllHeads) {
  const auto shape = read_model_config(R"({"model_type": "deepseek_v3", "num_attention_heads": 128,
      "num_hidden_layers": 61, "num_key_value_heads": 128, "kv_lora_rank": 512, "qk_rope_head_dim": 64,
      "qk_nope_head_dim": 128, "v_head_dim": 128, "hidden_size": 7168, "num_nextn_predict_layers": 1})");
  ASSERT_TRUE(shape) << shape.error().message;
  EXPECT_TRUE(shape->latent);
  EXPECT_EQ(shape->kv_heads, 1U);
  EXPECT_EQ(shape->head_width, 576U);
  EXPECT_EQ(shape->full_layers, 61U);
}

// {what a config adds, layers that need every token, layers with a window, the window} of 12 layers.
struct Windows {
  std::string added;
  std::uint64_t full, windowed, window;
};

TEST(ModelConfig, TellsLayersWithAWindow) {
  const std::vector<Windows> cases{
      {R"("sliding_window": 4096, "model_type": "mistral")", 0, 12, 4096},
      {R"("sliding_window": null, "model_type": "mistral")", 12, 0, 0},
      {R"("sliding_window": 32768, "use_sliding_window": false, "max_window_layers": 12)", 12, 0, 0},
      {R"("sliding_window": 32768, "use_sliding_window": true, "max_window_layers": 9)", 9, 3, 32768},
      {R"("sliding_window": 4096, "model_type": "gemma2")", 6, 6, 4096},
      {R"("sliding_window": 1024, "sliding_window_pattern": 6)", 2, 10, 1024},
      {R"("sliding_window": 512, "model_type": "gemma3_text")", 2, 10, 512},
      {R"("attention_chunk_size": 8192, "model_type": "llama4_text")", 3, 9, 8192},
      {R"("sliding_window": 512, "num_kv_shared_layers": 6, "layer_types": ["sliding_attention", "sliding_attention",
          "sliding_attention", "sliding_attention", "full_attention", "sliding_attention", "full_attention"])",
       1, 5, 512}};
  for (const Windows& each : cases) {
    const auto shape =
        read_model_config(R"({"num_attention_heads": 8, "num_hidden_layers": 12, "head_dim": 64, )" + each.added + "}");
    ASSERT_TRUE(shape) << each.added << ": " << shape.error().message;
    EXPECT_EQ(shape->full_layers, each.full) << each.added;
    EXPECT_EQ(shape->window_layers, each.windowed) << each.added;
    EXPECT_EQ(shape->window, each.window) << each.added;
  }
}

TEST(ModelConfig, LayersWithoutKvAreCountedApart) {
  const auto shape = read_model_config(R"({"num_attention_heads": 8, "num_hidden_layers": 4, "head_dim": 64,
      "linear_num_value_heads": 32,
      "layer_types": ["linear_attention", "linear_attention", "linear_attention", "full_attention"]})");
  ASSERT_TRUE(shape) << shape.error().message;
  EXPECT_EQ(shape->full_layers, 1U);
  EXPECT_EQ(shape->state_layers, 3U);
}

TEST(ModelConfig, FindsTheLanguageModelWithinAnother) {
  for (const char* json :
       {R"({"torch_dtype": "float16", "vision_config": {"num_hidden_layers": 5}, "text_config": {"model_type": "t",
            "num_attention_heads": 8, "num_hidden_layers": 12, "head_dim": 64}})",
        R"({"dtype": "float16", "thinker_config": {"text_config": {"model_type": "t", "num_attention_heads": 8,
            "num_hidden_layers": 12, "head_dim": 64}}})"}) {
    const auto shape = read_model_config(json);
    ASSERT_TRUE(shape) << shape.error().message;
    EXPECT_EQ(shape->full_layers, 12U);
    EXPECT_EQ(shape->dtype, "float16");
    EXPECT_EQ(shape->type, "t");
  }
}

TEST(ModelConfig, RefusesWhatItCannotUseByName) {
  EXPECT_THAT(why_not(""), HasSubstr("no JSON object"));
  EXPECT_THAT(why_not("[1]"), HasSubstr("no JSON object"));
  EXPECT_THAT(why_not("{}"), HasSubstr("'num_hidden_layers'"));
  EXPECT_THAT(why_not(R"({"num_hidden_layers": 12})"), HasSubstr("'num_attention_heads'"));
  EXPECT_THAT(why_not(R"({"num_hidden_layers": 12, "num_attention_heads": 8})"), HasSubstr("'hidden_size'"));
  EXPECT_THAT(why_not(R"({"num_hidden_layers": 0, "num_attention_heads": 8})"), HasSubstr("is 0"));
  EXPECT_THAT(why_not(R"({"num_hidden_layers": -3})"), HasSubstr("'num_hidden_layers' is -3"));
  EXPECT_THAT(why_not(R"({"num_hidden_layers": "many"})"), HasSubstr("\"many\""));
  EXPECT_THAT(why_not(R"({"num_hidden_layers": 1e300})"), HasSubstr("no number"));
  EXPECT_THAT(why_not(R"({"num_hidden_layers": 99999999})"), HasSubstr("no number"));
  const std::string model = R"({"num_attention_heads": 8, "num_hidden_layers": 2, "head_dim": 64, )";
  EXPECT_THAT(why_not(model + R"("layer_types": ["full_attention"]})"), HasSubstr("fewer entries"));
  EXPECT_THAT(why_not(model + R"("layer_types": ["full_attention", "odd"]})"), HasSubstr("'odd'"));
  EXPECT_THAT(why_not(model + R"("layer_types": ["full_attention", "sliding_attention"]})"),
              HasSubstr("'sliding_window'"));
  EXPECT_THAT(why_not(model + R"("mamba_d_state": 128})"), HasSubstr("hybrid"));
  EXPECT_THAT(why_not(model + R"("num_key_value_heads": [1, 2]})"), HasSubstr("'num_key_value_heads'"));
  EXPECT_THAT(why_not(model + R"("kv_lora_rank": 512})"), HasSubstr("'qk_rope_head_dim'"));
}

}  // namespace
}  // namespace reprise::cli
