#include "server/admin/http_codec.h"

#include <httplib.h>

#include <utility>

namespace reprise::admin {

namespace {

/// Reads from the request, writes into the answer.
class MemoryStream final : public httplib::Stream {
 public:
  MemoryStream(std::string_view in, std::string& out) : in_(in), out_(out) {}
  bool is_readable() const override { return true; }
  bool is_writable() const override { return true; }
  ssize_t read(char* to, std::size_t size) override {
    const std::size_t taken = in_.copy(to, size);
    in_.remove_prefix(taken);
    return static_cast<ssize_t>(taken);
  }
  ssize_t write(const char* from, std::size_t size) override {
    out_.append(from, size);
    return static_cast<ssize_t>(size);
  }
  void get_remote_ip_and_port(std::string&, int&) const override {}
  void get_local_ip_and_port(std::string&, int&) const override {}
  socket_t socket() const override { return 0; }  // Only compared with FD_SETSIZE.

 private:
  std::string_view in_;
  std::string& out_;
};

HttpRequest taken_apart(const httplib::Request& from) {
  HttpRequest to;
  to.method = from.method;
  to.path = from.path;
  for (const auto& [name, value] : from.params) to.params.emplace_back(name, value);
  to.host = from.get_header_value("Host");
  to.origin = from.get_header_value("Origin");
  to.authorization = from.get_header_value("Authorization");
  const std::string length = from.get_header_value("Content-Length");
  to.has_body = from.has_header("Transfer-Encoding") || (!length.empty() && length != "0");
  return to;
}

HttpResponse run(const HttpHandler& handler, const HttpRequest& request) {
  try {
    return handler(request);
  } catch (...) {
    return {500, "application/json",
            R"({"error":"internal: the request could not be carried out"})"
            "\n"};
  }
}

}  // namespace

std::size_t head_bytes(std::string_view received) {
  const std::size_t at = received.find("\r\n\r\n");
  return at == std::string_view::npos ? 0 : at + 4;
}

class HttpCodec::Impl final : public httplib::Server {
 public:
  explicit Impl(HttpHandler handler) : handler_(std::move(handler)) {
    // Every path is the handler's: no patterns, and no regular expressions over what strangers send.
    set_pre_routing_handler([this](const httplib::Request& from, httplib::Response& to) {
      HttpResponse response = run(handler_, taken_apart(from));
      to.status = response.status;
      to.set_content(response.body, response.type);
      for (const auto& [name, value] : response.headers) to.set_header(name, value);
      return HandlerResponse::Handled;
    });
    // What fails before routing has no body of its own.
    set_error_handler([](const httplib::Request&, httplib::Response& to) {
      if (!to.body.empty()) return;
      to.set_content(R"({"error":"invalid: this is no request that HTTP/1.1 allows"})"
                     "\n",
                     "application/json");
    });
    set_default_headers({{"Cache-Control", "no-store"}, {"X-Content-Type-Options", "nosniff"}});
  }

  Answer answer(std::string_view head, bool last) {
    Answer result;
    MemoryStream stream(head, result.bytes);
    bool closed = last;
    const bool ok = process_request(stream, last, closed, [&](httplib::Request& request) {
      request.ranges.clear();  // A thousand overlapping ranges of one page would be a thousand pages.
      if (!taken_apart(request).has_body) return;
      // Where a body that nobody reads would end, the next request would begin.
      request.headers.erase("Connection");
      request.set_header("Connection", "close");
      closed = true;
    });
    result.close = closed || !ok;
    return result;
  }

 private:
  HttpHandler handler_;
};

HttpCodec::HttpCodec(HttpHandler handler) : impl_(std::make_unique<Impl>(std::move(handler))) {}
HttpCodec::~HttpCodec() = default;

HttpCodec::Answer HttpCodec::answer(std::string_view head, bool last) const {
  Answer result;
  try {
    result = impl_->answer(head, last);
  } catch (...) {  // Of the library: nothing of a request may end the server.
    result.bytes.clear();
  }
  if (!result.bytes.empty()) return result;
  return {refusal(400, "Bad Request", "invalid: this is no request that HTTP/1.1 allows"), true};
}

std::string refusal(int status, std::string_view reason, std::string_view text) {
  const std::string body = "{\"error\":\"" + std::string(text) + "\"}\n";
  std::string out = "HTTP/1.1 " + std::to_string(status) + " " + std::string(reason) + "\r\n";
  out += "Content-Type: application/json\r\nCache-Control: no-store\r\nConnection: close\r\nContent-Length: ";
  return out + std::to_string(body.size()) + "\r\n\r\n" + body;
}

}  // namespace reprise::admin
