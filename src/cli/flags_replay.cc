// The flags of `reprise replay`.
#include <CLI/CLI.hpp>

#include "cli/command.h"
#include "cli/option_flags.h"
#include "cli/replay_command.h"

namespace reprise::cli {
namespace {

constexpr const char* kReplayHelp = "Replays a trace of requests through a real cache and checks every byte.";
constexpr const char* kReplayFooter = R"(
For each request it acquires the leading blocks that are there, checks every byte of them against what was put, and puts
the rest.

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
  # Through a running server, with the memory, policy and tier that it was started with.
  reprise replay trace.jsonl.zst --cache unix:///run/reprise/reprise.sock --block-bytes 64KiB

Exit code: 0 fine, 1 wrong bytes or a line that --strict refuses, 2 could not run, 130 stopped by ctrl-C.)";

struct ReplayFlags {
  ReplayArguments arguments;
  std::string tier;
  std::string ingest;
};

void declare_replay_flags(CLI::App& app, ReplayFlags& flags) {
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
  app.add_option("--cache", a.cache_url, "Where the cache lives; of a server, policy and capacity are its own")
      ->type_name("URL")
      ->capture_default_str();
  app.add_option("--salt", a.salt, "Let runs of equal salt share what a persistent tier holds (default: random)");
  app.add_option("--flip-byte", a.flip_block)->group("");  // hidden: damages the n-th block put, to test the check
  app.footer(kReplayFooter);
}

class ReplayCommand final : public Command {
 public:
  explicit ReplayCommand(CLI::App& app) : Command(app), options_(app, OptionFlags::Scope::kCache) {
    declare_replay_flags(app, flags_);
  }
  int run(const Services& services, Terminal& terminal, const StopFlag& stop) override {
    const auto resolved = options_.resolve(services, terminal, {{"l2.url", flags_.tier}, {"l2.ingest", flags_.ingest}});
    return resolved ? replay_command(flags_.arguments, *resolved, services, terminal, stop) : kUsage;
  }

 private:
  ReplayFlags flags_;
  OptionFlags options_;
};

}  // namespace

std::unique_ptr<Command> declare_replay(CLI::App& root) {
  return std::make_unique<ReplayCommand>(*root.add_subcommand("replay", kReplayHelp));
}

}  // namespace reprise::cli
