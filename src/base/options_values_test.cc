#include "base/options_values.h"

#include <gtest/gtest.h>

namespace reprise {
namespace {

TEST(Size, ReadsWhatPeopleWrite) {
  EXPECT_EQ(read_size("0").value(), 0U);
  EXPECT_EQ(read_size("4096").value(), 4096U);
  EXPECT_EQ(read_size("4KiB").value(), 4096U);
  EXPECT_EQ(read_size(" 10 gib ").value(), 10ULL << 30);
  EXPECT_EQ(read_size("1.5MiB").value(), 3ULL << 19);
  EXPECT_EQ(read_size("7B").value(), 7U);
  EXPECT_EQ(read_size("2GB").value(), 2'000'000'000U);
}

TEST(Size, RefusesTheRest) {
  for (const char* text :
       {"", "KiB", "4K", "4Ki", "-1", "1.", ".", "1.2.3KiB", "0.3B", "4 KiB x", "0x10", "1e3", "99999999999999999999",
        "0.0000000000000000000000000000000000000000000000000000000000000000000", "9999999999TiB"}) {
    EXPECT_FALSE(read_size(text).has_value()) << text;
  }
}

TEST(Size, FormatIsReadBackExactly) {
  for (const std::uint64_t n : {0ULL, 1ULL, 1023ULL, 1024ULL, 5000ULL, 1ULL << 30, (1ULL << 40) + 1, 3ULL << 19}) {
    EXPECT_EQ(read_size(size_text(n)).value(), n) << size_text(n);
  }
  EXPECT_EQ(size_text(4096), "4KiB");
  EXPECT_EQ(size_text(5000), "5000B");
  EXPECT_EQ(approximate_size(4'100'000), "3.91 MiB");
  EXPECT_EQ(approximate_size(12), "12 B");
}

TEST(Duration, NeedsAUnitAndWholeMilliseconds) {
  using std::chrono::milliseconds;
  EXPECT_EQ(read_duration("500ms").value(), milliseconds(500));
  EXPECT_EQ(read_duration("2s").value(), milliseconds(2000));
  EXPECT_EQ(read_duration("1.5s").value(), milliseconds(1500));
  EXPECT_EQ(read_duration("3min").value(), milliseconds(180'000));
  EXPECT_EQ(read_duration("0").value(), milliseconds(0));
  for (const char* text : {"", "5", "1.5ms", "2 days", "-1s", "10000000h"}) {
    EXPECT_FALSE(read_duration(text).has_value()) << text;
  }
  EXPECT_EQ(duration_text(milliseconds(60'000)), "1min");
  EXPECT_EQ(duration_text(milliseconds(1'500)), "1500ms");
}

}  // namespace
}  // namespace reprise
