// The only file that knows CLI11.
#include "cli/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <ostream>
#include <utility>

#include "base/options.h"
#include "base/suggest.h"
#include "cli/check_command.h"
#include "cli/replay_command.h"

namespace reprise::cli {
namespace {

constexpr const char* kRootHelp =
    "Reprise keeps the KV cache of prompts that were already computed, and gives it back when they repeat.";
constexpr const char* kRootFooter = R"(
Examples:
  reprise replay trace.jsonl.zst --policy all --capacity-blocks 1000,10000
  reprise check --l1-capacity 8GiB --l2-url 'disk:/var/lib/reprise?capacity=100GiB'
  reprise options --markdown

'reprise COMMAND --help' explains a command.)";

constexpr const char* kReplayHelp =
    "Feeds a trace of requests through a real cache with real bytes: for each request, acquires the leading blocks "
    "that "
    "are there, checks every byte of them against what was put, and puts the rest.";
constexpr const char* kReplayFooter = R"(
The trace is one JSON object a line, plain or zstd-compressed: {"timestamp": ms, "input_length": tokens,
"output_length": tokens, "hash_ids": [ids of the prompt's blocks, in order; equal ids mean equal prefixes]}.

Examples:
  # All policies at four sizes, only the ratios, in seconds; and a page with plots.
  reprise replay trace.jsonl.zst --policy all --capacity-blocks 1000,5000,10000,30000 --no-bytes --html ratios.html
  # Real bytes, 4 KiB blocks, memory for 5,000 and a disk tier for 20,000 that takes only hot blocks.
  reprise replay trace.jsonl.zst --policy adaptive --capacity-blocks 5000 \
      --tier 'disk:/tmp/tier?capacity=80MiB' --ingest HOT --json result.json
  # At the trace's own pace, sixty times faster.
  reprise replay trace.jsonl.zst --capacity-blocks 10000 --pace 60

Exit code: 0 fine, 1 wrong bytes or a line that --strict refuses, 2 could not run, 130 stopped by ctrl-C.)";

constexpr const char* kCheckFooter = R"(
Example:
  reprise check --config reprise.toml --l1-capacity 8GiB

Exit code: 0 sound, 1 not sound, 2 an option cannot be read.)";

// The options of the table as flags, on one command: those of the cache, or those of the server too.
class OptionFlags {
 public:
  enum class Scope { kCache, kServer };

  OptionFlags(CLI::App& app, Scope scope) {
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

  /// `extra`: {option name, text} of other flags that stand for an option; "" is absent.
  [[nodiscard]] Result<ResolvedOptions> resolve(const Services& services,
                                                const std::vector<std::pair<std::string, std::string>>& extra) const {
    OptionInputs inputs;
    inputs.toml_path = toml_path_;
    inputs.environment = services.environment;
    for (const auto& [name, texts] : texts_) {
      for (const std::string& text : texts) inputs.flags.emplace_back(name, text);
    }
    for (const auto& [name, text] : extra) {
      if (!text.empty()) inputs.flags.emplace_back(name, text);
    }
    return resolve_options(inputs);
  }

 private:
  std::string toml_path_;
  std::map<std::string, std::vector<std::string>> texts_;  // by option name, in the order given
};

struct ReplayFlags {
  ReplayArguments arguments;
  std::string tier;
  std::string ingest;
};

void declare_replay(CLI::App& app, ReplayFlags& flags) {
  ReplayArguments& a = flags.arguments;
  app.add_option("trace", a.trace, "Trace file, .jsonl or .jsonl.zst")->required()->type_name("TRACE");
  app.add_option("--policy", a.policies, "Eviction policies, one run each; 'all' for every built-in one")
      ->delimiter(',')
      ->type_name("P[,P...]");
  app.add_option("--capacity-blocks", a.capacities, "Blocks kept in memory, one run each")
      ->delimiter(',')
      ->type_name("N[,N...]");
  app.add_option("--block-bytes", a.block_bytes, "Bytes of a block")->type_name("SIZE")->capture_default_str();
  app.add_option("--block-tokens", a.block_tokens, "Tokens a hash id of the trace stands for")->capture_default_str();
  app.add_option("--tier", flags.tier, "Store behind memory; the same as --l2-url")->type_name("URL");
  app.add_option("--ingest", flags.ingest, "What flows into it: ALL, HOT or EVICTED; the same as --l2-ingest");
  app.add_flag("--no-bytes", a.no_bytes, "Only the policy's decisions: no memory, no bytes, no latencies");
  app.add_option("--pace", a.pace, "Keep the trace's arrival times, divided by this (default: as fast as possible)")
      ->type_name("FACTOR");
  app.add_option("--requests", a.max_requests, "Stop after this many requests")->type_name("N");
  app.add_option("--json", a.json_path, "Write everything as one JSON object; - for the standard output")
      ->type_name("FILE");
  app.add_option("--html", a.html_path, "Write one self-contained page with plots")->type_name("FILE");
  app.add_flag("--strict", a.strict, "Stop at a malformed line instead of skipping it");
  app.add_option("--cache", a.cache_url, "Where the cache lives")->type_name("URL")->capture_default_str();
  app.add_option("--salt", a.salt, "Let runs of equal salt share what a persistent tier holds (default: random)");
  app.add_option("--flip-byte", a.flip_block)->group("");  // hidden: damages the n-th block put, to test the check
  app.footer(kReplayFooter);
}

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

// The commands, and the storage their flags are parsed into.
struct Commands {
  CLI::App root{kRootHelp, "reprise"};
  CLI::App* replay = root.add_subcommand("replay", kReplayHelp);
  CLI::App* check = root.add_subcommand(
      "check", "Says whether a configuration is sound for this machine, and where each option's value comes from.");
  CLI::App* options = root.add_subcommand("options", "Lists the options of the cache and of the server.");
  ReplayFlags replay_flags;
  OptionFlags replay_options{*replay, OptionFlags::Scope::kCache};
  OptionFlags check_options{*check, OptionFlags::Scope::kServer};
  bool markdown = false;

