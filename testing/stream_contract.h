// What every Stream must do. Include in one test file and instantiate with the forms to be checked:
//
//   INSTANTIATE_TEST_SUITE_P(Real, StreamContract, ::testing::Values(StreamForm{"unix", ...}), stream_form_name);
#pragma once

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <thread>
#include <vector>

#include "testing/loopback.h"
#include "testing/stream_helpers.h"
#include "transport/stream.h"

namespace reprise::testing {

struct StreamForm {
  std::string name;
  bool passes_descriptors = false;
  std::function<StreamPair()> make;
};
inline std::string stream_form_name(const ::testing::TestParamInfo<StreamForm>& info) {
  return info.param.name;
}
inline void PrintTo(const StreamForm& form, std::ostream* out) {
  *out << form.name;
}

class StreamContract : public ::testing::TestWithParam<StreamForm> {
 protected:
  void SetUp() override {
    StreamPair pair = GetParam().make();
    client_ = std::move(pair.client);
    server_ = std::move(pair.server);
    ASSERT_NE(client_, nullptr);
    ASSERT_NE(server_, nullptr);
  }
  /// Whatever a form does inside its first moves is over afterwards.
  void greet() {
    std::thread there([&] {
      EXPECT_EQ(receive(*server_, 5), "hello");
      EXPECT_EQ(send(*server_, "you"), Flow::kMoved);
    });
    EXPECT_EQ(send(*client_, "hello"), Flow::kMoved);
    EXPECT_EQ(receive(*client_, 3), "you");
    there.join();
  }

