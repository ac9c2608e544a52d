#include "transport/tls.h"

#include <gmock/gmock.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <fstream>
#include <thread>

#include "testing/certificates.h"
#include "testing/loopback.h"
#include "testing/stream_helpers.h"
#include "testing/temp_dir.h"
#include "transport/socket_stream.h"

namespace reprise {
namespace {

using testing::Authority;
using testing::CertificateFiles;
using ::testing::HasSubstr;
using testing::make_socket_pair;
using testing::receive;
using testing::send;
using testing::StreamPair;

class Tls : public ::testing::Test {
 protected:
  [[nodiscard]] static StreamPair connect(const TlsContext& client, const TlsContext& server, const std::string& host) {
    auto sockets = make_socket_pair();
    return {client.wrap(std::move(sockets.client), host).value(), server.wrap(std::move(sockets.server), "").value()};
  }
  /// What a client that asks and waits for an answer gets, and what both sides say when it gets none.
  struct Outcome {
    std::string answer;
    std::string client_failure;
    std::string server_failure;
  };
  [[nodiscard]] static Outcome talk(StreamPair pair) {
    Outcome outcome;
    std::thread there([&] {
      if (receive(*pair.server, 3) == "ask") {
        EXPECT_EQ(send(*pair.server, "answer"), Flow::kMoved);
      }
      outcome.server_failure = pair.server->failure();
    });
    (void)send(*pair.client, "ask");
    outcome.answer = receive(*pair.client, 6);
    outcome.client_failure = pair.client->failure();
    there.join();
    EXPECT_EQ(::ERR_peek_error(), 0U) << "OpenSSL's queue is left for others to stumble over";
    return outcome;
  }
  [[nodiscard]] std::shared_ptr<const TlsContext> plain_server() const {
    return TlsContext::server(server_.cert, server_.key, "").value();
  }
  [[nodiscard]] std::shared_ptr<const TlsContext> plain_client() const {
    return TlsContext::client(ours_.cert(), "", "").value();
  }
  [[nodiscard]] std::string file(const std::string& name, const std::string& text) const {
    const std::string path = dir_.path() + "/" + name;
    std::ofstream(path) << text;
    return path;
  }

