// The pages over real sockets: every path, who may see it, and what clients that misbehave do to the others.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "server/admin/admin_server.h"
#include "testing/fake_server_view.h"
#include "testing/http_test_client.h"

namespace reprise {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::HttpTestClient;
using testing::Reply;

using namespace std::string_literals;

constexpr const char* kToken = "a-token-of-enough-bytes";

class AdminTest : public ::testing::Test {
 protected:
  AdminOptions options() const {
    AdminOptions out;
    out.address = {"127.0.0.1", 0};
    return out;
  }
  void start(const AdminOptions& how) {
    auto started = AdminServer::start(how, view_);
    ASSERT_TRUE(started) << started.error().message;
    server_ = std::move(*started);
  }
  Reply ask(const std::string& method, const std::string& target, const std::string& headers = "") {
    HttpTestClient client(server_->port());
    client.send(method + " " + target + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + headers + "\r\n");
    return client.receive();
  }
  Reply get(const std::string& target, const std::string& headers = "") { return ask("GET", target, headers); }

  testing::FakeServerView view_;
  std::unique_ptr<AdminServer> server_;
};

TEST_F(AdminTest, HealthAndReadiness) {
  start(options());
  EXPECT_EQ(get("/healthz").status, 200);
  EXPECT_EQ(get("/readyz").status, 200);
  view_.change([](auto& value) { value.state = "draining"; });
  EXPECT_EQ(get("/healthz").status, 200);
  const Reply reply = get("/readyz");
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(reply.body, "draining\n");
}

TEST_F(AdminTest, StatsOfTenantsAndTheirTotals) {
  start(options());
  const Reply reply = get("/v1/stats");
  ASSERT_EQ(reply.status, 200);
  EXPECT_EQ(reply.headers.at("content-type"), "application/json");
  EXPECT_EQ(reply.headers.at("cache-control"), "no-store");
  const json stats = json::parse(reply.body);
  EXPECT_EQ(stats["state"], "ready");
  EXPECT_EQ(stats["uptime_seconds"], 90);
  EXPECT_GT(stats["resident_memory_bytes"], 1 << 20);
  ASSERT_EQ(stats["tenants"].size(), 2u);
  EXPECT_EQ(stats["tenants"][0]["name"], "default");
  EXPECT_EQ(stats["tenants"][0]["departures"]["evicted"], 1000);
  EXPECT_EQ(stats["tenants"][0]["cache"]["l2"]["name"], "disk");
  EXPECT_TRUE(stats["tenants"][1]["cache"]["l2"].is_null());
  const json& totals = stats["totals"];
  EXPECT_EQ(totals["sessions"], 4);
  EXPECT_EQ(totals["leases"], 6);
  EXPECT_EQ(totals["reserved_bytes"], 2 << 18);
  EXPECT_EQ(totals["cache"]["l1"]["hits"], 1800);
  EXPECT_EQ(totals["cache"]["l2"]["hits"], 300);
  EXPECT_EQ(totals["cache"]["requested"], 4000);
  EXPECT_EQ(totals["cache"]["reasons"]["miss"], 82);
  EXPECT_DOUBLE_EQ(totals["cache"]["populated"], 0.75);
  const json& message = stats["server"]["messages"][0];
  EXPECT_EQ(message["name"], "acquire");
  EXPECT_EQ(message["latency_buckets"].size(), 25u);
  EXPECT_DOUBLE_EQ(message["latency_p50_seconds"], 16e-6);
  EXPECT_NEAR(message["latency_p99_seconds"], 1.024e-3, 1e-9);
}

TEST_F(AdminTest, NamespacesHideTheSalt) {
  start(options());
  const Reply reply = get("/v1/namespaces");
  const json namespaces = json::parse(reply.body);
  ASSERT_EQ(namespaces.size(), 2u);
  EXPECT_EQ(namespaces[0]["spec"]["model"], "meta-llama/Llama-3.1-8B");
  EXPECT_EQ(namespaces[0]["bytes"], 48 << 20);
  EXPECT_TRUE(namespaces[1]["spec"].is_null());
  EXPECT_THAT(reply.body, ::testing::Not(HasSubstr("secret")));
}

TEST_F(AdminTest, SessionsParseWhateverClientsCallThemselves) {
  start(options());
  const json sessions = json::parse(get("/v1/sessions").body);
  EXPECT_EQ(sessions[0]["client"], "engine <script>alert(1)</script> \xef\xbf\xbd");
  EXPECT_EQ(sessions[0]["age_seconds"], 61);
}

TEST_F(AdminTest, ConfigSaysWhereAValueCameFrom) {
  start(options());
  EXPECT_EQ(json::parse(get("/v1/config").body)[0],
            json({{"name", "l1.capacity"}, {"value", "64MiB"}, {"source", "flag"}}));
}

TEST_F(AdminTest, ExplainTakesAKey) {
  start(options());
  const std::string key = "00112233445566778899aAbBcCdDeEfF";
  const Reply reply = get("/v1/explain?key=" + key);
  ASSERT_EQ(reply.status, 200) << reply.body;
  const json found = json::parse(reply.body);
  EXPECT_EQ(found[0]["where"], "memory");
  EXPECT_EQ(found[0]["bytes"], 1 << 18);
  EXPECT_EQ(found[0]["age_seconds"], 12);
  EXPECT_TRUE(found[0]["departed_seconds"].is_null());
  EXPECT_THAT(view_.asked(), ElementsAre("explain 00112233445566778899aabbccddeeff"));
  for (const std::string& bad : {""s, "?key="s, "?key=12"s, "?key=" + key + "0",
                                 "?key=zz112233445566778899aabbccddeeff"s, "?kee=" + key, "?key=" + key + "&key=1"}) {
    const Reply refused = get("/v1/explain" + bad);
    EXPECT_EQ(refused.status, 400) << bad;
    EXPECT_THAT(json::parse(refused.body)["error"], HasSubstr("invalid: "));
  }
  EXPECT_EQ(view_.asked().size(), 1u);
}

TEST_F(AdminTest, PurgeIsPostedAndNeverMoreThanMeant) {
  start(options());
  EXPECT_EQ(get("/v1/purge").status, 405);
  EXPECT_EQ(get("/v1/purge").headers.at("allow"), "POST");
  for (const char* bad : {"?tennant=a", "?namespace=12", "?tenant=a&tenant=b", "?namespace=%00"}) {
    EXPECT_EQ(ask("POST", std::string("/v1/purge") + bad).status, 400) << bad;
  }
  EXPECT_EQ(ask("POST", "/v1/purge", "Content-Length: 8\r\n").status, 400) << "parameters in a body are not read";
  EXPECT_THAT(view_.asked(), ElementsAre());
  const Reply reply = ask("POST", "/v1/purge?tenant=team%2Db", "Content-Length: 0\r\n");
  ASSERT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(json::parse(reply.body)["purged_blocks"], 192);
  EXPECT_EQ(ask("POST", "/v1/purge?tenant=&namespace=0000000000000000000000000000000a").status, 200);
  EXPECT_EQ(ask("POST", "/v1/purge").status, 200);
  EXPECT_THAT(view_.asked(),
              ElementsAre("purge 'team-b' all", "purge '' 0000000000000000000000000000000a", "purge '' all"));
  view_.change([](auto& value) { value.purged = fail(ErrorCode::kInvalid, "there is no tenant 'x'"); });
  const Reply refused = ask("POST", "/v1/purge?tenant=x");
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(json::parse(refused.body)["error"], "invalid: there is no tenant 'x'");
}

TEST_F(AdminTest, ABodyIsNeverTakenForARequest) {
  start(options());
  for (const char* framing : {"Content-Length: 34", "Transfer-Encoding: chunked", "Content-Length: x"}) {
    HttpTestClient client(server_->port());
    client.send("GET /healthz HTTP/1.1\r\nHost: a\r\n"s + framing +
                "\r\n\r\nPOST /v1/purge HTTP/1.1\r\nHost: a\r\n\r\n");
    const Reply reply = client.receive();
    EXPECT_EQ(reply.status, 400) << framing;
    EXPECT_EQ(reply.headers.at("connection"), "close") << framing;
    EXPECT_TRUE(client.closed()) << framing;
  }
  EXPECT_THAT(view_.asked(), ElementsAre());
}

TEST_F(AdminTest, PagesOfOtherSitesCannotPurge) {
  start(options());
  const auto post = [&](const std::string& host, const std::string& origin) {
    HttpTestClient client(server_->port());
    client.send("POST /v1/purge HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\nOrigin: " + origin + "\r\n\r\n");
    return client.receive().status;
  };
  EXPECT_EQ(post("127.0.0.1:9601", "http://evil.example"), 403);
  EXPECT_EQ(post("127.0.0.1:9601", "null"), 403);
  EXPECT_EQ(post("evil.example:9601", "http://evil.example:9601"), 403) << "a name that leads here";
  EXPECT_EQ(view_.asked().size(), 0u);
  EXPECT_EQ(post("127.0.0.1:9601", "http://127.0.0.1:9601"), 200);
  EXPECT_EQ(post("[::1]:9601", "http://[::1]:9601"), 200);
  EXPECT_EQ(post("localhost:9601", "http://localhost:9601"), 200);
}

TEST_F(AdminTest, UnknownPathsAndWrongMethods) {
  start(options());
  for (const char* path : {"/v1", "/v1/", "/v1/stats/", "/etc/passwd", "/../etc/passwd", "/favicon.ico", "//"}) {
    const Reply reply = get(path);
    EXPECT_EQ(reply.status, 404) << path;
    EXPECT_TRUE(json::parse(reply.body).contains("error"));
  }
  for (const char* method : {"POST", "PUT", "DELETE", "OPTIONS", "PATCH"}) {
    EXPECT_EQ(ask(method, "/v1/stats").status, 405) << method;
  }
  const Reply head = ask("HEAD", "/v1/stats");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.body, "");
}

