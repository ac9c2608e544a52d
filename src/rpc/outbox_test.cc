#include "rpc/outbox.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "rpc/frame_reader.h"
#include "testing/flaky_stream.h"
#include "testing/loopback.h"

namespace reprise {
namespace {

// Counts renewals, and whether it is still held.
class CountingLease final : public Lease::Body {
 public:
  CountingLease(int& held, bool valid) : held_(held), valid_(valid) { ++held_; }
  ~CountingLease() override { --held_; }
  [[nodiscard]] std::size_t size() const override { return 1; }
  [[nodiscard]] Bytes block(std::size_t) const override { return {}; }
  [[nodiscard]] bool still_valid() const override { return valid_; }
  [[nodiscard]] Result<LeaseToken> token() override { return LeaseToken{}; }
  [[nodiscard]] bool renew(Duration) override { return valid_; }

 private:
  int& held_;
  bool valid_;
};

Outgoing frame(const std::string& body, std::span<const Bytes> payload = {}) {
  Outgoing out;
  out.body.assign(std::as_bytes(std::span(body)).begin(), std::as_bytes(std::span(body)).end());
  wire::FrameHeader header;
  header.type = wire::Type::kGot;
  for (const Bytes piece : payload) header.payload_bytes += piece.size();
  out.header = wire::encode_header(header, out.body);
  out.payload.assign(payload.begin(), payload.end());
  return out;
}

class Collector final : public PayloadSink {
 public:
  MutableBytes next() override { return std::as_writable_bytes(std::span(piece_)); }
  void arrived(std::size_t count) override { text.append(piece_, count); }
  std::string text;

 private:
  char piece_[777];
};

TEST(Outbox, FramesLeaveWholeThroughAStreamThatTakesLittle) {
  auto pair = testing::make_loopback(4096);
  testing::Trouble trouble;
  trouble.most = 5000;
  trouble.want_percent = 20;
  testing::FlakyStream stream(std::move(pair.server), trouble);
  std::vector<std::string> blocks;
  std::vector<Bytes> payload;
  for (int i = 0; i < 200; ++i) blocks.emplace_back(3000, static_cast<char>('a' + i % 26));
  std::string all;
  for (const std::string& block : blocks) payload.push_back(std::as_bytes(std::span(block))), all += block;
  int held = 0;
  Outbox outbox;
  Outgoing first = frame("first", payload);
  first.lease = Lease(std::make_unique<CountingLease>(held, true));
  outbox.push(std::move(first));
  outbox.push(frame("second"));
  EXPECT_TRUE(outbox.has_payload());

  FrameReader reader(wire::kMaxBody);
  Collector sink;
  std::vector<std::string> bodies;
  bool finished = false;
  for (int turn = 0; turn < 1'000'000 && bodies.size() < 2; ++turn) {
    if (!finished) {
      const Flow flow = outbox.flush(stream, Duration(1));
      ASSERT_TRUE(flow == Flow::kMoved || flow == Flow::kWantWrite);
      finished = flow == Flow::kMoved;
    }
    const FrameReader::Step step = reader.advance(*pair.client);
    if (step == FrameReader::Step::kFrame) {
      bodies.emplace_back(reinterpret_cast<const char*>(reader.body().data()), reader.body().size());
      if (reader.header().payload_bytes > 0) reader.receive(sink);
    }
  }
  EXPECT_EQ(bodies, (std::vector<std::string>{"first", "second"}));
  EXPECT_EQ(sink.text, all);
  EXPECT_TRUE(outbox.empty());
  EXPECT_EQ(outbox.bytes(), 0u);
  EXPECT_FALSE(outbox.has_payload());
  EXPECT_EQ(held, 0) << "what was sent is let go";
}

TEST(Outbox, BytesUnderAVoidLeaseAreNotSent) {
  auto pair = testing::make_loopback();
  const std::string block(100, 'b');
  const Bytes piece = std::as_bytes(std::span(block));
  int held = 0;
  Outbox outbox;
  Outgoing out = frame("body", std::span(&piece, 1));
  out.lease = Lease(std::make_unique<CountingLease>(held, false));
  outbox.push(std::move(out));
  EXPECT_EQ(outbox.flush(*pair.server, Duration(1)), Flow::kFailed);
  EXPECT_EQ(outbox.sent(), 0u);
}

TEST(Outbox, DescriptorsGoWithTheirFrame) {
  auto pair = testing::make_loopback();
  auto other = testing::make_socket_pair();
  Outbox outbox;
  outbox.push(frame("before"));
  Outgoing with = frame("with");
  with.descriptors = {other.client.get()};
  outbox.push(std::move(with));
  ASSERT_EQ(outbox.flush(*pair.server, Duration(1)), Flow::kMoved);
  FrameReader reader(wire::kMaxBody);
  ASSERT_EQ(reader.advance(*pair.client), FrameReader::Step::kFrame);
  ASSERT_EQ(reader.advance(*pair.client), FrameReader::Step::kFrame);
  EXPECT_EQ(pair.client->take_descriptors().size(), 1u);
}

}  // namespace
}  // namespace reprise