  testing::TempDir dir_;
  Authority ours_{dir_.path(), "ours"};
  Authority theirs_{dir_.path(), "theirs"};
  CertificateFiles server_ = ours_.issue("server", "DNS:cache.test,DNS:*.wild.test,IP:127.0.0.1,IP:::1");
};

TEST_F(Tls, TheRightHostIsSpokenToByNameOrAddress) {
  const auto server = plain_server();
  const auto client = plain_client();
  for (const char* host : {"cache.test", "127.0.0.1", "::1", "a.wild.test"}) {
    const Outcome outcome = talk(connect(*client, *server, host));
    EXPECT_EQ(outcome.answer, "answer") << host << ": " << outcome.client_failure;
  }
}

TEST_F(Tls, AnotherHostIsRefused) {
  const auto server = plain_server();
  const auto client = plain_client();
  for (const char* host : {"other.test", "127.0.0.2", "::2", "a.b.wild.test", "server"}) {
    const Outcome outcome = talk(connect(*client, *server, host));
    EXPECT_EQ(outcome.answer, "") << host;
    EXPECT_THAT(outcome.client_failure, HasSubstr("certificate is refused")) << host;
    EXPECT_NE(outcome.server_failure, "") << host;
  }
  EXPECT_FALSE(client->wrap(make_socket_pair().client, ""));
}

TEST_F(Tls, AForeignAuthorityIsRefused) {
  const auto client = TlsContext::client(theirs_.cert(), "", "").value();
  const Outcome outcome = talk(connect(*client, *plain_server(), "cache.test"));
  EXPECT_EQ(outcome.answer, "");
  EXPECT_THAT(outcome.client_failure, HasSubstr("certificate is refused"));
}

TEST_F(Tls, ClientsShowACertificateOfTheRightAuthority) {
  const auto server = TlsContext::server(server_.cert, server_.key, ours_.cert()).value();
  const CertificateFiles good = ours_.issue("good", "");
  const CertificateFiles foreign = theirs_.issue("foreign", "");
  const auto admitted = TlsContext::client(ours_.cert(), good.cert, good.key).value();
  EXPECT_EQ(talk(connect(*admitted, *server, "cache.test")).answer, "answer");
  const auto stranger = TlsContext::client(ours_.cert(), foreign.cert, foreign.key).value();
  for (const auto& client : {plain_client(), stranger}) {
    const Outcome outcome = talk(connect(*client, *server, "cache.test"));
    EXPECT_EQ(outcome.answer, "");
    EXPECT_NE(outcome.client_failure, "");
    EXPECT_NE(outcome.server_failure, "");
  }
}

TEST_F(Tls, WhatIsWrongWithAFileIsSaidWithItsName) {
  const CertificateFiles other = ours_.issue("other", "");
  const std::string garbage = file("garbage", "-----BEGIN NOTHING-----\n");
  const std::string empty = file("empty", "");
  const std::string missing = dir_.path() + "/missing";
  const auto refuses = [](const auto& result, const std::string& name) {
    ASSERT_FALSE(result) << name;
    EXPECT_EQ(result.error().code, ErrorCode::kConfig);
    EXPECT_THAT(result.error().message, HasSubstr(name));
  };
  refuses(TlsContext::server(server_.cert, other.key, ""), other.key);
  refuses(TlsContext::client("", server_.cert, other.key), other.key);
  EXPECT_THAT(TlsContext::server(server_.cert, other.key, "").error().message, HasSubstr("does not belong"));
  for (const std::string& bad : {garbage, empty, missing, dir_.path()}) {
    refuses(TlsContext::server(bad, server_.key, ""), bad);
    refuses(TlsContext::server(server_.cert, bad, ""), bad);
    refuses(TlsContext::server(server_.cert, server_.key, bad), bad);
    refuses(TlsContext::client(bad, "", ""), bad);
  }
  EXPECT_EQ(TlsContext::server("", "", "").error().code, ErrorCode::kConfig);
  EXPECT_EQ(TlsContext::client("", server_.cert, "").error().code, ErrorCode::kConfig);
}

TEST_F(Tls, OldVersionsAreRefused) {
  const std::unique_ptr<SSL_CTX, decltype(&::SSL_CTX_free)> old(::SSL_CTX_new(::TLS_client_method()), &::SSL_CTX_free);
  ::SSL_CTX_set_security_level(old.get(), 0);  // Otherwise this side refuses first.
  ::SSL_CTX_set_min_proto_version(old.get(), TLS1_VERSION);
  ::SSL_CTX_set_max_proto_version(old.get(), TLS1_1_VERSION);
  auto sockets = make_socket_pair();
  const std::unique_ptr<SSL, decltype(&::SSL_free)> ssl(::SSL_new(old.get()), &::SSL_free);
  ASSERT_EQ(::SSL_set_fd(ssl.get(), sockets.client.get()), 1);
  ASSERT_NE(::SSL_connect(ssl.get()), 1);  // Says hello and wants an answer.
  ::ERR_clear_error();
  const auto server = plain_server()->wrap(std::move(sockets.server), "").value();
  std::string got;
  EXPECT_EQ(testing::read_to_end(*server, got), Flow::kFailed);
  EXPECT_THAT(server->failure(), HasSubstr("unsupported protocol"));
}

TEST_F(Tls, AnyOtherProtocolFailsWithWords) {
  auto sockets = make_socket_pair();
  const auto server = plain_server()->wrap(std::move(sockets.server), "").value();
  const auto client = make_socket_stream(std::move(sockets.client));
  ASSERT_EQ(send(*client, "RPR1 and something that is no handshake"), Flow::kMoved);
  std::string got;
  EXPECT_EQ(testing::read_to_end(*server, got), Flow::kFailed);
  EXPECT_NE(server->failure(), "");
}

TEST_F(Tls, AnEndWithoutGoodbyeIsACutAndNoEnd) {
  auto sockets = make_socket_pair();
  FileDescriptor behind(::dup(sockets.server.get()));
  StreamPair pair{plain_client()->wrap(std::move(sockets.client), "cache.test").value(),
                  plain_server()->wrap(std::move(sockets.server), "").value()};
  std::thread there([&] { EXPECT_EQ(receive(*pair.server, 2), "hi"); });
  EXPECT_EQ(send(*pair.client, "hi"), Flow::kMoved);
  there.join();
  ASSERT_EQ(::shutdown(behind.get(), SHUT_RDWR), 0);  // As if somebody in the middle had done it.
  std::string got;
  EXPECT_EQ(testing::read_to_end(*pair.client, got), Flow::kFailed);
}

TEST_F(Tls, ATamperedByteIsNeverDelivered) {
  auto sockets = make_socket_pair();
  FileDescriptor behind(::dup(sockets.client.get()));
  StreamPair pair{plain_client()->wrap(std::move(sockets.client), "cache.test").value(),
                  plain_server()->wrap(std::move(sockets.server), "").value()};
  std::thread there([&] { EXPECT_EQ(receive(*pair.server, 2), "hi"); });
  EXPECT_EQ(send(*pair.client, "hi"), Flow::kMoved);
  there.join();
  const std::string record = std::string("\x17\x03\x03\x00\x20", 5) + std::string(32, 'x');
  ASSERT_EQ(::send(behind.get(), record.data(), record.size(), MSG_NOSIGNAL), 37);
  std::string got;
  EXPECT_EQ(testing::read_to_end(*pair.server, got), Flow::kFailed);
  EXPECT_EQ(got, "");
}

TEST_F(Tls, SmallPiecesLeaveInOneRecord) {
  StreamPair pair = connect(*plain_client(), *plain_server(), "cache.test");
  std::thread there([&] { EXPECT_EQ(receive(*pair.server, 2), "hi"); });
  EXPECT_EQ(send(*pair.client, "hi"), Flow::kMoved);
  there.join();
  const std::vector<Bytes> pieces(40, Bytes(reinterpret_cast<const std::byte*>("0123456789"), 10));
  ASSERT_EQ(write_all(*pair.client, pieces, testing::in_time()), Flow::kMoved);
  // A record is decrypted as a whole: after its first byte the rest is buffered.
  ASSERT_EQ(receive(*pair.server, 1), "0");
  std::string rest(500, '\0');
  const MutableBytes piece = testing::room_of(rest);
  EXPECT_TRUE(pair.server->has_buffered());
  EXPECT_EQ(pair.server->read({&piece, 1}).bytes, 399U);
}

TEST_F(Tls, AStreamOutlivesItsContext) {
  StreamPair pair;
  {
    const auto server = plain_server();
    const auto client = plain_client();
    pair = connect(*client, *server, "cache.test");
  }
  EXPECT_EQ(talk(std::move(pair)).answer, "answer");
}

}  // namespace
}  // namespace reprise