TEST_F(AdminTest, TokenGuardsWhatShowsData) {
  AdminOptions guarded = options();
  guarded.token = kToken;
  start(guarded);
  for (const char* path : {"/", "/healthz", "/readyz"}) EXPECT_EQ(get(path).status, 200) << path;
  const std::string right = std::string("Authorization: Bearer ") + kToken + "\r\n";
  for (const char* path : {"/metrics", "/v1/stats", "/v1/namespaces", "/v1/sessions", "/v1/config",
                           "/v1/explain?key=00112233445566778899aabbccddeeff"}) {
    EXPECT_EQ(get(path, right).status, 200) << path;
    const Reply denied = get(path);
    EXPECT_EQ(denied.status, 401) << path;
    EXPECT_EQ(denied.headers.at("www-authenticate"), "Bearer");
    EXPECT_THAT(json::parse(denied.body)["error"], HasSubstr("Authorization: Bearer"));
  }
  EXPECT_EQ(get("/nothing").status, 401) << "who has no token does not learn which paths there are";
  EXPECT_EQ(ask("POST", "/v1/purge").status, 401);
  for (const char* wrong :
       {"Authorization: Bearer \r\n", "Authorization: Bearer a-token-of-enough-byte\r\n",
        "Authorization: Bearer a-token-of-enough-bytes2\r\n", "Authorization: Basic a-token-of-enough-bytes\r\n",
        "Authorization: a-token-of-enough-bytes\r\n"}) {
    EXPECT_EQ(get("/v1/stats", wrong).status, 401) << wrong;
  }
  EXPECT_EQ(ask("POST", "/v1/purge", right + "Origin: http://elsewhere\r\n").status, 200)
      << "no page can make a browser send the token";
}

