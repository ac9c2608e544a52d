#include "transport/socket_stream.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <fstream>
#include <stop_token>
#include <thread>
#include <vector>

#include "testing/loopback.h"
#include "testing/stream_helpers.h"
#include "testing/temp_dir.h"

namespace reprise {
namespace {

using ::testing::HasSubstr;
using testing::make_loopback;
using testing::make_socket_pair;
using testing::receive;
using testing::send;
using testing::TempDir;

Deadline soon() {
  return Deadline::after(std::chrono::seconds(30));
}

mode_t mode_of(const std::string& path) {
  struct stat status{};
  return ::lstat(path.c_str(), &status) == 0 ? status.st_mode & 07777 : 0;
}

class UnixSocket : public ::testing::Test {
 protected:
  TempDir dir_;
  std::string path_ = dir_.path() + "/s";
};

TEST_F(UnixSocket, ListensWithItsModeWhateverTheUmask) {
  for (const mode_t mask : {0U, 077U}) {
    for (const mode_t mode : {0600U, 0660U, 0666U}) {
      const mode_t before = ::umask(mask);
      const auto listener = listen_unix(path_, mode);
      ::umask(before);
      ASSERT_TRUE(listener) << listener.error().message;
      EXPECT_EQ(mode_of(path_), mode) << mask;
    }
  }
}

TEST_F(UnixSocket, ConnectsAndKnowsItsPeer) {
  const auto listener = listen_unix(path_, 0600);
  ASSERT_TRUE(listener);
  EXPECT_FALSE(accept_connection(listener->get()).value().valid());
  auto client = connect_unix(path_, soon());
  ASSERT_TRUE(client) << client.error().message;
  auto server = accept_connection(listener->get());
  ASSERT_TRUE(server && server->valid());
  const auto who = peer_credentials(server->get());
  ASSERT_TRUE(who);
  EXPECT_EQ(who->pid, ::getpid());
  EXPECT_EQ(who->uid, ::getuid());
  EXPECT_EQ(who->gid, ::getgid());
  EXPECT_NE(::fcntl(server->get(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(::fcntl(server->get(), F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_NE(::fcntl(client->get(), F_GETFL) & O_NONBLOCK, 0);
  const auto stream = make_socket_stream(*std::move(server));
  EXPECT_THAT(stream->peer(), HasSubstr("pid " + std::to_string(::getpid())));
}

TEST_F(UnixSocket, ReplacesWhatADeadServerLeft) {
  {
    ASSERT_TRUE(listen_unix(path_, 0600));
  }
  ASSERT_NE(::access(path_.c_str(), F_OK), -1);
  const auto again = listen_unix(path_, 0600);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_TRUE(connect_unix(path_, soon()));
}

TEST_F(UnixSocket, LeavesALiveServerAlone) {
  const auto first = listen_unix(path_, 0600);
  ASSERT_TRUE(first);
  const auto second = listen_unix(path_, 0600);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kConfig);
  EXPECT_THAT(second.error().message, HasSubstr(path_));
  EXPECT_TRUE(connect_unix(path_, soon()));
}

TEST_F(UnixSocket, OfManyThatStartAtOnceOnALeftoverOneWins) {
  for (int round = 0; round < 50; ++round) {
    {
      ASSERT_TRUE(listen_unix(path_, 0600));
    }
    std::array<Result<FileDescriptor>, 4> results;
    {
      std::vector<std::jthread> threads;
      for (auto& result : results) threads.emplace_back([&] { result = listen_unix(path_, 0600); });
    }
    ASSERT_EQ(std::ranges::count_if(results, [](const auto& r) { return r.has_value(); }), 1) << round;
  }
}

TEST_F(UnixSocket, TouchesNothingWhileAnotherServerLooks) {
  const FileDescriptor directory(::open(dir_.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  ASSERT_EQ(::flock(directory.get(), LOCK_SH), 0);
  const auto listener = listen_unix(path_, 0600);
  ASSERT_FALSE(listener);
  EXPECT_EQ(listener.error().code, ErrorCode::kConfig);
  EXPECT_NE(::access(path_.c_str(), F_OK), 0);
}

TEST_F(UnixSocket, IsAtNoMomentOpenToOthers) {
  const mode_t before = ::umask(0);
  std::atomic<mode_t> seen = 0;
  {
    const std::jthread watcher([&](const std::stop_token& stop) {
      while (!stop.stop_requested()) seen |= mode_of(path_);
    });
    for (int round = 0; round < 300; ++round) {
      EXPECT_TRUE(listen_unix(path_, 0600));
      ::unlink(path_.c_str());
    }
  }
  ::umask(before);
  EXPECT_EQ(seen & 077, 0U);
}

TEST_F(UnixSocket, LeavesWhatIsNoSocketAlone) {
  std::ofstream(path_) << "precious";
  const auto listener = listen_unix(path_, 0600);
  ASSERT_FALSE(listener);
  EXPECT_EQ(listener.error().code, ErrorCode::kConfig);
  std::ifstream file(path_);
  std::string text;
  EXPECT_TRUE(file >> text);
  EXPECT_EQ(text, "precious");
}

TEST_F(UnixSocket, SaysWhatIsWrongWithAPath) {
  EXPECT_EQ(listen_unix("", 0600).error().code, ErrorCode::kConfig);
  EXPECT_EQ(listen_unix("/" + std::string(200, 'a'), 0600).error().code, ErrorCode::kConfig);
  EXPECT_EQ(connect_unix(std::string("a\0b", 3), soon()).error().code, ErrorCode::kConfig);
  const auto missing = connect_unix(path_, soon());
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kIo);
  EXPECT_THAT(missing.error().message, HasSubstr(path_));
  EXPECT_EQ(listen_unix(dir_.path() + "/no/such/dir", 0600).error().code, ErrorCode::kIo);
}

TEST_F(UnixSocket, ConnectingToAFullBacklogKeepsItsDeadline) {
  const auto listener = listen_unix(path_, 0600);
  ASSERT_TRUE(listener);
  ASSERT_EQ(::listen(listener->get(), 0), 0);
  std::vector<FileDescriptor> waiting;
  for (int i = 0; i < 16; ++i) {
    auto client = connect_unix(path_, Deadline::after(std::chrono::milliseconds(5)));
    if (!client) {
      EXPECT_THAT(client.error().message, HasSubstr("too many connections waiting"));
      return;
    }
    waiting.push_back(*std::move(client));
  }
  FAIL() << "the backlog has no end";
}

TEST(Descriptors, MoreThanFourAreRefusedAndClosed) {
  auto pair = make_loopback();
  const std::array<int, 5> five = {0, 0, 0, 0, 0};
  EXPECT_FALSE(pair.client->attach_descriptors(five));
  // Twice three, by two writes that are read at once: two of them must go.
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(pair.client->attach_descriptors(std::span(five).first(3)));
    ASSERT_EQ(send(*pair.client, "x"), Flow::kMoved);
  }
  EXPECT_EQ(receive(*pair.server, 2), "xx");
  EXPECT_EQ(pair.server->take_descriptors().size(), kMaxDescriptors);
}

TEST(Descriptors, TravelOnceThoughTheWriteIsShort) {
  auto pair = make_loopback(1);
  const int fd = 0;
  ASSERT_TRUE(pair.client->attach_descriptors({&fd, 1}));
  std::thread there([&] { EXPECT_EQ(receive(*pair.server, 1 << 20).size(), 1U << 20); });
  EXPECT_EQ(send(*pair.client, std::string(1 << 20, 'x')), Flow::kMoved);
  there.join();
  EXPECT_EQ(pair.server->take_descriptors().size(), 1);
}

TEST(Descriptors, ForAForeignerThatSendsTooManyNothingLeaks) {
  auto sockets = make_socket_pair();
  const int before = ::dup(0);
  ::close(before);
  std::array<int, 20> many{};
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(many))> control{};
  char byte = 'x';
  iovec vector{&byte, 1};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* part = CMSG_FIRSTHDR(&message);
  part->cmsg_level = SOL_SOCKET;
  part->cmsg_type = SCM_RIGHTS;
  part->cmsg_len = CMSG_LEN(sizeof(many));
  std::memcpy(CMSG_DATA(part), many.data(), sizeof(many));
  ASSERT_EQ(::sendmsg(sockets.client.get(), &message, 0), 1);
  const auto stream = make_socket_stream(std::move(sockets.server));
  EXPECT_EQ(receive(*stream, 1), "x");
  EXPECT_LE(stream->take_descriptors().size(), kMaxDescriptors);
  const int after = ::dup(0);
  ::close(after);
  EXPECT_EQ(after, before);
}

TEST(TcpSocket, ListensOnAPortOfItsOwnAndTunesConnections) {
  const auto listener = listen_tcp({"127.0.0.1", 0});
  ASSERT_TRUE(listener) << listener.error().message;
  ASSERT_NE(listener->port, 0);
  const auto taken = listen_tcp({"127.0.0.1", listener->port});
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code, ErrorCode::kConfig);
  auto client = connect_tcp({"localhost", listener->port}, soon());
  ASSERT_TRUE(client) << client.error().message;
  FileDescriptor server;
  while (!server.valid()) server = accept_connection(listener->descriptor.get()).value();
  for (const int fd : {client->get(), server.get()}) {
    int no_delay = 0;
    int keep_alive = 0;
    socklen_t size = sizeof(int);
    EXPECT_EQ(::getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &no_delay, &size), 0);
    EXPECT_EQ(::getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &keep_alive, &size), 0);
    EXPECT_EQ(no_delay, 1);
    EXPECT_EQ(keep_alive, 1);
  }
  EXPECT_FALSE(peer_credentials(server.get()));
  EXPECT_EQ(make_socket_stream(*std::move(client))->peer(), "127.0.0.1:" + std::to_string(listener->port));
}

// "" where the system does not say.
std::string congestion_control(int fd) {
  std::array<char, 16> name{};
  socklen_t size = name.size() - 1;
  return ::getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name.data(), &size) == 0 ? name.data() : "";
}

TEST(TcpSocket, IsNotPacedInsideOneMachine) {
  for (const char* host : {"127.0.0.1", "::1"}) {
    const auto listener = listen_tcp({host, 0});
    if (!listener) continue;  // a machine without IPv6
    const auto client = connect_tcp({host, listener->port}, soon());
    ASSERT_TRUE(client) << client.error().message;
    FileDescriptor server;
    while (!server.valid()) {
      auto accepted = accept_connection(listener->descriptor.get());
      ASSERT_TRUE(accepted);
      server = std::move(*accepted);
    }
    EXPECT_EQ(congestion_control(client->get()), "reno") << host;
    EXPECT_EQ(congestion_control(server.get()), "reno") << host;
  }
  // What others can reach is as the system wants it.
  const auto everywhere = listen_tcp({"", 0});
  ASSERT_TRUE(everywhere);
  const FileDescriptor plain(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(congestion_control(everywhere->descriptor.get()), congestion_control(plain.get()));
}

TEST(TcpSocket, RefusesWithWordsWhenNobodyListens) {
  std::uint16_t port = 0;
  {
    port = listen_tcp({"127.0.0.1", 0}).value().port;
  }
  const auto client = connect_tcp({"127.0.0.1", port}, soon());
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().code, ErrorCode::kIo);
  EXPECT_THAT(client.error().message, HasSubstr("127.0.0.1:" + std::to_string(port)));
  EXPECT_EQ(connect_tcp({"127.0.0.1", 0}, soon()).error().code, ErrorCode::kConfig);
}

TEST(TcpSocket, ConnectingKeepsItsDeadline) {
  // A listener whose backlog is full answers nothing.
  const auto listener = listen_tcp({"127.0.0.1", 0});
  ASSERT_TRUE(listener);
  ASSERT_EQ(::listen(listener->descriptor.get(), 0), 0);
  std::vector<FileDescriptor> waiting;
  for (int i = 0; i < 16; ++i) {
    auto client = connect_tcp({"127.0.0.1", listener->port}, Deadline::after(std::chrono::milliseconds(20)));
    if (!client) {
      EXPECT_THAT(client.error().message, HasSubstr("timed out"));
      return;
    }
    waiting.push_back(*std::move(client));
  }
  FAIL() << "the backlog has no end";
}

TEST(TcpSocket, AResetIsAFailureWithAReason) {
  const auto listener = listen_tcp({"127.0.0.1", 0});
  auto client = make_socket_stream(connect_tcp({"127.0.0.1", listener->port}, soon()).value());
  FileDescriptor server;
  while (!server.valid()) server = accept_connection(listener->descriptor.get()).value();
  const linger hard{1, 0};
  ASSERT_EQ(::setsockopt(server.get(), SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)), 0);
  server.reset();
  std::string got;
  EXPECT_EQ(testing::read_to_end(*client, got), Flow::kFailed);
  EXPECT_THAT(client->failure(), HasSubstr("reset"));
}

