// One HTTP GET, for the commands that ask the admin pages. Plain HTTP: the pages are on loopback, or behind a tunnel.
#pragma once

#include <string>

#include "cli/services.h"

namespace reprise::cli {

/// `url`: "http://host:port/path?query". A token, unless empty, goes along as a bearer token. Waits 10 s at most for
/// each step; answers over 16 MiB are refused. Fails with kInvalid when the URL is none of http://, kIo when nobody
/// answers.
[[nodiscard]] Result<HttpAnswer> http_get(const std::string& url, const std::string& token);

}  // namespace reprise::cli
