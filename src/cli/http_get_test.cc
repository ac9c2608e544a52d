#include "cli/http_get.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <thread>

namespace reprise::cli {
namespace {

using ::testing::HasSubstr;

class HttpGet : public ::testing::Test {
 protected:
  HttpGet() {
    server_.Get("/v1/echo", [](const httplib::Request& request, httplib::Response& response) {
      response.set_content(request.get_param_value("key") + "|" + request.get_header_value("Authorization"),
                           "text/plain");
    });
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    while (!server_.is_running()) std::this_thread::yield();
  }
  ~HttpGet() override {
    server_.stop();
    thread_.join();
  }
  [[nodiscard]] std::string url(const std::string& path) const {
    return "http://127.0.0.1:" + std::to_string(port_) + path;
  }

  httplib::Server server_;
  int port_ = 0;
  std::thread thread_;
};

TEST_F(HttpGet, SendsTheTokenAndAnswersStatusAndBody) {
  const auto answer = http_get(url("/v1/echo?key=ab"), "secret");
  ASSERT_TRUE(answer.has_value()) << answer.error().message;
  EXPECT_EQ(answer->status, 200);
  EXPECT_EQ(answer->body, "ab|Bearer secret");
  EXPECT_EQ(http_get(url("/v1/echo?key=ab"), "")->body, "ab|");
  EXPECT_EQ(http_get(url("/none"), "")->status, 404);
  EXPECT_EQ(http_get(url(""), "")->status, 404);
}

TEST_F(HttpGet, NobodyThereIsAnError) {
  const std::string here = url("/v1/echo");
  server_.stop();
  thread_.join();
  thread_ = std::thread([] {});
  const auto answer = http_get(here, "");
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().code, ErrorCode::kIo);
  EXPECT_THAT(answer.error().message, HasSubstr("could not connect"));
}

TEST(HttpGetUrl, MustBeOne) {
  for (const char* url : {"", "http://", "http:///x", "https://127.0.0.1:1/", "127.0.0.1:1/x", "ftp://x/"}) {
    const auto answer = http_get(url, "");
    ASSERT_FALSE(answer.has_value()) << url;
    EXPECT_EQ(answer.error().code, ErrorCode::kInvalid) << url;
  }
}

}  // namespace
}  // namespace reprise::cli
