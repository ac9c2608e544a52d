// The only file that knows toml++.
#include <exception>
#include <optional>
#include <string>
#include <utility>

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include "base/options.h"

namespace reprise {
namespace {

// A text, a whole number or a boolean as text.
std::optional<std::string> scalar(const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* number = node.as_integer()) return std::to_string(number->get());
  if (const auto* flag = node.as_boolean()) return flag->get() ? "true" : "false";
  return std::nullopt;
}

std::optional<std::string> joined(const toml::array& array) {
  std::string out;
  for (const toml::node& node : array) {
    const auto element = scalar(node);
    if (!element) return std::nullopt;
    out += (out.empty() ? "" : ",") + *element;
  }
  return out;
}

Result<void> flatten(const toml::table& table, const std::string& prefix, std::string_view path,
                     std::vector<TomlEntry>& out) {
  for (const auto& [key, node] : table) {
    const std::string name = prefix.empty() ? std::string(key.str()) : prefix + "." + std::string(key.str());
    const auto line = static_cast<std::uint32_t>(node.source().begin.line);
    if (const toml::table* inner = node.as_table()) {
      if (const auto done = flatten(*inner, name, path, out); !done) return done;
    } else if (auto text = scalar(node)) {
      out.push_back({name, std::move(*text), line, false});
    } else if (auto list = node.is_array() ? joined(*node.as_array()) : std::nullopt) {
      out.push_back({name, std::move(*list), line, true});
    } else {
      return fail(ErrorCode::kConfig, std::string(path) + ":" + std::to_string(line) + ": '" + name +
                                          "' must be a text, a whole number, true/false or a list of these");
    }
  }
  return {};
}

}  // namespace

Result<std::vector<TomlEntry>> parse_toml(std::string_view text, std::string_view path) {
  const toml::parse_result parsed = toml::parse(text);
  if (!parsed) {
    return fail(ErrorCode::kConfig, std::string(path) + ":" + std::to_string(parsed.error().source().begin.line) +
                                        ": not TOML: " + std::string(parsed.error().description()));
  }
  std::vector<TomlEntry> out;
  if (const auto done = flatten(parsed.table(), "", path, out); !done) return std::unexpected(done.error());
  return out;
}

}  // namespace reprise
