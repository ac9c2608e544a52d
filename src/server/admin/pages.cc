#include "server/admin/pages.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <optional>

#include "server/admin/json.h"
#include "server/admin/metrics.h"

namespace reprise::admin {

// Made by CMake from status_page.html.
extern const char kStatusPage[];

namespace {

constexpr std::string_view kJson = "application/json";
constexpr std::string_view kText = "text/plain; charset=utf-8";

HttpResponse json(std::string body, int status = 200) {
  return {status, std::string(kJson), std::move(body)};
}
HttpResponse error(int status, std::string_view text) {
  return json(error_json(text), status);
}

int status_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalid:
    case ErrorCode::kConfig: return 400;
    case ErrorCode::kDenied: return 403;
    default: return 500;
  }
}

std::array<std::uint8_t, 32> sha256(std::string_view text) {
  std::array<std::uint8_t, 32> out{};
  unsigned int size = 0;
  (void)::EVP_Digest(text.data(), text.size(), out.data(), &size, ::EVP_sha256(), nullptr);
  return out;
}

/// Compares digests, so that neither contents nor length shows in the time it takes.
bool same_secret(std::string_view a, std::string_view b) {
  const auto left = sha256(a), right = sha256(b);
  return ::CRYPTO_memcmp(left.data(), right.data(), left.size()) == 0;
}

/// The parameter's value; nullopt when it is not given.
std::optional<std::string> param(const HttpRequest& request, std::string_view name) {
  for (const auto& [key, value] : request.params) {
    if (key == name) return value;
  }
  return std::nullopt;
}

/// What is wrong with the names of the parameters: a purge with a misspelt one would drop more than was meant.
std::optional<std::string> wrong_params(const HttpRequest& request, std::span<const std::string_view> known) {
  for (const auto& [name, value] : request.params) {
    if (name.empty() || std::ranges::find(known, name) == known.end()) {
      std::string text = "invalid: there is no parameter '" + name + "' here";
      for (const std::string_view one : known) {
        if (!one.empty()) text += (text.ends_with("here") ? "; there is: " : ", ") + std::string(one);
      }
      return text;
    }
    const auto same = [&name](const auto& other) { return other.first == name; };
    if (std::ranges::count_if(request.params, same) > 1) return "invalid: '" + name + "' is given twice";
  }
  return std::nullopt;
}

/// Whether a browser on a page of another site may be behind this. Without a token, such a page could post here in the
/// name of whoever looks at it, or have its own name resolve to this machine: so the origin must be this server, and
/// the server be called by an address or as localhost.
bool from_elsewhere(const HttpRequest& request) {
  if (request.origin.empty()) return false;  // No browser.
  if (request.origin != "http://" + request.host && request.origin != "https://" + request.host) return true;
  const bool v6 = request.host.starts_with('[');
  const std::string_view name =
      std::string_view(request.host).substr(0, v6 ? request.host.find(']') + 1 : request.host.find(':'));
  return !v6 && name != "localhost" && name.find_first_not_of("0123456789.") != std::string_view::npos;
}

std::string hash_source(std::string_view page, std::string_view open, std::string_view close) {
  const std::size_t from = page.find(open);
  const std::size_t to = page.find(close, from);
  if (from == std::string_view::npos || to == std::string_view::npos) return "'none'";
  const auto digest = sha256(page.substr(from + open.size(), to - from - open.size()));
  std::array<unsigned char, 48> text{};
  const int size = ::EVP_EncodeBlock(text.data(), digest.data(), static_cast<int>(digest.size()));
  return "'sha256-" + std::string(text.begin(), text.begin() + size) + "'";
}

}  // namespace

bool parse_hex(std::string_view text, std::array<std::uint8_t, 16>& out) {
  if (text.size() != 2 * out.size()) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    int digit = -1;
    if (c >= '0' && c <= '9') digit = c - '0';
    if (c >= 'a' && c <= 'f') digit = c - 'a' + 10;
    if (c >= 'A' && c <= 'F') digit = c - 'A' + 10;
    if (digit < 0) return false;
    out[i / 2] = static_cast<std::uint8_t>(out[i / 2] << 4 | digit);
  }
  return true;
}

std::string_view status_page() {
  return kStatusPage;
}

std::string content_security_policy(std::string_view page) {
  return "default-src 'none'; script-src " + hash_source(page, "<script>", "</script>") + "; style-src " +
         hash_source(page, "<style>", "</style>") +
         "; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
}

Pages::Pages(std::string token, const PageLimits& limits, ServerView& view)
    : token_(std::move(token)), limits_(limits), view_(view), page_policy_(content_security_policy(status_page())) {}

