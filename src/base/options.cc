#include "base/options.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <type_traits>

#include "base/options_values.h"

namespace reprise {
namespace {

std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> out;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(at), text.size());
    out.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

bool same_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

std::unexpected<Error> bad(std::string_view where, std::string_view text, const std::string& what) {
  return fail(ErrorCode::kConfig, std::string(where) + ": '" + std::string(text) + "' " + what);
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kBlank = " \t";
  text.remove_prefix(std::min(text.find_first_not_of(kBlank), text.size()));
  return text.substr(0, text.find_last_not_of(kBlank) + 1);
}

// The number a numeric option's text stands for, in bytes, units or milliseconds, checked against its range.
Result<std::uint64_t> parse_number(const OptionSpec& spec, std::string_view text, std::string_view where) {
  std::uint64_t value = 0;
  if (spec.type == OptionType::kSize) {
    const auto size = read_size(text);
    if (!size) return fail(ErrorCode::kConfig, std::string(where) + ": " + size.error().message);
    value = *size;
  } else if (spec.type == OptionType::kDuration) {
    const auto span = read_duration(text);
    if (!span) return fail(ErrorCode::kConfig, std::string(where) + ": " + span.error().message);
    value = static_cast<std::uint64_t>(span->count());
  } else {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return bad(where, text, "is not a whole number");
  }
  if (value < spec.min || value > spec.max) return bad(where, text, "is outside " + spec.range());
  return value;
}

Result<bool> parse_bool(std::string_view text, std::string_view where) {
  for (const std::string_view yes : {"true", "on", "yes", "1"}) {
    if (same_ignoring_case(text, yes)) return true;
  }
  for (const std::string_view no : {"false", "off", "no", "0"}) {
    if (same_ignoring_case(text, no)) return false;
  }
  return bad(where, text, "is neither true nor false");
}

Result<std::size_t> parse_choice(const OptionSpec& spec, std::string_view text, std::string_view where) {
  const auto choices = split(spec.choices, '|');
  for (std::size_t i = 0; i < choices.size(); ++i) {
    if (same_ignoring_case(choices[i], text)) return i;
  }
  return bad(where, text, "is not " + spec.range());
}

// The list in the form in which it is kept: elements checked, no blanks.
Result<std::string> parse_list(const OptionSpec& spec, std::string_view text, std::string_view where) {
  std::string out;
  for (const std::string_view part : split(text, ',')) {
    const std::string_view element = trim(part);
    out += out.empty() ? "" : ",";
    if (spec.choices.empty()) {
      const auto value = parse_number(spec, element, where);
      if (!value) return std::unexpected(value.error());
      out += std::to_string(*value);
    } else {
      const auto choice = parse_choice(spec, element, where);
      if (!choice) return std::unexpected(choice.error());
      out += split(spec.choices, '|').at(*choice);
    }
  }
  return out;
}

// A field of either part.
template <typename T>
T& at(Options& options, T CacheOptions::* field) {
  return options.cache.*field;
}
template <typename T>
T& at(Options& options, T ServerOptions::* field) {
  return options.server.*field;
}
template <typename T>
const T& at(const Options& options, T CacheOptions::* field) {
  return options.cache.*field;
}
template <typename T>
const T& at(const Options& options, T ServerOptions::* field) {
  return options.server.*field;
}

std::string alternatives(std::string_view choices, std::string_view conjunction) {
  const auto names = split(choices, '|');
  std::string out;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i > 0) out += i + 1 == names.size() ? conjunction : ", ";
    out += names[i];
  }
  return out;
}

}  // namespace

bool OptionSpec::of_server() const {
  return std::visit([]<typename T, typename Part>(T Part::*) { return std::is_same_v<Part, ServerOptions>; }, field);
}

std::string OptionSpec::flag() const {
  std::string out = "--" + std::string(name);
  std::replace(out.begin(), out.end(), '.', '-');
  return out;
}

std::string OptionSpec::environment() const {
  std::string out = "REPRISE_" + std::string(name);
  for (char& c : out) c = c == '.' || c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return out;
}

std::string OptionSpec::range() const {
  const auto show = [this](std::uint64_t n) {
    if (type == OptionType::kSize) return size_text(n);
    if (type == OptionType::kDuration) return duration_text(std::chrono::milliseconds(n));
    return std::to_string(n);
  };
  if (type == OptionType::kBool) return "true or false";
  if (type == OptionType::kText) return "text";
  if (type == OptionType::kChoice) return alternatives(choices, " or ");
  if (type == OptionType::kList) {
    return choices.empty() ? "numbers from " + show(min) + " to " + show(max) : "any of " + alternatives(choices, ", ");
  }
  if (max == UINT64_MAX) return show(min) + " or more";
  return show(min) + " to " + show(max);
}

Result<void> set_option(const OptionSpec& spec, std::string_view text, std::string_view where, Options& into) {
  return std::visit(
      [&](auto field) -> Result<void> {
        auto& kept = at(into, field);
        using Value = std::remove_reference_t<decltype(kept)>;
        if constexpr (std::is_same_v<Value, std::string>) {
          const auto value = spec.type == OptionType::kList ? parse_list(spec, text, where) : std::string(text);
          if (!value) return std::unexpected(value.error());
          kept = *value;
        } else if constexpr (std::is_same_v<Value, bool>) {
          const auto value = parse_bool(text, where);
          if (!value) return std::unexpected(value.error());
          kept = *value;
        } else if constexpr (std::is_enum_v<Value>) {
          const auto value = parse_choice(spec, text, where);
          if (!value) return std::unexpected(value.error());
          kept = static_cast<Value>(*value);
        } else {
          const auto value = parse_number(spec, text, where);
          if (!value) return std::unexpected(value.error());
          kept = Value(*value);
        }
        return {};
      },
      spec.field);
}

std::string option_text(const OptionSpec& spec, const Options& from) {
  return std::visit(
      [&](auto field) -> std::string {
        const auto& kept = at(from, field);
        using Value = std::remove_cvref_t<decltype(kept)>;
        if constexpr (std::is_same_v<Value, std::string>) {
          return kept;
        } else if constexpr (std::is_same_v<Value, bool>) {
          return kept ? "true" : "false";
        } else if constexpr (std::is_enum_v<Value>) {
          return std::string(split(spec.choices, '|').at(static_cast<std::size_t>(kept)));
        } else if constexpr (std::is_same_v<Value, std::chrono::milliseconds>) {
          return duration_text(kept);
        } else {
          return spec.type == OptionType::kSize ? size_text(kept) : std::to_string(kept);
        }
      },
      spec.field);
}

std::string_view to_string(OptionSource source) {
  switch (source) {
    case OptionSource::kDefault: return "default";
    case OptionSource::kFile: return "file";
    case OptionSource::kEnvironment: return "environment";
    case OptionSource::kFlag: return "flag";
  }
  return "unknown";
}

}  // namespace reprise
