// Addresses and options that cannot work.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "reprise/cache.h"
#include "testing/attached_daemon.h"

namespace reprise {
namespace {

using testing::client_options;
using ::testing::HasSubstr;

TEST(OpenAttachedTest, WhatCannotWorkIsAnError) {
  const auto config = [](const std::string& url, const CacheOptions& options, const char* word) {
    const auto cache = open(url, options);
    ASSERT_FALSE(cache.has_value()) << url;
    EXPECT_EQ(cache.error().code, ErrorCode::kConfig) << url;
    EXPECT_THAT(cache.error().message, HasSubstr(word));
  };
  for (const char* url : {"unix:", "unix://", "unix:///", "unix://relative/path", "unix:/run/x"}) {
    config(url, client_options(), "unix:///run");
  }
  for (const char* url : {"tcp:", "tcp://", "tcp://:9600", "tcp://host:0", "tcp://host:70000", "tcp:host:1"}) {
    config(url, client_options(), "tcp://host:9600");
  }
  config("tcp://one:9600,two:9600", client_options(), "groups");
  config("unix:///" + std::string(200, 'x'), client_options(), "x");
  auto options = client_options();
  options.attach_connections = 0;
  config("unix:///tmp/x", options, "attach.connections");
  options = client_options();
  options.attach_timeout = std::chrono::milliseconds(0);
  config("unix:///tmp/x", options, "attach.timeout");
  options = client_options();
  options.attach_token_file = "/nonexistent/token";
  config("unix:///tmp/x", options, "attach.token-file");
  options = client_options();
  options.attach_tls_ca = "/nonexistent/ca.pem";
  config("tcp://127.0.0.1:1", options, "ca.pem");
  options = client_options();
  options.attach_tls_cert = "/nonexistent/cert.pem";
  config("tcp://127.0.0.1:1", options, "attach.tls-key");
}

}  // namespace
}  // namespace reprise
