// The flags of the commands that talk to a cache or its server: put, get, stat, explain, bench.
#include <CLI/CLI.hpp>

#include "cli/bench_command.h"
#include "cli/cache_target.h"
#include "cli/command.h"
#include "cli/explain_command.h"
#include "cli/get_command.h"
#include "cli/option_flags.h"
#include "cli/put_command.h"
#include "cli/stat_command.h"

namespace reprise::cli {
namespace {

constexpr const char* kPutHelp = "Stores a file, or the standard input, as the blocks of a chain.";
constexpr const char* kPutFooter = R"(
The chain is named by a text (--prompt), and a file of any length fits. Or it is named by token ids (--tokens), and its
blocks are those that an engine of the same namespace would ask for.

What is put under a text replaces what that text named before. Everything that 'get' needs to know is the text, and
the namespace and block size where they are not the defaults.

Examples:
  # There and back through the server of this host.
  reprise put < photo.jpg && reprise get > same.jpg
  reprise put photo.jpg --prompt holidays && reprise get copy.jpg --prompt holidays
  # Without a server: a disk tier keeps the blocks between the two commands.
  reprise put photo.jpg --cache embedded: --l2-url disk:/tmp/tier
  reprise get copy.jpg --cache embedded: --l2-url disk:/tmp/tier
  # The two blocks of a prompt of 32 tokens, where an engine with this namespace will find them.
  reprise put kv.bin --tokens @ids.txt --block-tokens 16 --block-bytes 2MiB --model llama-3-8b \
      --revision none --dtype bfloat16 --layout opaque --layers 32 --heads 8

Exit code: 0 all of it is in the cache, 1 some of it is not, 2 could not run, 130 stopped by ctrl-C.)";

constexpr const char* kGetHelp = "Fetches what 'reprise put' stored, or the blocks of a prompt's tokens.";
constexpr const char* kGetFooter = R"(
Examples:
  reprise get --prompt holidays > copy.jpg
  reprise get copy.jpg --cache tcp://10.0.0.7:9600 --attach-token-file token
  # How much of a prompt is there, and in which tier. Moves nothing.
  reprise get --dry-run --tokens 1,2,3,4,5,6,7,8 --block-tokens 4

Exit code: 0 all of it was there, 1 some of it was not, 2 could not run, 130 stopped by ctrl-C.)";

constexpr const char* kStatHelp = "Shows what a cache holds and has done: tiers, hits, leases, reasons.";
constexpr const char* kStatFooter = R"(
Examples:
  reprise stat                                    # the server of this host
  reprise stat --watch                            # every 2 s, with rates, until ctrl-C
  reprise stat --cache tcp://10.0.0.7:9600 --json | jq .l1.blocks

Exit code: 0 shown, 1 nothing answers, 2 could not run.)";

constexpr const char* kExplainHelp = "Says where a block is, who reads it, and why its last copy left memory.";
constexpr const char* kExplainFooter = R"(
Asks the admin page of a server.

Examples:
  reprise explain 6f3c0a519f2b84d7c01e5a3f7d9e2b48
  reprise explain 6f3c0a519f2b84d7c01e5a3f7d9e2b48 --admin http://127.0.0.1:9601 --token-file /etc/reprise/admin.token

'reprise put' prints keys; 'reprise get --dry-run' prints the first one of a prompt.

Exit code: 0 some tenant has or had the block, 1 none, 2 the page could not be asked.)";

constexpr const char* kBenchHelp =
    "Measures a cache from outside: puts and gets beside a plain copy of the same bytes.";
constexpr const char* kBenchFooter = R"(
Blocks of several sizes, several a call, on several threads; beside each case memcpy of the same sizes by the same
threads, before and after. What is put was made just before the call, as by an engine.

Each case fills the cache with chains of its own and erases them at the end. Every 16th get is compared byte by byte.
Use --in-place for leases and reservations instead of copies: what an engine on the same host does.

