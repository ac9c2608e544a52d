#include "base/size.h"

#include <gtest/gtest.h>

#include "base/url.h"

namespace reprise {
namespace {

TEST(Size, ReadsUnits) {
  EXPECT_EQ(*parse_size("capacity", "4096"), 4096u);
  EXPECT_EQ(*parse_size("capacity", "64MiB"), 64u << 20);
  EXPECT_EQ(*parse_size("capacity", "1.5GiB"), 3ULL << 29);
  EXPECT_EQ(*parse_size("capacity", "10GB"), 10'000'000'000u);
  EXPECT_EQ(*parse_size("capacity", "9007199254740993"), 9007199254740993u);
}

TEST(Size, ErrorsNameOptionAndValue) {
  for (const char* text : {"", "MiB", "-1", "64 MiB", "64mib", "9999999999TiB", "0x10", "nan", "inf", "1e3"}) {
    const auto size = parse_size("segment", text);
    ASSERT_FALSE(size.has_value()) << text;
    EXPECT_EQ(size.error().code, ErrorCode::kConfig);
    EXPECT_NE(size.error().message.find(std::string("segment=") + text), std::string::npos) << size.error().message;
  }
}

TEST(Size, ReadsDurations) {
  EXPECT_EQ(*parse_duration("delay", "250us"), std::chrono::microseconds(250));
  EXPECT_EQ(*parse_duration("delay", "1.5s"), std::chrono::milliseconds(1500));
  EXPECT_EQ(*parse_duration("ttl", "2h"), std::chrono::hours(2));
  EXPECT_EQ(*parse_duration("ttl", "0"), Duration(0)) << "in any unit";
  EXPECT_FALSE(parse_duration("delay", "5"));
}

TEST(Size, Formats) {
  EXPECT_EQ(format_size(64u << 20), "64MiB");
  EXPECT_EQ(format_size(3ULL << 29), "1.5GiB");
  EXPECT_EQ(format_size(512), "512B");
}

TEST(Url, TakesPartsApart) {
  auto url = Url::parse("disk:/var/lib/x?capacity=10GiB&io=plain");
  ASSERT_TRUE(url);
  EXPECT_EQ(url->scheme(), "disk");
  EXPECT_EQ(url->path(), "/var/lib/x");
  EXPECT_EQ(*url->take_size("capacity", 0), 10ULL << 30);
  EXPECT_EQ(*url->take_size("segment", 7), 7u);
  EXPECT_FALSE(url->finish()) << "io was not taken";
  static constexpr std::string_view kForms[] = {"auto", "plain"};
  EXPECT_EQ(*url->take_choice("io", kForms, 0), 1u);
  EXPECT_TRUE(url->finish());
}

TEST(Url, MisspeltOptionsAreErrors) {
  auto url = Url::parse("disk:/x?capactiy=10GiB");
  (void)url->take_size("capacity", 0);
  EXPECT_NE(url->finish().error().message.find("capactiy"), std::string::npos);
  EXPECT_NE(url->finish().error().message.find("there are: capacity"), std::string::npos);
  for (const char* text : {"", "disk", ":/x", "disk:/x?=1", "disk:/x?a", "disk:/x?a=1&a=2"}) {
    EXPECT_FALSE(Url::parse(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace reprise
