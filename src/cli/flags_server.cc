// The flags of the commands about configurations: serve, check, options.
#include <CLI/CLI.hpp>
#include <ostream>

#include "cli/check_command.h"
#include "cli/command.h"
#include "cli/option_flags.h"
#include "cli/serve_command.h"

namespace reprise::cli {
namespace {

constexpr const char* kServeHelp =
    "Runs the server: one cache for every engine on this host, and for others over the network.";
constexpr const char* kServeFooter = R"(
Stays in the foreground. A binary or link called 'reprised' does the same.

SIGTERM or ctrl-C drains: no new sessions, a wait for leases and for writes to L2, exit 0. A second one ends it at once.
SIGHUP reads the tenants and tokens of --auth-file again.

Examples:
  # For engines on this host: 8 GiB of memory, a disk tier, the status page on http://127.0.0.1:9601/
  reprise serve --listen-unix /run/reprise/reprise.sock --listen-admin 127.0.0.1:9601 \
      --l1-capacity 8GiB --l2-url 'disk:/var/lib/reprise?capacity=100GiB'
  # For other hosts as well, with tokens and TLS; everything from a file.
  reprise serve --config /etc/reprise/reprised.toml --listen-tcp 0.0.0.0:9600 \
      --auth-file /etc/reprise/tenants.toml --tls-cert server.pem --tls-key server.key

'reprise check' with the same options says whether they can work here.

Exit code: 0 drained and ended, 1 ended by a problem, 2 could not start.)";

constexpr const char* kCheckFooter = R"(
Example:
  reprise check --config reprise.toml --l1-capacity 8GiB

Exit code: 0 sound, 1 not sound, 2 an option cannot be read.)";

class ServeCommand final : public Command {
 public:
  explicit ServeCommand(CLI::App& app) : Command(app), options_(app, OptionFlags::Scope::kServer) {
    app.footer(kServeFooter);
  }
  int run(const Services& services, Terminal& terminal, const StopFlag& stop) override {
    auto resolved = options_.resolve(services, terminal);
    return resolved ? serve_command(std::move(*resolved), services, terminal, stop) : kUsage;
  }

 private:
  OptionFlags options_;
};

class CheckCommand final : public Command {
 public:
  explicit CheckCommand(CLI::App& app) : Command(app), options_(app, OptionFlags::Scope::kAll) {
    app.footer(kCheckFooter);
  }
  int run(const Services& services, Terminal& terminal, const StopFlag& /*stop*/) override {
    const auto resolved = options_.resolve_quietly(services, terminal);
    if (!resolved) return kUsage;
    return check_command(*resolved, probe_machine(services.kernel_name), probe_disk, services, terminal);
  }

 private:
  OptionFlags options_;
};

class OptionsCommand final : public Command {
 public:
  explicit OptionsCommand(CLI::App& app) : Command(app) {
    app.add_flag("--markdown", markdown_, "Print docs/configuration.md");
  }
  int run(const Services& /*services*/, Terminal& terminal, const StopFlag& /*stop*/) override {
    if (markdown_) {
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

 private:
  bool markdown_ = false;
};

}  // namespace

std::unique_ptr<Command> declare_serve(CLI::App& root) {
  return std::make_unique<ServeCommand>(*root.add_subcommand("serve", kServeHelp));
}

std::unique_ptr<Command> declare_check(CLI::App& root) {
  return std::make_unique<CheckCommand>(*root.add_subcommand(
      "check", "Says whether a configuration is sound for this machine, and where each option's value comes from."));
}

std::unique_ptr<Command> declare_options(CLI::App& root) {
  return std::make_unique<OptionsCommand>(
      *root.add_subcommand("options", "Lists the options of the cache and of the server."));
}

}  // namespace reprise::cli