TEST(Address, IsReadOrRefusedWithAReason) {
  EXPECT_EQ(parse_host_port("host:80").value().host, "host");
  EXPECT_EQ(parse_host_port("host:80").value().port, 80);
  EXPECT_EQ(parse_host_port("[::1]:9600").value().host, "::1");
  EXPECT_EQ(parse_host_port("[::1]", 7).value().port, 7);
  EXPECT_EQ(parse_host_port(":80").value().host, "");
  EXPECT_EQ(parse_host_port("host", 9600).value().port, 9600);
  EXPECT_EQ(parse_host_port("host:0").value().port, 0);
  for (const char* bad : {"", ":", "host", "host:", "host:x", "host:80x", "host:65536", "host:-1", "::1", "::1:80",
                          "[::1", "[]:80", "[::1]80", "ho st:80", "unix:/a:80", "host:+1", "host: 1"}) {
    const auto parsed = parse_host_port(bad);
    ASSERT_FALSE(parsed) << bad;
    EXPECT_EQ(parsed.error().code, ErrorCode::kConfig);
    EXPECT_THAT(parsed.error().message, HasSubstr(bad));
  }
}

TEST(Address, LoopbackIsKnown) {
  EXPECT_TRUE(is_loopback("127.0.0.1"));
  EXPECT_TRUE(is_loopback("127.4.5.6"));
  EXPECT_TRUE(is_loopback("::1"));
  EXPECT_TRUE(is_loopback("localhost"));
  for (const char* open : {"", "0.0.0.0", "::", "10.0.0.1", "128.0.0.1", "::ffff:10.0.0.1", "no.such.host.invalid"}) {
    EXPECT_FALSE(is_loopback(open)) << open;
  }
}

}  // namespace
}  // namespace reprise
