#include "wire/frame.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

namespace reprise::wire {
namespace {

FrameHeader sample() {
  FrameHeader header;
  header.type = Type::kPut;
  header.request = 0x1122334455667788;
  header.timeout_us = 2500;
  header.payload_bytes = 1 << 20;
  return header;
}
Bytes bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

TEST(Frame, ComesBackAsItWasSent) {
  const std::string body(1000, 'b');
  const HeaderBytes bytes = encode_header(sample(), bytes_of(body));
  const Decoded decoded = decode_header(bytes, kMaxBody, kMaxPayload);
  EXPECT_EQ(decoded.fault, FrameFault::kNone);
  EXPECT_EQ(decoded.header.type, Type::kPut);
  EXPECT_EQ(decoded.header.request, 0x1122334455667788);
  EXPECT_EQ(decoded.header.body_bytes, 1000);
  EXPECT_EQ(decoded.header.timeout_us, 2500);
  EXPECT_EQ(decoded.header.payload_bytes, 1 << 20);
  EXPECT_TRUE(checksum_holds(bytes, bytes_of(body)));
}

TEST(Frame, HasTheLayoutOfTheDocument) {
  const HeaderBytes bytes = encode_header(sample(), {});
  EXPECT_EQ(std::memcmp(bytes.data(), "RPR1", 4), 0);
  EXPECT_EQ(static_cast<int>(bytes[4]), kVersion);
  EXPECT_EQ(static_cast<int>(bytes[6]), 50);
  EXPECT_EQ(static_cast<int>(bytes[8]), 0x88);
  EXPECT_EQ(static_cast<int>(bytes[26]), 0x10);
}

TEST(Frame, EveryFlippedBitIsSeen) {
  const std::string body = "a body";
  const HeaderBytes bytes = encode_header(sample(), bytes_of(body));
  for (std::size_t bit = 0; bit < kHeaderBytes * 8; ++bit) {
    HeaderBytes damaged = bytes;
    damaged[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_FALSE(checksum_holds(damaged, bytes_of(body))) << bit;
  }
  for (std::size_t bit = 0; bit < body.size() * 8; ++bit) {
    std::string damaged = body;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_FALSE(checksum_holds(bytes, bytes_of(damaged))) << bit;
  }
}

TEST(Frame, LengthsAreCheckedAgainstTheCaps) {
  FrameHeader header = sample();
  header.payload_bytes = 4ULL << 30;
  EXPECT_EQ(decode_header(encode_header(header, {}), kMaxBody, kMaxPayload).fault, FrameFault::kTooLong);
  const std::string body(5000, 'b');
  EXPECT_EQ(decode_header(encode_header(sample(), bytes_of(body)), kMaxBodyEarly, kMaxPayload).fault,
            FrameFault::kTooLong);
}

TEST(Frame, OtherVersionsAreRefusedExceptInAHello) {
  FrameHeader header = sample();
  header.version = kVersion + 1;
  EXPECT_EQ(decode_header(encode_header(header, {}), kMaxBody, kMaxPayload).fault, FrameFault::kVersionUnknown);
  header.type = Type::kHello;
  EXPECT_EQ(decode_header(encode_header(header, {}), kMaxBody, kMaxPayload).fault, FrameFault::kNone);
  header.version = 0;
  header.type = Type::kMatch;
  EXPECT_EQ(decode_header(encode_header(header, {}), kMaxBody, kMaxPayload).fault, FrameFault::kVersionUnknown);
}

TEST(Frame, SomebodyElsesProtocolIsRecognised) {
  const std::string http = "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n";
  const auto bytes = bytes_of(http).first<kHeaderBytes>();
  EXPECT_EQ(decode_header(bytes, kMaxBody, kMaxPayload).fault, FrameFault::kForeign);
}

TEST(MessageTable, NamesAndTypesAreUnique) {
  std::set<std::string_view> names;
  std::set<Type> types;
  for (const MessageSpec& spec : message_table()) {
    EXPECT_TRUE(names.insert(spec.name).second) << spec.name;
    EXPECT_TRUE(types.insert(spec.type).second) << spec.name;
    EXPECT_EQ(find_message(spec.type), &spec);
  }
  EXPECT_EQ(find_message(Type::kWelcome), nullptr);
  EXPECT_EQ(name_of(static_cast<Type>(999)), "unknown");
}

TEST(MessageTable, IsTheOneOfTheDocument) {
  std::ifstream file(REPRISE_SOURCE_DIR "/docs/protocol.md");
  const std::string page{std::istreambuf_iterator<char>(file), {}};
  const auto number = [](Type type) { return std::to_string(static_cast<int>(type)); };
  for (const MessageSpec& spec : message_table()) {
    const std::string reply = spec.reply == spec.type ? "none" : number(spec.reply);
    const std::string on = spec.reach == Reach::kAll ? "all" : spec.reach == Reach::kNetwork ? "TCP" : "Unix";
    const std::string row = "| " + number(spec.type) + " | `" + std::string(spec.name) + "` | " + reply + " | " + on +
                            " | " + std::string(spec.summary) + " |";
    EXPECT_NE(page.find(row), std::string::npos) << row;
  }
}

}  // namespace
}  // namespace reprise::wire