TEST_F(AdminTest, ShortTokensAreRefused) {
  AdminOptions weak = options();
  weak.token = "hunter2";
  const auto started = AdminServer::start(weak, view_);
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, ErrorCode::kConfig);
  EXPECT_THAT(started.error().message, HasSubstr("admin"));
}

TEST_F(AdminTest, TheSecondServerOnAPortIsTold) {
  start(options());
  AdminOptions same = options();
  same.address.port = server_->port();
  const auto second = AdminServer::start(same, view_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kConfig);
  EXPECT_THAT(second.error().message, HasSubstr("listen.admin: "));
  EXPECT_THAT(second.error().message, HasSubstr("taken"));
  server_.reset();
  EXPECT_TRUE(AdminServer::start(same, view_)) << "and may have it when the first is gone";
}

TEST_F(AdminTest, ThePageIsOfOnePiece) {
  start(options());
  const Reply reply = get("/");
  ASSERT_EQ(reply.status, 200);
  EXPECT_EQ(reply.headers.at("content-type"), "text/html; charset=utf-8");
  const std::string& policy = reply.headers.at("content-security-policy");
  EXPECT_THAT(policy, HasSubstr("default-src 'none'"));
  EXPECT_THAT(policy, HasSubstr("script-src 'sha256-"));
  EXPECT_THAT(policy, ::testing::Not(HasSubstr("unsafe")));
  EXPECT_THAT(reply.body, ::testing::StartsWith("<!doctype html>"));
  EXPECT_THAT(reply.body, ::testing::EndsWith("</html>\n"));
  std::string rest = reply.body;
  for (const char* name : {"http://www.w3.org/2000/svg"}) {  // A name, not an address: nothing is fetched.
    for (std::size_t at; (at = rest.find(name)) != std::string::npos;) rest.erase(at, std::string(name).size());
  }
  for (const char* outside : {"http:", "https:", "//cdn", "@import", "url(", "src=", "innerHTML", "outerHTML",
                              "insertAdjacentHTML", "document.write", "eval(", "localStorage"}) {
    EXPECT_EQ(rest.find(outside), std::string::npos) << outside;
  }
}

