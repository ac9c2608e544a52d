#include "base/url.h"

#include <algorithm>
#include <utility>

#include "base/size.h"

namespace reprise {

Result<Url> Url::parse(std::string_view text) {
  Url url;
  const std::size_t colon = text.find(':');
  if (colon == 0 || colon == std::string_view::npos) {
    return fail(ErrorCode::kConfig, "\"" + std::string(text) + "\": expected a URL such as disk:/path?capacity=10GiB");
  }
  url.scheme_ = text.substr(0, colon);
  const std::size_t question = text.find('?');
  url.path_ = text.substr(colon + 1, question == std::string_view::npos ? question : question - colon - 1);
  std::string_view rest = question == std::string_view::npos ? std::string_view() : text.substr(question + 1);
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('&'), rest.size());
    const std::string_view pair = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const std::size_t equals = pair.find('=');
    if (equals == 0 || equals == std::string_view::npos) {
      return fail(ErrorCode::kConfig,
                  "\"" + std::string(pair) + "\" in " + std::string(text) + ": expected name=value");
    }
    if (!url.options_.emplace(pair.substr(0, equals), pair.substr(equals + 1)).second) {
      return fail(ErrorCode::kConfig, std::string(pair.substr(0, equals)) + " is given twice in " + std::string(text));
    }
  }
  return url;
}

std::pair<std::string, bool> Url::take(std::string_view option) {
  known_.emplace_back(option);
  const auto found = options_.find(option);
  if (found == options_.end()) return {"", false};
  std::string value = std::move(found->second);
  options_.erase(found);
  return {std::move(value), true};
}

Result<std::uint64_t> Url::take_size(std::string_view option, std::uint64_t fallback) {
  const auto [value, given] = take(option);
  return given ? parse_size(option, value) : Result<std::uint64_t>(fallback);
}

Result<Duration> Url::take_duration(std::string_view option, Duration fallback) {
  const auto [value, given] = take(option);
  return given ? parse_duration(option, value) : Result<Duration>(fallback);
}

Result<std::size_t> Url::take_choice(std::string_view option, std::span<const std::string_view> choices,
                                     std::size_t fallback) {
  const auto [value, given] = take(option);
  if (!given) return fallback;
  std::string all;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    if (choices[i] == value) return i;
    all += (i == 0 ? "" : ", ") + std::string(choices[i]);
  }
  return fail(ErrorCode::kConfig, std::string(option) + "=" + value + ": expected one of " + all);
}

Result<void> Url::finish() const {
  if (options_.empty()) return {};
  std::string all;
  for (const std::string& name : known_) all += (all.empty() ? "" : ", ") + name;
  return fail(ErrorCode::kConfig, scheme_ + ": unknown option \"" + options_.begin()->first +
                                      "\"; there are: " + (all.empty() ? "none" : all));
}

}  // namespace reprise
