// The only file that knows toml++.
#include <exception>
#include <string>

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include "base/options.h"

namespace reprise {
namespace {

Result<void> flatten(const toml::table& table, const std::string& prefix, std::string_view path,
                     std::vector<TomlEntry>& out) {
  for (const auto& [key, node] : table) {
    const std::string name = prefix.empty() ? std::string(key.str()) : prefix + "." + std::string(key.str());
    const auto line = static_cast<std::uint32_t>(node.source().begin.line);
    if (const toml::table* inner = node.as_table()) {
      if (const auto done = flatten(*inner, name, path, out); !done) return done;
    } else if (const auto* text = node.as_string()) {
      out.push_back({name, text->get(), line});
    } else if (const auto* number = node.as_integer()) {
      out.push_back({name, std::to_string(number->get()), line});
    } else if (const auto* flag = node.as_boolean()) {
      out.push_back({name, flag->get() ? "true" : "false", line});
    } else {
      return fail(ErrorCode::kConfig, std::string(path) + ":" + std::to_string(line) + ": '" + name +
                                          "' must be a text, a whole number or true/false");
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
