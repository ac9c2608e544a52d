// Layers defaults, file, environment and flags into one set of options, and remembers where each came from.
#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <unordered_map>

#include "base/options.h"
#include "base/suggest.h"

namespace reprise {
namespace {

constexpr std::string_view kPrefix = "REPRISE_";
constexpr std::string_view kConfigName = "REPRISE_CONFIG";
// Environment names with this prefix that are not options.
constexpr std::array<std::string_view, 3> kOtherNames = {kConfigName, "REPRISE_CACHE", "REPRISE_LOG"};
constexpr std::size_t kLargestFile = 1 << 20;

struct Setting {
  std::string name;  // of the option
  std::string text;
  OptionSource source;
  std::string where;
};

std::vector<std::string_view> option_names() {
  std::vector<std::string_view> names;
  for (const OptionSpec& spec : option_table()) names.push_back(spec.name);
  return names;
}

Result<std::string> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return fail(ErrorCode::kConfig, "cannot read the configuration file " + path);
  std::string text(kLargestFile + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() > kLargestFile) return fail(ErrorCode::kConfig, path + " is larger than 1 MiB: not a configuration");
  return text;
}

Result<void> from_file(const std::string& path, std::vector<Setting>& settings, std::vector<std::string>& warnings) {
  const auto text = read_file(path);
  if (!text) return std::unexpected(text.error());
  auto entries = parse_toml(*text, path);
  if (!entries) return std::unexpected(entries.error());
  for (TomlEntry& entry : *entries) {
    std::string where = path + ":" + std::to_string(entry.line);
    const OptionSpec* spec = find_option(entry.key);
    if (spec == nullptr) {
      warnings.push_back(where + ": unknown option '" + entry.key + "'" + did_you_mean(entry.key, option_names()));
      continue;
    }
    if (entry.is_array && spec->type != OptionType::kList) {
      return fail(ErrorCode::kConfig, where + ": '" + entry.key + "' takes one value, not a list");
    }
    settings.push_back({std::move(entry.key), std::move(entry.text), OptionSource::kFile, std::move(where)});
  }
  return {};
}

void from_environment(const std::vector<std::string>& environment, std::vector<Setting>& settings,
                      std::vector<std::string>& warnings) {
  std::unordered_map<std::string, std::string_view> by_variable;
  for (const OptionSpec& spec : option_table()) by_variable.emplace(spec.environment(), spec.name);
  std::vector<std::string_view> known(kOtherNames.begin(), kOtherNames.end());
  for (const auto& [variable, name] : by_variable) known.push_back(variable);
  std::sort(known.begin(), known.end());
  for (const std::string& line : environment) {
    const std::size_t equals = line.find('=');
    if (!line.starts_with(kPrefix) || equals == std::string::npos) continue;
    const std::string variable = line.substr(0, equals);
    if (const auto found = by_variable.find(variable); found != by_variable.end()) {
      settings.push_back({std::string(found->second), line.substr(equals + 1), OptionSource::kEnvironment, variable});
    } else if (std::find(kOtherNames.begin(), kOtherNames.end(), variable) == kOtherNames.end()) {
      warnings.push_back("unknown environment variable " + variable + did_you_mean(variable, known));
    }
  }
}

Result<void> from_flags(const std::vector<std::pair<std::string, std::string>>& flags, std::vector<Setting>& settings) {
  for (const auto& [name, text] : flags) {
    const OptionSpec* spec = find_option(name);
    if (spec == nullptr) return fail(ErrorCode::kConfig, "there is no option " + name);
    const auto earlier = std::find_if(settings.begin(), settings.end(), [&](const Setting& setting) {
      return setting.source == OptionSource::kFlag && setting.name == name;
    });
    if (spec->type == OptionType::kList && earlier != settings.end()) {
      earlier->text += "," + text;
    } else {
      settings.push_back({name, text, OptionSource::kFlag, spec->flag()});
    }
  }
  return {};
}

std::string config_path(const OptionInputs& inputs) {
  if (!inputs.toml_path.empty()) return inputs.toml_path;
  for (const std::string& line : inputs.environment) {
    if (line.starts_with(kConfigName) && line.size() > kConfigName.size() && line[kConfigName.size()] == '=') {
      return line.substr(kConfigName.size() + 1);
    }
  }
  return "";
}

}  // namespace

Result<ResolvedOptions> resolve_options(const OptionInputs& inputs) {
  ResolvedOptions out;
  std::vector<Setting> settings;  // weakest first
  if (const std::string path = config_path(inputs); !path.empty()) {
    if (const auto read = from_file(path, settings, out.warnings); !read) return std::unexpected(read.error());
  }
  from_environment(inputs.environment, settings, out.warnings);
  if (const auto read = from_flags(inputs.flags, settings); !read) return std::unexpected(read.error());
  for (const OptionSpec& spec : option_table()) {
    ResolvedOption resolved{&spec, "", OptionSource::kDefault, "default"};
    for (const Setting& setting : settings) {
      if (setting.name != spec.name) continue;
      // A value that is overridden is checked too: it would fail the day its override goes.
      if (const auto set = set_option(spec, setting.text, setting.where, out); !set) {
        return std::unexpected(set.error());
      }
      resolved.source = setting.source;
      resolved.where = setting.where;
    }
    resolved.text = option_text(spec, out);
    out.options.push_back(std::move(resolved));
  }
  return out;
}

}  // namespace reprise
