// The only file that knows cpp-httplib.
#include "cli/http_get.h"

#include <httplib.h>

namespace reprise::cli {
namespace {

constexpr std::size_t kLargestAnswer = 16 << 20;
constexpr time_t kSeconds = 10;

std::string why(httplib::Error error) {
  switch (error) {
    case httplib::Error::Connection:
    case httplib::Error::ConnectionTimeout: return "could not connect";
    case httplib::Error::Read: return "the answer did not come";
    case httplib::Error::Canceled: return "the answer is over 16 MiB";
    default: return httplib::to_string(error);
  }
}

}  // namespace

Result<HttpAnswer> http_get(const std::string& url, const std::string& token) {
  static constexpr std::string_view kScheme = "http://";
  const std::size_t slash = url.find('/', kScheme.size());
  if (!url.starts_with(kScheme) || slash == kScheme.size() || url.size() == kScheme.size()) {
    return fail(ErrorCode::kInvalid, "'" + url + "' is not an http:// URL with a host");
  }
  const std::string path = slash == std::string::npos ? "/" : url.substr(slash);
  httplib::Client client(url.substr(0, slash));
  if (!client.is_valid())
    return fail(ErrorCode::kInvalid, "'" + url + "' is not an http:// URL with a host and a port");
  client.set_connection_timeout(kSeconds);
  client.set_read_timeout(kSeconds);
  client.set_write_timeout(kSeconds);
  if (!token.empty()) client.set_bearer_token_auth(token);
  HttpAnswer answer;
  const auto result = client.Get(path, [&answer](const char* data, std::size_t size) {
    if (answer.body.size() + size > kLargestAnswer) return false;
    answer.body.append(data, size);
    return true;
  });
  if (!result) {
    return fail(ErrorCode::kIo, "no answer from " + url.substr(0, slash) + ": " + why(result.error()));
  }
  answer.status = result->status;
  return answer;
}

}  // namespace reprise::cli
