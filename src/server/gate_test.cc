#include "server/gate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace reprise {
namespace {

using ::testing::HasSubstr;

std::string error_of(const ServerOptions& options) {
  const auto gate = Gate::make(options);
  if (gate) return "accepted";
  EXPECT_EQ(gate.error().code, ErrorCode::kConfig);
  return gate.error().message;
}

TEST(Gate, PortsBeyondLoopbackWantProtectionOrToBeSpelledOut) {
  ServerOptions options;
  options.listen_tcp = "127.0.0.1:0";
  EXPECT_TRUE(Gate::make(options));
  options.listen_tcp = "0.0.0.0:9600";
  EXPECT_THAT(error_of(options), HasSubstr("--insecure-listen=tcp"));
  options.listen_insecure = "admin";
  EXPECT_THAT(error_of(options), HasSubstr("listen.tcp"));
  options.listen_insecure = "admin, tcp";
  EXPECT_TRUE(Gate::make(options));
  options.listen_insecure = "everything";
  EXPECT_THAT(error_of(options), HasSubstr("'everything'"));
  options.listen_insecure.clear();
  options.auth_file = "/etc/reprise/auth.toml";
  EXPECT_TRUE(Gate::make(options));
  options.listen_admin = "0.0.0.0:9601";
  EXPECT_THAT(error_of(options), HasSubstr("admin.token-file"));
  options.admin_token_file = "/etc/reprise/admin-token";
  EXPECT_TRUE(Gate::make(options));
}

TEST(Gate, ACertificateAloneKeepsNobodyOut) {
  ServerOptions options;
  options.listen_tcp = "0.0.0.0:9600";
  options.tls_cert = "cert.pem";
  EXPECT_THAT(error_of(options), HasSubstr("tls.key"));
  options.tls_key = "key.pem";
  EXPECT_THAT(error_of(options), HasSubstr("not protected"));
  options.tls_client_ca = "ca.pem";
  EXPECT_TRUE(Gate::make(options));
  options.listen_tcp.clear();
  options.listen_unix = "/run/reprise.sock";
  EXPECT_THAT(error_of(options), HasSubstr("listen.tcp"));
}

TEST(Gate, SomethingHasToListen) {
  EXPECT_THAT(error_of({}), HasSubstr("listen.unix"));
}

TEST(Gate, OnlyAllowedUsersComeIn) {
  ServerOptions options;
  options.listen_unix = "/run/reprise.sock";
  const auto closed = Gate::make(options);
  ASSERT_TRUE(closed);
  EXPECT_EQ(closed->socket_mode(), 0600U);
  EXPECT_EQ(closed->refusal({1, ::geteuid(), 1, {}}), "");
  EXPECT_EQ(closed->refusal({1, 0, 0, {}}), "");
  EXPECT_THAT(closed->refusal({1, 4242, 4343, {7}}), HasSubstr("--allow-uid=4242"));
  options.allow_uids = "7,4242";
  options.allow_gids = "4343";
  const auto open = Gate::make(options);
  ASSERT_TRUE(open);
  EXPECT_EQ(open->socket_mode(), 0666U);
  EXPECT_EQ(open->refusal({1, 4242, 1, {}}), "");
  EXPECT_EQ(open->refusal({1, 9999, 4343, {}}), "");
  EXPECT_EQ(open->refusal({1, 9999, 1, {5, 4343}}), "") << "a member of the group";
  EXPECT_NE(open->refusal({1, 9999, 1, {5}}), "");
  options.allow_uids = "me";
  EXPECT_THAT(error_of(options), HasSubstr("allow.uids"));
}

}  // namespace
}  // namespace reprise