  Commands() {
    root.set_version_flag("--version", "reprise " REPRISE_VERSION);
    root.footer(kRootFooter);
    declare_replay(*replay, replay_flags);
    check->footer(kCheckFooter);
    options->add_flag("--markdown", markdown, "Print docs/configuration.md");
    for (CLI::App* each : {replay, check, options}) each->allow_extras();
  }
};

int run_replay(Commands& commands, const Services& services, Terminal& terminal, const StopFlag& stop) {
  const ReplayFlags& flags = commands.replay_flags;
  const auto resolved =
      commands.replay_options.resolve(services, {{"l2.url", flags.tier}, {"l2.ingest", flags.ingest}});
  if (!resolved) {
    terminal.err << "reprise replay: " << resolved.error().message << "\n";
    return kUsage;
  }
  for (const std::string& warning : resolved->warnings) terminal.err << "reprise replay: " << warning << "\n";
  return replay_command(flags.arguments, *resolved, services, terminal, stop);
}

int run_check(Commands& commands, const Services& services, Terminal& terminal) {
  const auto resolved = commands.check_options.resolve(services, {});
  if (!resolved) {
    terminal.err << "reprise check: " << resolved.error().message << "\n";
    return kUsage;
  }
  return check_command(*resolved, probe_machine(services.kernel_name), probe_disk, services, terminal);
}

int run_options(const Commands& commands, Terminal& terminal) {
  if (commands.markdown) {
    terminal.out << options_markdown();
    return kOk;
  }
  const Options defaults;
  for (const OptionSpec& spec : option_table()) {
    const std::string value = option_text(spec, defaults);
    terminal.out << spec.name << " = " << (value.empty() ? "(empty)" : value) << "    " << spec.range() << "\n    "
                 << spec.help << "\n    " << spec.flag() << "  " << spec.environment() << "\n";
  }
  return kOk;
}

int dispatch(Commands& commands, const Services& services, Terminal& terminal, const StopFlag& stop) {
  for (const CLI::App* app : commands.root.get_subcommands()) {
    if (!app->remaining().empty()) return refuse_extras(*app, terminal);
  }
  if (commands.replay->parsed()) return run_replay(commands, services, terminal, stop);
  if (commands.check->parsed()) return run_check(commands, services, terminal);
  if (commands.options->parsed()) return run_options(commands, terminal);
  terminal.out << commands.root.help();
  return kUsage;
}

}  // namespace

int run_command_line(const std::vector<std::string>& arguments, const Services& services, Terminal& terminal,
                     const StopFlag& stop) {
  static constexpr std::string_view kNames[] = {"replay", "check", "options"};
  if (!arguments.empty() && !arguments[0].starts_with("-") &&
      std::find(std::begin(kNames), std::end(kNames), arguments[0]) == std::end(kNames)) {
    terminal.err << "reprise: there is no command '" << arguments[0] << "'" << did_you_mean(arguments[0], kNames)
                 << "; 'reprise --help' lists them\n";
    return kUsage;
  }
  // CLI11 throws; nothing of it leaves this function.
  Commands commands;
  try {
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
    commands.root.parse(std::move(reversed));
  } catch (const CLI::ParseError& error) {
    return commands.root.exit(error, terminal.out, terminal.err) == 0 ? kOk : kUsage;
  }
  return dispatch(commands, services, terminal, stop);
}

}  // namespace reprise::cli