  std::unique_ptr<Stream> client_;
  std::unique_ptr<Stream> server_;
};

TEST_P(StreamContract, BytesArriveInOrder) {
  std::thread there([&] {
    EXPECT_EQ(receive(*server_, 6), "abcdef");
    EXPECT_EQ(receive(*server_, 3), "ghi");
  });
  EXPECT_EQ(send(*client_, "abcd"), Flow::kMoved);
  EXPECT_EQ(send(*client_, "efghi"), Flow::kMoved);
  there.join();
}

TEST_P(StreamContract, AThousandPiecesOfManySizes) {
  std::vector<std::string> texts;
  std::string all;
  for (std::size_t i = 0; i < 1000; ++i) {
    // Empty ones in between, and a run of them longer than what one move looks at.
    const std::size_t size = i >= 300 && i < 400 ? 0 : (i % 7 == 0 ? 0 : (i * 37) % 900);
    texts.push_back(pattern(i == 500 ? 100'000 : size, i + 1));
    all += texts.back();
  }
  std::string got(all.size(), '\0');
  std::thread there([&] {
    std::vector<MutableBytes> pieces;
    MutableBytes rest = room_of(got);
    for (std::size_t i = 0; !rest.empty(); ++i) {
      const std::size_t size = std::min(rest.size(), (i * 53) % 1100);
      pieces.push_back(rest.first(size));
      rest = rest.subspan(size);
    }
    EXPECT_EQ(read_all(*server_, pieces, in_time()), Flow::kMoved);
  });
  std::vector<Bytes> pieces;
  for (const std::string& text : texts) pieces.push_back(bytes_of(text));
  EXPECT_EQ(write_all(*client_, pieces, in_time()), Flow::kMoved);
  there.join();
  EXPECT_TRUE(got == all);
}

TEST_P(StreamContract, BothDirectionsAtOnceByTwoThreadsEach) {
  const std::string up = pattern(1 << 20, 3);
  const std::string down = pattern(1 << 20, 4);
  std::vector<std::jthread> threads;
  threads.emplace_back([&] { EXPECT_EQ(send(*client_, up), Flow::kMoved) << client_->failure(); });
  threads.emplace_back([&] { EXPECT_TRUE(receive(*client_, down.size()) == down) << client_->failure(); });
  threads.emplace_back([&] { EXPECT_EQ(send(*server_, down), Flow::kMoved) << server_->failure(); });
  threads.emplace_back([&] { EXPECT_TRUE(receive(*server_, up.size()) == up) << server_->failure(); });
}

TEST_P(StreamContract, TheDeadlineIsKeptAgainstASilentPeer) {
  greet();
  std::string room(10, '\0');
  const MutableBytes piece = room_of(room);
  const Deadline deadline = Deadline::after(std::chrono::milliseconds(20));
  EXPECT_EQ(read_all(*client_, {&piece, 1}, {deadline, Duration(0)}), Flow::kTimeout);
  EXPECT_TRUE(deadline.passed(std::chrono::steady_clock::now()));
  // Spinning beyond the deadline is no reason to stay beyond it.
  EXPECT_EQ(read_all(*client_, {&piece, 1}, {Deadline::now(), std::chrono::hours(1)}), Flow::kTimeout);
  EXPECT_EQ(read_all(*client_, {&piece, 1}, {Deadline::after(std::chrono::milliseconds(5)), std::chrono::hours(1)}),
            Flow::kTimeout);
  EXPECT_EQ(send(*server_, "still here"), Flow::kMoved);
  EXPECT_EQ(receive(*client_, 10, in_time(std::chrono::milliseconds(1))), "still here");
}

TEST_P(StreamContract, APassedDeadlineStillGetsWhatIsThere) {
  greet();
  ASSERT_EQ(send(*server_, pattern(3000)), Flow::kMoved);
  std::string got;
  while (got.size() < 3000) {  // On the way through the kernel there is no telling when it is "there".
    const std::string part = receive(*client_, 1, {Deadline::now(), Duration(0)});
    if (part.empty()) std::this_thread::yield();
    got += part;
  }
  EXPECT_EQ(got, pattern(3000));
}

TEST_P(StreamContract, AWriterTimesOutOnAPeerThatDoesNotRead) {
  greet();
  EXPECT_EQ(send(*client_, pattern(64 << 20), {Deadline::after(std::chrono::milliseconds(50)), Duration(0)}),
            Flow::kTimeout);
}

TEST_P(StreamContract, AWriterThatStalledGoesOnWhereItWas) {
  greet();
  const std::string text = pattern(32 << 20, 9);
  std::span<const std::byte> rest = bytes_of(text);
  // Until several attempts in a row move nothing: nobody reads yet.
  for (int stalled = 0; stalled < 20 && !rest.empty();) {
    const Bytes piece = rest;
    const Moved moved = client_->write({&piece, 1});
    ASSERT_NE(moved.flow, Flow::kFailed) << client_->failure();
    stalled = moved.flow == Flow::kMoved ? 0 : stalled + 1;
    rest = rest.subspan(moved.bytes);
  }
  ASSERT_FALSE(rest.empty()) << "more is buffered than this test has to say";
  std::thread there([&] { EXPECT_TRUE(receive(*server_, text.size()) == text) << server_->failure(); });
  // The same bytes, but cut otherwise.
  std::vector<Bytes> pieces;
  for (std::size_t size = 1; !rest.empty(); size = size * 3 % 30'011) {
    pieces.push_back(rest.first(std::min(size, rest.size())));
    rest = rest.subspan(pieces.back().size());
  }
  EXPECT_EQ(write_all(*client_, pieces, in_time()), Flow::kMoved) << client_->failure();
  there.join();
}

TEST_P(StreamContract, NothingToMoveIsDoneAtOnce) {
  EXPECT_EQ(read_all(*client_, {}, {Deadline::now(), Duration(0)}), Flow::kMoved);
  std::vector<Bytes> empty(200);
  EXPECT_EQ(write_all(*client_, empty, {Deadline::now(), Duration(0)}), Flow::kMoved);
}

TEST_P(StreamContract, APeerThatClosesInTheMiddleOfAReadIsSeen) {
  greet();
  std::thread there([&] {
    EXPECT_EQ(send(*server_, "half"), Flow::kMoved);
    server_.reset();
  });
  std::string room(8, '.');
  const MutableBytes piece = room_of(room);
  EXPECT_EQ(read_all(*client_, {&piece, 1}, in_time()), Flow::kClosed) << client_->failure();
  EXPECT_EQ(room, "half....");
  there.join();
}

TEST_P(StreamContract, WritingToAPeerThatIsGoneFailsWithAReasonAndNoSignal) {
  greet();
  server_.reset();
  Flow flow = Flow::kMoved;
  while (flow == Flow::kMoved) flow = send(*client_, pattern(10'000));
  EXPECT_EQ(flow, Flow::kFailed);
  EXPECT_NE(client_->failure(), "");
}

TEST_P(StreamContract, ShutdownWakesAReaderAndEndsBothSides) {
  greet();
  std::string got;
  Flow flow = Flow::kMoved;
  std::thread waiting([&] { flow = read_to_end(*client_, got); });
  client_->shutdown();
  waiting.join();
  EXPECT_THAT(flow, ::testing::AnyOf(Flow::kClosed, Flow::kFailed));
  EXPECT_EQ(send(*client_, "late"), Flow::kFailed);
  EXPECT_THAT(read_to_end(*server_, got), ::testing::AnyOf(Flow::kClosed, Flow::kFailed));
  EXPECT_EQ(got, "");
  client_->shutdown();  // Once more does no harm.
}

TEST_P(StreamContract, WhatIsLeftOfAMessageIsBufferedOrPollable) {
  greet();
  ASSERT_EQ(send(*server_, "0123456789"), Flow::kMoved);
  for (char expected = '0'; expected <= '9'; ++expected) {
    ASSERT_EQ(receive(*client_, 1), std::string(1, expected));
    if (expected == '9' || client_->has_buffered()) continue;
    pollfd entry{client_->fd(), POLLIN, 0};
    EXPECT_EQ(::poll(&entry, 1, 60'000), 1);
  }
  EXPECT_FALSE(client_->has_buffered());
}

TEST_P(StreamContract, DescriptorsArePassedOrRefused) {
  greet();
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  FileDescriptor reading(ends[0]);
  FileDescriptor writing(ends[1]);
  const int fd = writing.get();
  ASSERT_EQ(client_->attach_descriptors({&fd, 1}), GetParam().passes_descriptors);
  ASSERT_EQ(send(*client_, "with it"), Flow::kMoved);
  ASSERT_EQ(receive(*server_, 7), "with it");
  std::vector<FileDescriptor> taken = server_->take_descriptors();
  ASSERT_EQ(taken.size(), GetParam().passes_descriptors ? 1U : 0U);
  if (taken.empty()) return;
  EXPECT_TRUE(server_->take_descriptors().empty());
  writing.reset();
  ASSERT_EQ(::write(taken[0].get(), "x", 1), 1);
  char c = 0;
  ASSERT_EQ(::read(reading.get(), &c, 1), 1);
  EXPECT_EQ(c, 'x');
  EXPECT_NE(::fcntl(taken[0].get(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST_P(StreamContract, SaysWhoIsThere) {
  EXPECT_NE(client_->peer(), "");
  EXPECT_EQ(client_->failure(), "");
}

}  // namespace reprise::testing
