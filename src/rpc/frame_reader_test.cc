#include "rpc/frame_reader.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "testing/flaky_stream.h"
#include "testing/loopback.h"

namespace reprise {
namespace {

using Step = FrameReader::Step;

Bytes bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

std::string frame(wire::Type type, const std::string& body, const std::string& payload = "") {
  wire::FrameHeader header;
  header.type = type;
  header.request = body.size() + 1;
  header.payload_bytes = payload.size();
  const wire::HeaderBytes bytes = wire::encode_header(header, bytes_of(body));
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()) + body + payload;
}

void send(Stream& stream, const std::string& text) {
  const Bytes bytes = bytes_of(text);
  ASSERT_EQ(write_all(stream, std::span(&bytes, 1), {}), Flow::kMoved);
}

std::string text_of(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Collects a payload in pieces of at most `most` bytes.
class Collector final : public PayloadSink {
 public:
  explicit Collector(std::size_t most) : piece_(most) {}
  MutableBytes next() override { return std::as_writable_bytes(std::span(piece_)); }
  void arrived(std::size_t count) override { text.append(piece_.data(), count); }
  std::string text;

 private:
  std::vector<char> piece_;
};

// Advances over wants; everything was sent before.
Step next_step(FrameReader& reader, Stream& stream) {
  for (int i = 0; i < 1'000'000; ++i) {
    const Step step = reader.advance(stream);
    if (step != Step::kWantRead && step != Step::kWantWrite) return step;
  }
  return Step::kWantRead;
}

TEST(FrameReader, FramesComeOutAsTheyWentInHoweverTheyTrickle) {
  const std::string long_body(40'000, 'x');
  for (const std::size_t most : {std::size_t{1}, std::size_t{7}, std::size_t{100'000}}) {
    auto pair = testing::make_loopback();
    send(*pair.client, frame(wire::Type::kPing, "") + frame(wire::Type::kMatch, "abc") +
                           frame(wire::Type::kPut, "put", "payload") + frame(wire::Type::kErase, long_body));
    testing::Trouble trouble;
    trouble.most = most;
    trouble.want_percent = most == 7 ? 30 : 0;
    testing::FlakyStream stream(std::move(pair.server), trouble);
    FrameReader reader(wire::kMaxBody);
    ASSERT_EQ(next_step(reader, stream), Step::kFrame);
    EXPECT_EQ(reader.header().type, wire::Type::kPing);
    ASSERT_EQ(next_step(reader, stream), Step::kFrame);
    EXPECT_EQ(text_of(reader.body()), "abc");
    ASSERT_EQ(next_step(reader, stream), Step::kFrame);
    EXPECT_EQ(text_of(reader.body()), "put");
    Collector payload(3);
    reader.receive(payload);
    ASSERT_EQ(next_step(reader, stream), Step::kPayloadDone);
    EXPECT_EQ(payload.text, "payload");
    ASSERT_EQ(next_step(reader, stream), Step::kFrame);
    EXPECT_EQ(text_of(reader.body()), long_body);
    EXPECT_EQ(reader.advance(stream), Step::kWantRead);
    EXPECT_FALSE(reader.inside());
  }
}

TEST(FrameReader, RestingLosesNothing) {
  auto pair = testing::make_loopback();
  FrameReader reader;
  const std::string both = frame(wire::Type::kPing, "one") + frame(wire::Type::kPing, "two");
  send(*pair.client, both.substr(0, 60));
  ASSERT_EQ(next_step(reader, *pair.server), Step::kFrame);
  reader.rest();
  EXPECT_EQ(text_of(reader.body()), "one");
  EXPECT_EQ(reader.advance(*pair.server), Step::kWantRead);
  EXPECT_TRUE(reader.inside());
  reader.rest();
  send(*pair.client, both.substr(60));
  ASSERT_EQ(next_step(reader, *pair.server), Step::kFrame);
  EXPECT_EQ(text_of(reader.body()), "two");
}

FrameReader::Fault fault_of(const std::string& bytes) {
  auto pair = testing::make_loopback();
  send(*pair.client, bytes);
  FrameReader reader;
  EXPECT_EQ(next_step(reader, *pair.server), Step::kOutOfStep);
  EXPECT_EQ(reader.advance(*pair.server), Step::kOutOfStep) << "it does not get better";
  return reader.fault();
}

TEST(FrameReader, WhatIsNoFrameIsNamed) {
  EXPECT_EQ(fault_of("GET / HTTP/1.1\r\nHost: somewhere\r\nAccept: */*\r\n\r\n"), FrameReader::Fault::kForeign);
  std::string damaged = frame(wire::Type::kPing, "body");
  damaged.back() = 'Y';
  EXPECT_EQ(fault_of(damaged), FrameReader::Fault::kChecksum);
  EXPECT_EQ(fault_of(frame(wire::Type::kPing, std::string(wire::kMaxBodyEarly + 1, 'b'))),
            FrameReader::Fault::kTooLong);
  std::string later = frame(wire::Type::kMatch, "body");
  later[4] = 9;
  EXPECT_EQ(fault_of(later), FrameReader::Fault::kVersion);
}

// What a peer puts into a payload is never taken for a frame.
TEST(FrameReader, APayloadNobodyReceivesIsTheEnd) {
  auto pair = testing::make_loopback();
  send(*pair.client, frame(wire::Type::kPing, "outer", frame(wire::Type::kErase, "inner")));
  FrameReader reader;
  ASSERT_EQ(next_step(reader, *pair.server), Step::kFrame);
  EXPECT_EQ(next_step(reader, *pair.server), Step::kOutOfStep);
  EXPECT_EQ(reader.fault(), FrameReader::Fault::kPayload);
}

// Gives memory only after it was asked twice.
class HesitantCollector final : public PayloadSink {
 public:
  MutableBytes next() override {
    return ++asked_ % 2 == 0 ? std::as_writable_bytes(std::span(piece_)) : MutableBytes();
  }
  void arrived(std::size_t count) override { text.append(piece_.data(), count); }
  std::string text;

 private:
  int asked_ = 0;
  std::array<char, 3> piece_{};
};

TEST(FrameReader, ASinkWithoutMemoryIsWaitedForOutside) {
  auto pair = testing::make_loopback();
  send(*pair.client, frame(wire::Type::kPut, "put", "payload") + frame(wire::Type::kPing, ""));
  FrameReader reader;
  ASSERT_EQ(next_step(reader, *pair.server), Step::kFrame);
  HesitantCollector payload;
  reader.receive(payload);
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(reader.advance(*pair.server), Step::kSinkFull) << i;
    EXPECT_TRUE(reader.inside());
  }
  ASSERT_EQ(reader.advance(*pair.server), Step::kPayloadDone);
  EXPECT_EQ(payload.text, "payload");
  ASSERT_EQ(next_step(reader, *pair.server), Step::kFrame);
  EXPECT_EQ(reader.header().type, wire::Type::kPing);
}

TEST(FrameReader, AnAnnouncedBodyCostsNothingUntilItArrives) {
  auto pair = testing::make_loopback();
  wire::FrameHeader header;
  header.type = wire::Type::kMatch;
  auto bytes = wire::encode_header(header, {});
  const std::uint32_t length = wire::kMaxBody;
  std::memcpy(bytes.data() + 16, &length, 4);
  send(*pair.client, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  FrameReader reader(wire::kMaxBody);
  EXPECT_EQ(reader.advance(*pair.server), Step::kWantRead);
  EXPECT_LE(reader.memory_bytes(), 128u << 10);
}

TEST(FrameReader, APeerThatGoesIsSeen) {
  auto pair = testing::make_loopback();
  send(*pair.client, frame(wire::Type::kPing, "body").substr(0, 20));
  pair.client.reset();
  FrameReader reader;
  EXPECT_EQ(next_step(reader, *pair.server), Step::kClosed);
  EXPECT_TRUE(reader.inside());
}

}  // namespace
}  // namespace reprise
