#include "cli/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <ostream>
#include <utility>

#include "base/suggest.h"
#include "cli/command.h"

namespace reprise::cli {
namespace {

constexpr const char* kRootHelp =
    "Reprise keeps the KV cache of prompts that were already computed, and gives it back when they repeat.";
constexpr const char* kRootFooter = R"(
Examples:
  reprise serve --l1-capacity 8GiB
  reprise put --prompt greeting < kv.bin; reprise get --prompt greeting > same.bin
  reprise stat --watch
  reprise bench --cache embedded: --sizes 32KiB,1MiB --batch 1,32
  reprise replay trace.jsonl.zst --policy all --capacity-blocks 1000,10000
  reprise check --l1-capacity 8GiB --l2-url 'disk:/var/lib/reprise?capacity=100GiB'
  reprise size --model config.json --tokens 131072 --tp 4

Commands that talk to a cache take --cache URL, or REPRISE_CACHE; without either they ask the server of this host.
'reprise COMMAND --help' explains a command.)";

std::vector<std::string> option_names_of(const CLI::App& app) {
  std::vector<std::string> out;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) out.push_back("--" + name);
  }
  return out;
}

// Everything the parser did not know, with what may have been meant.
int refuse_extras(const CLI::App& app, Terminal& terminal) {
  const std::vector<std::string> names = option_names_of(app);
  const std::vector<std::string_view> known(names.begin(), names.end());
  for (const std::string& argument : app.remaining()) {
    const std::string name = argument.substr(0, argument.find('='));
    if (!name.starts_with("-")) {
      terminal.err << "reprise " << app.get_name() << ": unexpected argument '" << argument << "'\n";
    } else {
      terminal.err << "reprise " << app.get_name() << ": unknown option '" << name << "'" << did_you_mean(name, known)
                   << "\n";
      break;  // what follows may be its value
    }
  }
  terminal.err << "'reprise " << app.get_name() << " --help' lists the options\n";
  return kUsage;
}

using Commands = std::vector<std::unique_ptr<Command>>;

// In the order in which they are listed.
Commands declare_all(CLI::App& root) {
  Commands all;
  for (const auto declare : {declare_serve, declare_put, declare_get, declare_stat, declare_explain, declare_bench,
                             declare_replay, declare_check, declare_size, declare_options}) {
    all.push_back(declare(root));
    all.back()->app().allow_extras();
  }
  return all;
}

bool is_known(const Commands& commands, const std::string& name, Terminal& terminal) {
  std::vector<std::string> names;
  for (const auto& command : commands) names.push_back(command->app().get_name());
  if (std::find(names.begin(), names.end(), name) != names.end()) return true;
  const std::vector<std::string_view> known(names.begin(), names.end());
  terminal.err << "reprise: there is no command '" << name << "'" << did_you_mean(name, known)
               << "; 'reprise --help' lists them\n";
  return false;
}

}  // namespace

// "--option=" as an option and an empty value: the parser would take the next argument for its value.
static std::vector<std::string> with_empty_values(const std::vector<std::string>& arguments) {
  std::vector<std::string> out;
  for (const std::string& each : arguments) {
    if (each.size() > 3 && each.starts_with("--") && each.find('=') == each.size() - 1) {
      out.push_back(each.substr(0, each.size() - 1));
      out.emplace_back();
    } else {
      out.push_back(each);
    }
  }
  return out;
}

int run_command_line(const std::vector<std::string>& arguments, const Services& services, Terminal& terminal,
                     const StopFlag& stop) {
  CLI::App root{kRootHelp, "reprise"};
  root.set_version_flag("--version", "reprise " REPRISE_VERSION);
  root.footer(kRootFooter);
  const Commands commands = declare_all(root);
  if (!arguments.empty() && !arguments[0].starts_with("-") && !is_known(commands, arguments[0], terminal)) {
    return kUsage;
  }
  // The parser throws; nothing of it leaves this function.
  try {
    std::vector<std::string> reversed = with_empty_values(arguments);
    std::ranges::reverse(reversed);
    root.parse(std::move(reversed));
  } catch (const CLI::ParseError& error) {
    return root.exit(error, terminal.out, terminal.err) == 0 ? kOk : kUsage;
  }
  for (const auto& command : commands) {
    if (!command->app().parsed()) continue;
    if (!command->app().remaining().empty()) return refuse_extras(command->app(), terminal);
    return command->run(services, terminal, stop);
  }
  terminal.out << root.help();
  return kUsage;
}

}  // namespace reprise::cli
