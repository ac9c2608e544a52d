#include "cli/option_flags.h"

#include <CLI/CLI.hpp>
#include <ostream>

namespace reprise::cli {
namespace {

bool is_of(const OptionSpec& spec, OptionFlags::Scope scope) {
  switch (scope) {
    case OptionFlags::Scope::kCache: return !spec.of_server();
    case OptionFlags::Scope::kServer: return !spec.name.starts_with("attach.");
    case OptionFlags::Scope::kAll: return true;
  }
  return true;
}

const char* group_of(const OptionSpec& spec) {
  if (spec.of_server()) return "Server options";
  return spec.name.starts_with("attach.") ? "Options to reach a server" : "Cache options";
}

}  // namespace

OptionFlags::OptionFlags(CLI::App& app, Scope scope) : command_(app.get_name()) {
  app.add_option("--config", toml_path_, "TOML file with options (or REPRISE_CONFIG)")
      ->type_name("FILE")
      ->group(group_of(option_table().front()));
  const Options defaults;
  for (const OptionSpec& spec : option_table()) {
    if (!is_of(spec, scope)) continue;
    const std::string names = spec.flag() + (spec.alias.empty() ? "" : "," + std::string(spec.alias));
    app.add_option(names, texts_[std::string(spec.name)], std::string(spec.help))
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->type_name(spec.type == OptionType::kText ? "TEXT" : "(" + spec.range() + ")")
        ->default_str(option_text(spec, defaults))
        ->group(group_of(spec));
  }
}

std::optional<ResolvedOptions> OptionFlags::resolve_quietly(
    const Services& services, Terminal& terminal, const std::vector<std::pair<std::string, std::string>>& extra) const {
  OptionInputs inputs;
  inputs.toml_path = toml_path_;
  inputs.environment = services.environment;
  for (const auto& [name, texts] : texts_) {
    for (const std::string& text : texts) inputs.flags.emplace_back(name, text);
  }
  for (const auto& [name, text] : extra) {
    if (!text.empty()) inputs.flags.emplace_back(name, text);
  }
  auto resolved = resolve_options(inputs);
  if (resolved) return std::move(*resolved);
  terminal.err << "reprise " << command_ << ": " << resolved.error().message << "\n";
  return std::nullopt;
}

std::optional<ResolvedOptions> OptionFlags::resolve(
    const Services& services, Terminal& terminal, const std::vector<std::pair<std::string, std::string>>& extra) const {
  auto resolved = resolve_quietly(services, terminal, extra);
  if (!resolved) return resolved;
  for (const std::string& warning : resolved->warnings) {
    terminal.err << "reprise " << command_ << ": " << warning << "\n";
  }
  return resolved;
}

}  // namespace reprise::cli
