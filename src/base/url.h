// URLs of stores: `scheme:path?option=value&option=value`. A value type; every option must be taken by somebody, so
// that a misspelt one is an error and not a silent default.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "reprise/deadline.h"
#include "reprise/status.h"

namespace reprise {

class Url {
 public:
  /// Fails with kConfig when there is no scheme, an option has no name, or an option is given twice. No %-decoding.
  [[nodiscard]] static Result<Url> parse(std::string_view text);

  [[nodiscard]] const std::string& scheme() const { return scheme_; }
  [[nodiscard]] const std::string& path() const { return path_; }

  // Each returns `fallback` when the option is absent and fails with kConfig, naming it, when its value is wrong.
  [[nodiscard]] Result<std::uint64_t> take_size(std::string_view option, std::uint64_t fallback);
  [[nodiscard]] Result<Duration> take_duration(std::string_view option, Duration fallback);
  /// Index into `choices`.
  [[nodiscard]] Result<std::size_t> take_choice(std::string_view option, std::span<const std::string_view> choices,
                                                std::size_t fallback);
  /// Fails with kConfig, listing what could have been given, when an option was not taken.
  [[nodiscard]] Result<void> finish() const;

 private:
  /// The value and true, or "" and false; remembers that `option` exists.
  std::pair<std::string, bool> take(std::string_view option);

  std::string scheme_;
  std::string path_;
  std::map<std::string, std::string, std::less<>> options_;
  std::vector<std::string> known_;
};

}  // namespace reprise
