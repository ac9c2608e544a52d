#include "cli/option_flags.h"

#include <CLI/CLI.hpp>
#include <ostream>

namespace reprise::cli {

OptionFlags::OptionFlags(CLI::App& app, Scope scope) : command_(app.get_name()) {
  app.add_option("--config", toml_path_, "TOML file with options (or REPRISE_CONFIG)")
      ->type_name("FILE")
      ->group("Cache options");
  const Options defaults;
  for (const OptionSpec& spec : option_table()) {
    if (spec.of_server() && scope == Scope::kCache) continue;
    const std::string names = spec.flag() + (spec.alias.empty() ? "" : "," + std::string(spec.alias));
    app.add_option(names, texts_[std::string(spec.name)], std::string(spec.help))
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->type_name(spec.type == OptionType::kText ? "TEXT" : "(" + spec.range() + ")")
        ->default_str(option_text(spec, defaults))
        ->group(spec.of_server() ? "Server options" : "Cache options");
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
