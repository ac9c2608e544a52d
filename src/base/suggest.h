// "Did you mean ...?" for names a person typed. Pure functions.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace reprise {

/// The candidate nearest to `name` by edit distance, or "" when none is near enough to be meant.
[[nodiscard]] std::string_view nearest_name(std::string_view name, std::span<const std::string_view> candidates);

/// " (did you mean 'x'?)", or "" when nothing is near.
[[nodiscard]] std::string did_you_mean(std::string_view name, std::span<const std::string_view> candidates);

}  // namespace reprise
