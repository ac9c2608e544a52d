// What each path of the admin pages answers, and to whom.
//
// Thread-safe; keeps a reference to the view, which outlives it. No sockets: admin_server.h has those.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "server/admin/http_codec.h"
#include "server/view.h"

namespace reprise::admin {

struct PageLimits {
  std::chrono::milliseconds explain{2'000};  ///< Longest look for a block.
  std::chrono::milliseconds purge{30'000};   ///< Longest purge.
};

class Pages {
 public:
  /// `token`: what a request must show as a bearer token, except for the paths without data; "" = nothing.
  Pages(std::string token, const PageLimits& limits, ServerView& view);

  [[nodiscard]] HttpResponse answer(const HttpRequest& request);

 private:
  struct Route {
    std::string_view path;
    std::string_view method;
    bool open = false;  ///< Without token: nothing of it is worth protecting.
    std::string_view params[2]{};
    HttpResponse (Pages::*answer)(const HttpRequest&) = nullptr;
  };
  static std::span<const Route> routes();

  [[nodiscard]] bool authorized(const HttpRequest& request) const;
  HttpResponse page(const HttpRequest&);
  HttpResponse healthz(const HttpRequest&);
  HttpResponse readyz(const HttpRequest&);
  HttpResponse metrics(const HttpRequest&);
  HttpResponse stats(const HttpRequest&);
  HttpResponse namespaces(const HttpRequest&);
  HttpResponse sessions(const HttpRequest&);
  HttpResponse config(const HttpRequest&);
  HttpResponse explain(const HttpRequest& request);
  HttpResponse purge(const HttpRequest& request);

  const std::string token_;
  const PageLimits limits_;
  ServerView& view_;
  const std::string page_policy_;
  std::atomic<bool> purging_{false};  // One at a time, so that purges never take all the threads.
};

/// Parses exactly 32 hexadecimal digits; false for anything else.
[[nodiscard]] bool parse_hex(std::string_view text, std::array<std::uint8_t, 16>& out);

/// status_page.html, which CMake puts into the binary.
[[nodiscard]] std::string_view status_page();
/// The Content-Security-Policy under which a page may run its own script and style, by their hashes, and talk to the
/// server it came from. Nothing else: not even a script that found its way into a text.
[[nodiscard]] std::string content_security_policy(std::string_view page);

}  // namespace reprise::admin
