#include "sim/trace_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <zstd.h>

#include <cstdlib>
#include <fstream>

namespace reprise::sim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::string_view kGood = R"({"timestamp": 27, "input_length": 600, "output_length": 3, "hash_ids": [0, 46]})";

std::string line_of(std::string_view timestamp, std::string_view input, std::string_view ids) {
  return "{\"timestamp\":" + std::string(timestamp) + ",\"input_length\":" + std::string(input) +
         ",\"output_length\":1,\"hash_ids\":" + std::string(ids) + "}";
}

std::string compress(std::string_view text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

struct Read {
  std::vector<std::uint64_t> first_ids;
  std::vector<std::uint64_t> bad_lines;
  std::string error;
};

Read read_all(TraceReader reader) {
  Read out;
  for (;;) {
    auto item = reader.next();
    if (!item) {
      out.error = item.error().message;
      return out;
    }
    if (std::holds_alternative<EndOfTrace>(*item)) return out;
    if (const auto* request = std::get_if<Request>(&*item)) out.first_ids.push_back(request->hash_ids.at(0));
    if (const auto* bad = std::get_if<BadLine>(&*item)) out.bad_lines.push_back(bad->number);
  }
}

TEST(ParseTraceLine, ReadsARequest) {
  const auto request = parse_trace_line(kGood, {});
  ASSERT_TRUE(request.has_value()) << request.error().message;
  EXPECT_EQ(request->timestamp_ms, 27);
  EXPECT_EQ(request->input_length, 600U);
  EXPECT_EQ(request->output_length, 3U);
  EXPECT_THAT(request->hash_ids, ElementsAre(0U, 46U));
}

TEST(ParseTraceLine, SaysWhatIsWrong) {
  const auto why = [](const std::string& line) {
    const auto request = parse_trace_line(line, {.line_bytes = 4096, .ids = 4});
    return request ? std::string("accepted") : request.error().message;
  };
  EXPECT_THAT(why("{"), HasSubstr("not JSON"));
  EXPECT_THAT(why("[1]"), HasSubstr("not a JSON object"));
  EXPECT_THAT(why("{\"timestamp\":1,\"input_length\":5}"), HasSubstr("hash_ids is missing"));
  EXPECT_THAT(why(line_of("\"x\"", "512", "[1]")), HasSubstr("timestamp"));
  EXPECT_THAT(why(line_of("-1", "512", "[1]")), HasSubstr("negative"));
  EXPECT_THAT(why(line_of("1", "-5", "[1]")), HasSubstr("input_length must be"));
  EXPECT_THAT(why(line_of("1", "4294967296", "[1]")), HasSubstr("input_length must be"));
  EXPECT_THAT(why(line_of("1", "513", "[1]")), HasSubstr("needs 2 blocks"));
  EXPECT_THAT(why(line_of("1", "512", "[-1]")), HasSubstr("from 0 on"));
  EXPECT_THAT(why(line_of("1", "512", "[1.5]")), HasSubstr("from 0 on"));
  EXPECT_THAT(why(line_of("1", "512", "7")), HasSubstr("must be a list"));
  EXPECT_THAT(why(line_of("1", "2560", "[1,2,3,4,5]")), HasSubstr("more than 4"));
  EXPECT_THAT(why(std::string(5000, ' ')), HasSubstr("longer than 4096"));
}

TEST(ParseTraceLine, TakesTheLargestId) {
  EXPECT_EQ(parse_trace_line(line_of("1", "1", "[18446744073709551615]"), {})->hash_ids.at(0), UINT64_MAX);
  EXPECT_FALSE(parse_trace_line(line_of("1", "1", "[18446744073709551616]"), {}).has_value());
}

TEST(TraceReader, SkipsBadLinesAndKeepsTheirNumbers) {
  const std::string text = std::string(kGood) + "\r\n\n{oops\n" + line_of("30", "100", "[7]") + "\nnull";
  const Read read = read_all(TraceReader::over(text));
  EXPECT_THAT(read.first_ids, ElementsAre(0U, 7U));
  EXPECT_THAT(read.bad_lines, ElementsAre(3U, 5U));
  EXPECT_EQ(read.error, "");
}

TEST(TraceReader, DropsALineBeyondTheLimitWithoutHoldingIt) {
  const std::string text =
      line_of("1", "1", "[5]") + "\n" + std::string(3 << 20, 'x') + "\n" + line_of("2", "1", "[6]");
  const Read read = read_all(TraceReader::over(text, {.line_bytes = 1000}));
  EXPECT_THAT(read.first_ids, ElementsAre(5U, 6U));
  EXPECT_THAT(read.bad_lines, ElementsAre(2U));
  EXPECT_THAT(read_all(TraceReader::over(std::string(3 << 20, 'x'), {.line_bytes = 1000})).bad_lines, ElementsAre(1U));
}

TEST(TraceReader, ReadsZstdFramesOneAfterTheOther) {
  std::string lines;
  for (int i = 0; i < 5000; ++i) lines += line_of("1", "1", "[" + std::to_string(i) + "]") + "\n";
  const Read read = read_all(TraceReader::over(compress(lines) + compress(line_of("2", "1", "[77]"))));
  ASSERT_EQ(read.first_ids.size(), 5001U);
  EXPECT_EQ(read.first_ids[4999], 4999U);
  EXPECT_EQ(read.first_ids[5000], 77U);
}

TEST(TraceReader, BrokenCompressionIsAnErrorAfterWhatWasWhole) {
  std::string lines;
  for (int i = 0; i < 100'000; ++i) lines += line_of("1", "1", "[" + std::to_string(i) + "]") + "\n";
  const std::string whole = compress(lines);
  const Read cut = read_all(TraceReader::over(whole.substr(0, whole.size() - 9)));
  EXPECT_THAT(cut.error, HasSubstr("zstd"));
  EXPECT_GT(cut.first_ids.size(), 0U);
  std::string flipped = whole;
  for (std::size_t i = whole.size() / 2; i < whole.size(); ++i) flipped[i] = static_cast<char>(0xA5);
  EXPECT_THAT(read_all(TraceReader::over(flipped)).error, HasSubstr("zstd"));
}

TEST(TraceReader, NamesAFileItCannotRead) {
  EXPECT_THAT(TraceReader::open("/nonexistent/t.jsonl").error().message, HasSubstr("/nonexistent/t.jsonl"));
  // A directory opens, and only fails to read.
  const auto directory = TraceReader::open("/");
  EXPECT_FALSE(directory.has_value());
}

TEST(ReadTrace, StopsAfterTheRequestsAskedFor) {
  std::string path = ::testing::TempDir() + "/trace_reader_test_XXXXXX";
  close(mkstemp(path.data()));
  std::ofstream(path) << "bad\n" << kGood << "\n" << kGood << "\n" << kGood << "\nbad\n";
  std::vector<std::uint64_t> bad;
  const auto skip = [&](const BadLine& line) {
    bad.push_back(line.number);
    return true;
  };
  EXPECT_EQ(read_trace(path, {}, skip, 2)->size(), 2U);
  EXPECT_THAT(bad, ElementsAre(1U));
  bad.clear();
  EXPECT_EQ(read_trace(path, {}, skip)->size(), 3U);
  EXPECT_THAT(bad, ElementsAre(1U, 5U));
  EXPECT_EQ(read_trace(path, {}, [](const BadLine&) { return false; })->size(), 0U);
  unlink(path.c_str());
}

}  // namespace
}  // namespace reprise::sim