std::span<const Pages::Route> Pages::routes() {
  static constexpr Route kRoutes[] = {
      {"/", "GET", true, {}, &Pages::page},
      {"/healthz", "GET", true, {}, &Pages::healthz},
      {"/readyz", "GET", true, {}, &Pages::readyz},
      {"/metrics", "GET", false, {}, &Pages::metrics},
      {"/v1/stats", "GET", false, {}, &Pages::stats},
      {"/v1/namespaces", "GET", false, {}, &Pages::namespaces},
      {"/v1/sessions", "GET", false, {}, &Pages::sessions},
      {"/v1/explain", "GET", false, {"key"}, &Pages::explain},
      {"/v1/config", "GET", false, {}, &Pages::config},
      {"/v1/purge", "POST", false, {"tenant", "namespace"}, &Pages::purge},
  };
  return kRoutes;
}

HttpResponse Pages::answer(const HttpRequest& request) {
  const auto all = routes();
  const auto route = std::ranges::find(all, request.path, &Route::path);
  // Who has no token learns nothing, not even which paths there are.
  if ((route == all.end() || !route->open) && !authorized(request)) {
    HttpResponse denied = error(401, "denied: send the admin token as 'Authorization: Bearer TOKEN'");
    denied.headers.emplace_back("WWW-Authenticate", "Bearer");
    return denied;
  }
  if (route == all.end()) return error(404, "invalid: there is no such page; docs/operations.md lists them");
  const bool allowed = request.method == route->method || (request.method == "HEAD" && route->method == "GET");
  if (!allowed) {
    HttpResponse wrong = error(405, "invalid: this page is for " + std::string(route->method) + " only");
    wrong.headers.emplace_back("Allow", std::string(route->method));
    return wrong;
  }
  if (request.has_body) return error(400, "invalid: no body is read here; parameters go into the query (?name=value)");
  // Scrapers add parameters of their own; where there are none to mistake, they do no harm.
  if (!route->params[0].empty()) {
    if (const auto wrong = wrong_params(request, route->params)) return error(400, *wrong);
  }
  return (this->*route->answer)(request);
}

bool Pages::authorized(const HttpRequest& request) const {
  if (token_.empty()) return true;
  static constexpr std::string_view kScheme = "Bearer ";
  const std::string_view shown = request.authorization;
  return shown.starts_with(kScheme) && same_secret(shown.substr(kScheme.size()), token_);
}

HttpResponse Pages::page(const HttpRequest&) {
  return {200,
          "text/html; charset=utf-8",
          std::string(status_page()),
          {{"Content-Security-Policy", page_policy_}, {"Referrer-Policy", "no-referrer"}}};
}

HttpResponse Pages::healthz(const HttpRequest&) {
  return {200, std::string(kText), "ok\n"};
}

HttpResponse Pages::readyz(const HttpRequest&) {
  return {view_.ready() ? 200 : 503, std::string(kText), view_.state() + "\n"};
}

HttpResponse Pages::metrics(const HttpRequest&) {
  return {200, "text/plain; version=0.0.4; charset=utf-8", metrics_text(view_)};
}

HttpResponse Pages::stats(const HttpRequest&) {
  return json(stats_json(view_));
}
HttpResponse Pages::namespaces(const HttpRequest&) {
  return json(namespaces_json(view_.namespaces()));
}
HttpResponse Pages::sessions(const HttpRequest&) {
  return json(sessions_json(view_.sessions()));
}
HttpResponse Pages::config(const HttpRequest&) {
  return json(config_json(view_.config()));
}

HttpResponse Pages::explain(const HttpRequest& request) {
  BlockKey key;
  if (!parse_hex(param(request, "key").value_or(""), key.bytes)) {
    return error(400, "invalid: say which block: /v1/explain?key= and the 32 hexadecimal digits of its key");
  }
  return json(explain_json(view_.explain(key, Deadline::after(limits_.explain))));
}

HttpResponse Pages::purge(const HttpRequest& request) {
  if (token_.empty() && from_elsewhere(request)) {
    return error(403, "denied: a page of another site asked for this; set an admin token, or use curl");
  }
  std::optional<NamespaceId> id;
  if (const auto text = param(request, "namespace"); text && !text->empty()) {
    if (!parse_hex(*text, id.emplace().bytes)) {
      return error(400, "invalid: 'namespace' takes the 32 hexadecimal digits that /v1/namespaces shows");
    }
  }
  if (purging_.exchange(true)) return error(409, "busy: another purge is running; try again when it is done");
  const auto purged = view_.purge(param(request, "tenant").value_or(""), id, Deadline::after(limits_.purge));
  purging_ = false;
  if (!purged) {
    return error(status_of(purged.error().code),
                 std::string(to_string(purged.error().code)) + ": " + purged.error().message);
  }
  return json(purged_json(*purged));
}

}  // namespace reprise::admin
