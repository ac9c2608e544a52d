// HTTP/1.1 in memory: the bytes of one request in, the bytes of its answer out. No sockets, no waiting.
//
// Thread-safe if the handler is. The one place that knows cpp-httplib, which here only takes requests apart and puts
// answers together: its own accept loop would keep a thread for each slow client, and stop serving in a process with
// more than a thousand descriptors (select).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace reprise::admin {

struct HttpRequest {
  std::string method;                                       ///< "GET", "POST", ...; "HEAD" arrives as such.
  std::string path;                                         ///< Decoded, without the query.
  std::vector<std::pair<std::string, std::string>> params;  ///< Of the query, decoded; unordered.
  std::string host;                                         ///< Host header.
  std::string origin;                                       ///< Origin header: set by browsers on what pages send.
  std::string authorization;                                ///< Authorization header.
  bool has_body = false;                                    ///< A body follows; it is not read.
};

struct HttpResponse {
  int status = 200;
  std::string type;  ///< Content-Type.
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers{};  ///< Further ones.
};

/// May throw: the client then sees 500.
using HttpHandler = std::function<HttpResponse(const HttpRequest&)>;

/// Bytes up to and including the empty line that ends a request's headers; 0 while it is not there.
[[nodiscard]] std::size_t head_bytes(std::string_view received);

class HttpCodec {
 public:
  explicit HttpCodec(HttpHandler handler);
  ~HttpCodec();

  struct Answer {
    std::string bytes;
    bool close = false;  ///< The connection ends after these bytes.
  };
  /// `head`: a request up to the empty line. What cannot be understood is answered too, with 400. `last`: the answer
  /// says that the connection closes.
  [[nodiscard]] Answer answer(std::string_view head, bool last) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/// A whole answer without a request, for who is turned away before reading: "503 Service Unavailable" and a text.
[[nodiscard]] std::string refusal(int status, std::string_view reason, std::string_view text);

}  // namespace reprise::admin
