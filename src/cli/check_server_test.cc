#include "cli/check_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace reprise::cli {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Level = Finding::Level;

auto finding(Level level, const std::string& subject, const std::string& text) {
  return AllOf(Field(&Finding::level, level), Field(&Finding::subject, subject),
               Field(&Finding::text, HasSubstr(text)));
}

class CheckServer : public ::testing::Test {
 protected:
  CheckServer() { options_.listen_admin = ""; }
  [[nodiscard]] std::vector<Finding> run() const {
    return judge_server(options_, [](const std::string& path) { return path.ends_with(".there"); });
  }
  ServerOptions options_;
};

TEST_F(CheckServer, TheDefaultsAreSound) {
  EXPECT_THAT(judge_server({}, is_readable), Each(Field(&Finding::level, Level::kFine)));
}

TEST_F(CheckServer, NothingIsSaidOfNoServer) {
  EXPECT_THAT(run(), IsEmpty());
  options_.listen_unix = "/run/x.sock";
  EXPECT_THAT(run(), IsEmpty());
}

TEST_F(CheckServer, LeavingLoopbackNeedsProtectionOrConsent) {
  for (const char* address : {"0.0.0.0:9600", "[::]:9600", "cache-1:9600", "10.127.0.1:1"}) {
    options_.listen_tcp = address;
    EXPECT_THAT(run(), ElementsAre(finding(Level::kBad, "listen.tcp", "listen.insecure = tcp"))) << address;
  }
  options_.listen_insecure = "admin";
  EXPECT_THAT(run(), ElementsAre(finding(Level::kBad, "listen.tcp", "auth.file or tls.cert"))) << "port by port";
  options_.listen_insecure = "admin,tcp";
  EXPECT_THAT(run(), ElementsAre(finding(Level::kWarning, "listen.tcp", "everybody")));
  options_.auth_file = "tenants.there";
  EXPECT_THAT(run(), ElementsAre(finding(Level::kFine, "listen.tcp", "protected")));
  for (const char* address : {"127.0.0.1:0", "[::1]:9600", "localhost:1"}) {
    options_ = {};
    options_.listen_tcp = options_.listen_admin = address;
    EXPECT_THAT(run(), Each(Field(&Finding::level, Level::kFine))) << address;
  }
  options_.listen_admin = "9601";
  EXPECT_THAT(run().back(), finding(Level::kBad, "listen.admin", "HOST:PORT"));
}

// Tokens of tenants do not protect the admin pages.
TEST_F(CheckServer, TheAdminPagesHaveATokenOfTheirOwn) {
  options_.listen_admin = "0.0.0.0:9601";
  options_.auth_file = "tenants.there";
  EXPECT_THAT(run(), ElementsAre(finding(Level::kBad, "listen.admin", "admin.token-file")));
  options_.admin_token_file = "token.there";
  EXPECT_THAT(run(), ElementsAre(finding(Level::kFine, "listen.admin", "protected")));
}

TEST_F(CheckServer, FilesMustBeThereAndBelongTogether) {
  options_.auth_file = "tenants.gone";
  EXPECT_THAT(run(), ElementsAre(finding(Level::kBad, "auth.file", "tenants.gone")));
  options_.auth_file = "";
  options_.tls_client_ca = "ca.there";
  EXPECT_THAT(run(), ElementsAre(finding(Level::kBad, "tls.client-ca", "needs tls.cert")));
  options_.tls_cert = "cert.there";
  EXPECT_THAT(run(), ElementsAre(finding(Level::kBad, "tls.cert", "go together")));
  options_.tls_key = "key.there";
  EXPECT_THAT(run(), IsEmpty());
}

TEST(IsReadable, IsForFiles) {
  EXPECT_TRUE(is_readable("/proc/self/status"));
  EXPECT_FALSE(is_readable("/proc/self"));
  EXPECT_FALSE(is_readable("/nonexistent"));
}

}  // namespace
}  // namespace reprise::cli