Examples:
  reprise bench --cache embedded: --sizes 32KiB,1MiB --batch 1,32
  reprise bench --cache unix:///run/reprise/reprise.sock --threads 4 --mix 0.9 --duration 5s --json result.json
  reprise bench --cache tcp://10.0.0.7:9600 --sizes 256KiB --batch 8 --mix 1

Exit code: 0 measured, 1 wrong bytes or nothing found, 2 could not run, 130 stopped by ctrl-C.)";

void declare_cache(CLI::App& app, std::string& url) {
  app.add_option("--cache", url, "Where the cache lives: unix:///PATH, tcp://HOST:PORT, embedded: (or REPRISE_CACHE)")
      ->type_name("URL")
      ->default_str("unix://" + std::string(kDefaultSocket));
}

void declare_chain(CLI::App& app, ChainArguments& chain) {
  app.add_option("--prompt", chain.prompt, "Text that names the chain")->type_name("TEXT")->capture_default_str();
  app.add_option("--tokens", chain.tokens, "Token ids that name it instead: 1,2,3 or @FILE")->type_name("IDS");
  app.add_option("--block-bytes", chain.block_bytes, "Bytes of a block")->type_name("SIZE")->capture_default_str();
  const auto field = [&app](const char* flag, auto& value, const char* help) {
    app.add_option(flag, value, help)->capture_default_str()->group("Namespace");
  };
  field("--model", chain.model, "Model");
  field("--revision", chain.revision, "Revision of its weights");
  field("--dtype", chain.dtype, "Element type");
  field("--layout", chain.layout, "How a block's bytes are arranged");
  field("--block-tokens", chain.block_tokens, "Tokens of a block");
  field("--layers", chain.layers, "Layers, from 0");
  field("--heads", chain.heads, "KV heads, from 0");
  field("--salt", chain.salt, "Salt");
  app.add_option("--extra", chain.extras, "NAME=VALUE; may be repeated")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->group("Namespace");
}

class PutFlags final : public Command {
 public:
  explicit PutFlags(CLI::App& app) : Command(app), options_(app, OptionFlags::Scope::kCache) {
    app.add_option("file", arguments_.path, "What to store; - for the standard input")->capture_default_str();
    declare_cache(app, arguments_.cache_url);
    declare_chain(app, arguments_.chain);
    app.footer(kPutFooter);
  }
  int run(const Services& services, Terminal& terminal, const StopFlag& stop) override {
    const auto resolved = options_.resolve(services, terminal);
    if (!resolved) return kUsage;
    arguments_.cache_url = choose_cache(arguments_.cache_url, services.environment);
    return put_command(arguments_, *resolved, services, terminal, stop);
  }

 private:
  PutArguments arguments_;
  OptionFlags options_;
};

class GetFlags final : public Command {
 public:
  explicit GetFlags(CLI::App& app) : Command(app), options_(app, OptionFlags::Scope::kCache) {
    app.add_option("file", arguments_.path, "Where to put it; - for the standard output")->capture_default_str();
    app.add_flag("--dry-run", arguments_.dry_run, "Only say how much is there");
    declare_cache(app, arguments_.cache_url);
    declare_chain(app, arguments_.chain);
    app.footer(kGetFooter);
  }
  int run(const Services& services, Terminal& terminal, const StopFlag& stop) override {
    const auto resolved = options_.resolve(services, terminal);
    if (!resolved) return kUsage;
    arguments_.cache_url = choose_cache(arguments_.cache_url, services.environment);
    return get_command(arguments_, *resolved, services, terminal, stop);
  }

 private:
  GetArguments arguments_;
  OptionFlags options_;
};