TEST_F(AdminTest, KeepsConnectionsOpen) {
  start(options());
  HttpTestClient client(server_->port());
  for (int i = 0; i < 3; ++i) {
    client.send("GET /v1/stats HTTP/1.1\r\nHost: a\r\n\r\n");
    EXPECT_EQ(client.receive().status, 200);
  }
  // Two at once, the second in two pieces.
  client.send("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /nothing HTTP/1.1\r\nHo");
  EXPECT_EQ(client.receive().status, 200);
  client.send("st: a\r\n\r\n");
  EXPECT_EQ(client.receive().status, 404);
  client.send("GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(client.receive().status, 200);
  EXPECT_TRUE(client.closed());
}

TEST_F(AdminTest, TheLastRequestOfAConnectionSaysSo) {
  AdminOptions how = options();
  how.http.requests = 2;
  start(how);
  HttpTestClient client(server_->port());
  client.send("GET /healthz HTTP/1.1\r\n\r\nGET /healthz HTTP/1.1\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n");
  EXPECT_EQ(client.receive().status, 200);
  const Reply second = client.receive();
  EXPECT_EQ(second.status, 200);
  EXPECT_EQ(second.headers.at("connection"), "close");
  EXPECT_TRUE(client.closed());
}

TEST_F(AdminTest, GarbageIsAnsweredAndEndsThere) {
  start(options());
  const std::string many(7000, 'x');
  for (const std::string& text :
       {std::string("\r\n\r\n"), std::string("hello\r\n\r\n"), std::string("GET\r\n\r\n"),
        std::string("GET / HTTP/9.9\r\n\r\n"), "GET /" + many + "\0\xff"s + " HTTP/1.1\r\n\r\n"s,
        "GET /%zz%%% HTTP/1.1\r\nHost: a\r\n\r\n"s, "BREW / HTTP/1.1\r\n\r\n"s}) {
    HttpTestClient client(server_->port());
    client.send(text);
    const int status = client.receive().status;
    EXPECT_GE(status, 400) << text;
    EXPECT_LT(status, 500) << text;
  }
  EXPECT_EQ(get("/healthz").status, 200);
}

TEST_F(AdminTest, LongHeadersAreRefused) {
  start(options());
  HttpTestClient client(server_->port());
  client.send("GET / HTTP/1.1\r\nX: " + std::string(9000, 'x') + "\r\n\r\n");
  EXPECT_EQ(client.receive().status, 431);
  EXPECT_TRUE(client.closed());
}

TEST_F(AdminTest, RangesDoNotMultiplyThePage) {
  start(options());
  const std::size_t whole = get("/").body.size();
  std::string range = "Range: bytes=0-";
  while (range.size() < 6000) range += ",0-";
  const Reply reply = get("/", range + "\r\n");
  EXPECT_LE(reply.body.size(), whole);
}

TEST_F(AdminTest, HalfRequestsDoNotKeepOthersWaiting) {
  AdminOptions how = options();
  how.http.connections = 8;
  start(how);
  std::vector<std::unique_ptr<HttpTestClient>> slow;
  for (int i = 0; i < 20; ++i) {  // More than there may be connections, and than there are threads.
    slow.push_back(std::make_unique<HttpTestClient>(server_->port()));
    slow.back()->send("GET /v1/stats HTTP/1.1\r\nHo");
    EXPECT_EQ(get("/healthz").status, 200);
  }
}

TEST_F(AdminTest, HalfRequestsAreGivenUp) {
  AdminOptions how = options();
  how.http.request_timeout = std::chrono::milliseconds(50);
  start(how);
  HttpTestClient half(server_->port());
  half.send("GET /v1/stats HTTP/1.1\r\nHo");
  EXPECT_EQ(half.receive().status, 408);
  EXPECT_TRUE(half.closed());
  HttpTestClient silent(server_->port());
  EXPECT_TRUE(silent.closed());
}

TEST_F(AdminTest, ReadersThatStopAreGivenUp) {
  AdminOptions how = options();
  how.http.write_timeout = std::chrono::milliseconds(50);
  // An answer that no socket's buffers hold.
  view_.change(
      [](auto& value) { value.config.assign(40'000, {std::string(200, 'n'), std::string(200, 'v'), "file"}); });
  start(how);
  HttpTestClient stopped(server_->port());
  stopped.send("GET /v1/config HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(get("/healthz").status, 200);
  EXPECT_TRUE(stopped.ended_within(how.http.write_timeout + std::chrono::seconds(30))) << "the rest never comes";
  EXPECT_EQ(get("/healthz").status, 200);
}

// A counting semaphore. That of libstdc++ 12 loses wakeups now and then (GCC bug 104928).
class Turnstile {
 public:
  void release() {
    const std::scoped_lock lock(mutex_);
    ++free_;
    wake_.notify_one();
  }
  void acquire() {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return free_ > 0; });
    --free_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  int free_ = 0;
};

TEST_F(AdminTest, AnAnswerThatTakesItsTimeKeepsNobodyWaiting) {
  Turnstile entered, go;
  view_.before_answer = [&] {
    entered.release();
    go.acquire();
  };
  start(options());
  HttpTestClient purge(server_->port());
  purge.send("POST /v1/purge HTTP/1.1\r\nHost: a\r\n\r\n");
  entered.acquire();
  EXPECT_EQ(ask("POST", "/v1/purge").status, 409) << "one at a time";
  EXPECT_EQ(get("/v1/stats").status, 200);
  go.release();
  EXPECT_EQ(purge.receive().status, 200);
  // Its client gone in the middle, the answer is dropped.
  {
    HttpTestClient gone(server_->port());
    gone.send("POST /v1/purge HTTP/1.1\r\nHost: a\r\n\r\n");
    entered.acquire();
  }
  go.release();
  EXPECT_EQ(get("/healthz").status, 200);
  server_.reset();  // Waits for it, and needs what stands on this stack.
}

TEST_F(AdminTest, ManyAtOnce) {
  start(options());
  std::vector<std::thread> clients;
  clients.reserve(8);
  std::atomic<int> right{0};
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&, i] {
      HttpTestClient client(server_->port());
      for (int n = 0; n < 25; ++n) {
        const char* path = (i + n) % 3 == 0 ? "/metrics" : (i + n) % 3 == 1 ? "/v1/stats" : "/";
        client.send(std::string("GET ") + path + " HTTP/1.1\r\nHost: a\r\n\r\n");
        if (client.receive().status == 200) ++right;
        view_.change([](auto& value) { ++value.server.connections; });
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(right, 200);
}

}  // namespace
}  // namespace reprise
