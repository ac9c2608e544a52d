#include "transport/stream.h"

#include <utility>

#include "testing/certificates.h"
#include "testing/flaky_stream.h"
#include "testing/loopback.h"
#include "testing/stream_contract.h"
#include "testing/temp_dir.h"
#include "transport/socket_stream.h"
#include "transport/tls.h"

namespace reprise {
namespace {

using testing::in_time;
using testing::make_flaky;
using testing::make_loopback;
using testing::receive;
using testing::send;
using testing::SocketPair;
using testing::StreamContract;
using testing::StreamForm;
using testing::StreamPair;
using testing::Trouble;

SocketPair tcp_pair() {
  const auto listener = listen_tcp({"127.0.0.1", 0});
  if (!listener) return {};
  auto client = connect_tcp({"127.0.0.1", listener->port}, Deadline::after(std::chrono::seconds(30)));
  if (!client) return {};
  for (;;) {
    auto server = accept_connection(listener->descriptor.get());
    if (!server) return {};
    if (server->valid()) return {*std::move(client), *std::move(server)};
  }
}

StreamPair over_tcp() {
  SocketPair sockets = tcp_pair();
  return {make_socket_stream(std::move(sockets.client)), make_socket_stream(std::move(sockets.server))};
}

StreamPair over_tls(SocketPair sockets) {
  const testing::TempDir dir;
  const testing::Authority authority(dir.path(), "authority");
  const auto files = authority.issue("server", "DNS:cache.test");
  const auto server = TlsContext::server(files.cert, files.key, "");
  const auto client = TlsContext::client(authority.cert(), "", "");
  if (!server || !client) return {};
  return {(*client)->wrap(std::move(sockets.client), "cache.test").value(),
          (*server)->wrap(std::move(sockets.server), "").value()};
}

StreamPair flaky(StreamPair pair) {
  return {make_flaky(std::move(pair.client), {.seed = 7, .most = 3000, .want_percent = 30}),
          make_flaky(std::move(pair.server), {.seed = 8, .most = 5000, .want_percent = 30})};
}

INSTANTIATE_TEST_SUITE_P(
    Forms, StreamContract,
    ::testing::Values(StreamForm{"loopback", true, [] { return make_loopback(); }},
                      StreamForm{"loopback_small", true, [] { return make_loopback(1); }},
                      StreamForm{"tcp", false, over_tcp}, StreamForm{"tls", false, [] { return over_tls(tcp_pair()); }},
                      StreamForm{"tls_small", false, [] { return over_tls(testing::make_socket_pair(1)); }},
                      StreamForm{"flaky", true, [] { return flaky(make_loopback()); }},
                      StreamForm{"flaky_tls", false, [] { return flaky(over_tls(testing::make_socket_pair(1))); }}),
    testing::stream_form_name);

// Says what it is told to say, to see what the helpers make of it.
class ScriptedStream final : public Stream {
 public:
  explicit ScriptedStream(std::vector<Moved> script) : script_(std::move(script)) {}
  Moved read(std::span<const MutableBytes> pieces) override { return next(pieces.size()); }
  Moved write(std::span<const Bytes> pieces) override { return next(pieces.size()); }
  int fd() const override { return -1; }
  void shutdown() override {}
  std::string peer() const override { return "script"; }
  std::string failure() const override { return ""; }
  std::size_t calls = 0;
  std::size_t most_pieces = 0;

 private:
  Moved next(std::size_t pieces) {
    most_pieces = std::max(most_pieces, pieces);
    return script_[std::min(calls++, script_.size() - 1)];
  }
  std::vector<Moved> script_;
};

TEST(Helpers, AReadThatWantsToWriteAndAWriteThatWantsToReadGoOn) {
  ScriptedStream stream({{Flow::kWantWrite, 0}, {Flow::kWantRead, 0}, {Flow::kMoved, 1}});
  EXPECT_EQ(receive(stream, 2).size(), 2);
  EXPECT_EQ(stream.calls, 4);
  ScriptedStream other({{Flow::kWantRead, 0}, {Flow::kWantWrite, 0}, {Flow::kMoved, 2}});
  EXPECT_EQ(send(other, "ab"), Flow::kMoved);
  EXPECT_EQ(other.calls, 3);
}

TEST(Helpers, ASpinnerAsksAgainWithoutADescriptorToSleepOn) {
  ScriptedStream stream({{Flow::kWantRead, 0}, {Flow::kWantRead, 0}, {Flow::kMoved, 1}});
  EXPECT_EQ(receive(stream, 1, in_time(std::chrono::hours(1))).size(), 1);
}

TEST(Helpers, APeerThatTricklesDoesNotHoldTheCallerBeyondTheDeadline) {
  ScriptedStream stream({{Flow::kMoved, 1}});
  std::string room(64 << 20, '\0');
  const MutableBytes piece = testing::room_of(room);
  EXPECT_EQ(read_all(stream, {&piece, 1}, {Deadline::after(std::chrono::milliseconds(1)), Duration(0)}),
            Flow::kTimeout);
}

TEST(Helpers, NoMoreThanTheLimitOfPiecesIsHandedOn) {
  ScriptedStream stream({{Flow::kMoved, 7}});
  const std::vector<Bytes> pieces(700, Bytes(reinterpret_cast<const std::byte*>("x"), 1));
  EXPECT_EQ(write_all(stream, pieces, in_time()), Flow::kMoved);
  EXPECT_EQ(stream.calls, 100);
  EXPECT_EQ(stream.most_pieces, kMaxStreamPieces);
}

TEST(Flaky, ResetsAfterTheByteItWasTold) {
  StreamPair pair = make_loopback();
  const auto server = make_flaky(std::move(pair.server), {.reset_after = 10});
  ASSERT_EQ(send(*pair.client, "0123456789abc"), Flow::kMoved);
  std::string got;
  EXPECT_EQ(testing::read_to_end(*server, got), Flow::kFailed);
  EXPECT_EQ(got, "0123456789");
  EXPECT_NE(server->failure(), "");
  EXPECT_NE(testing::read_to_end(*pair.client, got), Flow::kMoved);
}

TEST(Flaky, FlipsTheByteItWasToldAndNoOther) {
  StreamPair pair = make_loopback();
  const auto server = make_flaky(std::move(pair.server), {.most = 3, .corrupt_at = 7});
  ASSERT_EQ(send(*pair.client, "abcdefghijkl"), Flow::kMoved);
  EXPECT_EQ(receive(*server, 12), std::string("abcdefg") + static_cast<char>('h' ^ 0x10) + "ijkl");
}

}  // namespace
}  // namespace reprise