class StatFlags final : public Command {
 public:
  explicit StatFlags(CLI::App& app) : Command(app), options_(app, OptionFlags::Scope::kCache) {
    watch_ = app.add_option("--watch", arguments_.seconds, "Look again every so many seconds, until ctrl-C")
                 ->expected(0, 1)
                 ->type_name("[SECONDS]")
                 ->default_str("2");
    app.add_flag("--json", arguments_.json, "One JSON object, on one line; with --watch one for each look");
    declare_cache(app, arguments_.cache_url);
    app.footer(kStatFooter);
  }
  int run(const Services& services, Terminal& terminal, const StopFlag& stop) override {
    const auto resolved = options_.resolve(services, terminal);
    if (!resolved) return kUsage;
    arguments_.watch = watch_->count() > 0;
    arguments_.cache_url = choose_cache(arguments_.cache_url, services.environment);
    return stat_command(arguments_, *resolved, services, terminal, stop);
  }

 private:
  StatArguments arguments_;
  CLI::Option* watch_ = nullptr;  // the parser's
  OptionFlags options_;
};

class ExplainFlags final : public Command {
 public:
  explicit ExplainFlags(CLI::App& app) : Command(app) {
    app.add_option("key", arguments_.key, "Key of the block: 32 hexadecimal digits")->required()->type_name("KEY");
    app.add_option("--admin", arguments_.admin, "The server's --listen-admin")->type_name("URL")->capture_default_str();
    app.add_option("--token-file", arguments_.token_file, "File with the token of the admin pages")->type_name("FILE");
    app.add_flag("--json", arguments_.json, "Print the server's answer as it is");
    app.footer(kExplainFooter);
  }
  int run(const Services& services, Terminal& terminal, const StopFlag& /*stop*/) override {
    return explain_command(arguments_, services, terminal);
  }

 private:
  ExplainArguments arguments_;
};

class BenchFlags final : public Command {
 public:
  explicit BenchFlags(CLI::App& app) : Command(app), options_(app, OptionFlags::Scope::kCache) {
    BenchArguments& a = arguments_;
    declare_cache(app, a.cache_url);
    app.add_option("--sizes", a.sizes, "Bytes of a block, one case each")->delimiter(',')->type_name("SIZE[,...]");
    app.add_option("--batch", a.batches, "Blocks a call, one case each")->delimiter(',')->type_name("N[,...]");
    app.add_option("--threads", a.threads, "Threads that call")->type_name("N")->capture_default_str();
    app.add_option("--mix", a.mix, "Share of calls that get; the others put")->type_name("0..1")->capture_default_str();
    app.add_option("--duration", a.duration, "Of each case")->type_name("TIME")->capture_default_str();
    app.add_option("--working-set", a.working_set, "Bytes kept in the cache by each case")
        ->type_name("SIZE")
        ->capture_default_str();
    app.add_flag("--in-place", a.in_place, "Read under leases and fill reservations");
    app.add_option("--json", a.json_path, "Write everything as one JSON object; - for the standard output")
        ->type_name("FILE");
    app.footer(kBenchFooter);
  }
  int run(const Services& services, Terminal& terminal, const StopFlag& stop) override {
    auto resolved = options_.resolve(services, terminal);
    if (!resolved) return kUsage;
    arguments_.cache_url = choose_cache(arguments_.cache_url, services.environment);
    return bench_command(arguments_, std::move(*resolved), services, terminal, stop);
  }

 private:
  BenchArguments arguments_;
  OptionFlags options_;
};

}  // namespace

std::unique_ptr<Command> declare_put(CLI::App& root) {
  return std::make_unique<PutFlags>(*root.add_subcommand("put", kPutHelp));
}

std::unique_ptr<Command> declare_get(CLI::App& root) {
  return std::make_unique<GetFlags>(*root.add_subcommand("get", kGetHelp));
}

std::unique_ptr<Command> declare_stat(CLI::App& root) {
  return std::make_unique<StatFlags>(*root.add_subcommand("stat", kStatHelp));
}

std::unique_ptr<Command> declare_explain(CLI::App& root) {
  return std::make_unique<ExplainFlags>(*root.add_subcommand("explain", kExplainHelp));
}

std::unique_ptr<Command> declare_bench(CLI::App& root) {
  return std::make_unique<BenchFlags>(*root.add_subcommand("bench", kBenchHelp));
}

}  // namespace reprise::cli
