#include "base/suggest.h"

#include <gtest/gtest.h>

#include <array>

namespace reprise {
namespace {

constexpr std::array<std::string_view, 4> kNames = {"replay", "check", "options", "l1.capacity"};

TEST(NearestName, FindsTypingMistakes) {
  EXPECT_EQ(nearest_name("reply", kNames), "replay");
  EXPECT_EQ(nearest_name("chekc", kNames), "check");
  EXPECT_EQ(nearest_name("l1.capasity", kNames), "l1.capacity");
  EXPECT_EQ(did_you_mean("optoins", kNames), " (did you mean 'options'?)");
}

TEST(NearestName, StaysQuietWhenNothingIsNear) {
  EXPECT_EQ(nearest_name("serve", kNames), "");
  EXPECT_EQ(nearest_name(std::string(10'000, 'x'), kNames), "");
  EXPECT_EQ(did_you_mean("", kNames), "");
}

}  // namespace
}  // namespace reprise
