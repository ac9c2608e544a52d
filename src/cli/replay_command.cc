#include "cli/replay_command.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <ostream>
#include <random>

#include "base/options_values.h"
#include "base/suggest.h"
#include "cli/cache_target.h"
#include "cli/progress.h"
#include "cli/replay_report.h"
#include "cli/replay_run.h"
#include "cli/text_file.h"
#include "cli/text_table.h"

namespace reprise::cli {
namespace {

constexpr std::uint64_t kMostBlocks = 1ULL << 31;
constexpr std::uint64_t kLargestBlock = 1ULL << 30;
constexpr std::uint64_t kShownBadLines = 10;

struct Plan {
  std::vector<std::string> policies;
  std::vector<std::uint64_t> capacities;
  std::uint64_t block_bytes = 0;
};

std::unexpected<Error> bad(std::string message) {
  return fail(ErrorCode::kConfig, std::move(message));
}

Result<std::vector<std::string>> plan_policies(const ReplayArguments& arguments, const ResolvedOptions& options,
                                               const Services& services) {
  if (arguments.policies.empty()) return std::vector{options.cache.l1_policy};
  const std::vector<std::string_view> known(services.policy_names.begin(), services.policy_names.end());
  std::vector<std::string> out;
  for (const std::string& name : arguments.policies) {
    if (name == "all") {
      out.insert(out.end(), services.policy_names.begin(), services.policy_names.end());
      continue;
    }
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      std::string list;
      for (const std::string_view each : known) list += (list.empty() ? "" : ", ") + std::string(each);
      return bad("--policy: there is no policy '" + name + "'" + did_you_mean(name, known) + "; there are " + list);
    }
    out.push_back(name);
  }
  return out;
}

Result<std::vector<std::uint64_t>> plan_capacities(const ReplayArguments& arguments, const ResolvedOptions& options,
                                                   std::uint64_t block_bytes) {
  if (arguments.capacities.empty()) return std::vector{options.cache.l1_capacity / block_bytes};
  std::vector<std::uint64_t> out;
  for (const std::string& text : arguments.capacities) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value == 0 || value > kMostBlocks) {
      return bad("--capacity-blocks: '" + text + "' is not a whole number from 1 to " + std::to_string(kMostBlocks));
    }
    out.push_back(value);
  }
  return out;
}

// A cache in another process has its own policy and memory: one run, with what it has.
Result<Plan> plan_attached(const ReplayArguments& arguments, const ResolvedOptions& options,
                           std::uint64_t block_bytes) {
  const auto refuse = [&](const char* flag) {
    return bad(std::string(flag) + " belongs to the server behind '" + arguments.cache_url +
               "': give it to 'reprise serve', or leave --cache out");
  };
  if (!arguments.policies.empty()) return refuse("--policy");
  if (!arguments.capacities.empty()) return refuse("--capacity-blocks");
  if (arguments.no_bytes) return bad("--no-bytes asks no cache: leave --cache out");
  if (auto fit = check_flags_fit(arguments.cache_url, options); !fit) return std::unexpected(fit.error());
  return Plan{{"attached"}, {0}, block_bytes};
}

Result<Plan> make_plan(const ReplayArguments& arguments, const ResolvedOptions& options, const Services& services) {
  const auto bytes = read_size(arguments.block_bytes);
  if (!bytes) return bad("--block-bytes: " + bytes.error().message);
  if (*bytes == 0 || *bytes > kLargestBlock) {
    return bad("--block-bytes: '" + arguments.block_bytes + "' is outside 1B to " + size_text(kLargestBlock));
  }
  if (arguments.block_tokens == 0) return bad("--block-tokens: must be at least 1");
  if (!std::isfinite(arguments.pace) || arguments.pace < 0) return bad("--pace: must be a number greater than 0");
  if (!is_embedded(arguments.cache_url)) return plan_attached(arguments, options, *bytes);
  auto policies = plan_policies(arguments, options, services);
  if (!policies) return std::unexpected(policies.error());
  auto capacities = plan_capacities(arguments, options, *bytes);
  if (!capacities) return std::unexpected(capacities.error());
  return Plan{std::move(*policies), std::move(*capacities), *bytes};
}

// What each run has in common.
ReplayConfig base_config(const ReplayArguments& arguments, const ResolvedOptions& options, const Plan& plan) {
  ReplayConfig config;
  config.trace = arguments.trace;
  config.cache_url = arguments.cache_url;
  config.cache = options.cache;
  config.block_bytes = plan.block_bytes;
  config.limits.block_tokens = arguments.block_tokens;
  config.pace = arguments.pace;
  config.max_requests = arguments.max_requests;
  config.strict = arguments.strict;
  config.flip_block = arguments.flip_block;
  // A replay is reproducible unless a salt is asked for, 0 included.
  const auto chosen = [](const ResolvedOption& o) {
    return o.spec->name == "policy.salt" && o.source != OptionSource::kDefault;
  };
  if (std::none_of(options.options.begin(), options.options.end(), chosen)) config.cache.policy_salt = 1;
  return config;
}

std::string random_salt() {
  std::random_device random;
  return std::to_string(random()) + "-" + std::to_string(random());
}

class Command {
 public:
  Command(const ReplayArguments& arguments, const ResolvedOptions& options, const Services& services,
          Terminal& terminal, const StopFlag& stop)
      : arguments_(arguments),
        options_(options),
        services_(services),
        terminal_(terminal),
        stop_(stop),
        progress_(terminal, clock_) {}

  int run() {
    const auto plan = make_plan(arguments_, options_, services_);
    if (!plan) return fail_with(plan.error());
    const auto done = run_all(*plan);
    if (!results_.empty()) {
      if (const int code = report(); code != kOk) return code;
    }
    if (!done) return fail_with(done.error());
    const bool wrong = std::any_of(results_.begin(), results_.end(), [](const auto& r) { return r.wrong_blocks > 0; });
    if (wrong) return kProblem;
    return stop_.load() ? kInterrupted : kOk;
  }

 private:
  int fail_with(const Error& error) {
    progress_.message("reprise replay: " + error.message);
    // A trace that --strict refuses is a finding; all else means that nothing could be run.
    return arguments_.strict && error.code == ErrorCode::kInvalid ? kProblem : kUsage;
  }

  Result<void> run_all(const Plan& plan) {
    const std::string salt = arguments_.salt.empty() ? random_salt() : arguments_.salt;
    const std::size_t total = plan.policies.size() * plan.capacities.size();
    ReplayConfig config = base_config(arguments_, options_, plan);
    for (const std::string& policy : plan.policies) {
      for (const std::uint64_t capacity : plan.capacities) {
        config.policy = policy;
        config.capacity_blocks = capacity;
        config.salt = salt + "/" + policy + "/" + std::to_string(capacity);
        const std::string of =
            total == 1 ? "" : " (" + std::to_string(results_.size() + 1) + " of " + std::to_string(total) + ")";
        progress_.start(policy + (capacity > 0 ? " " + with_commas(capacity) + " blocks" : "") + of);
        auto result = arguments_.no_bytes ? replay_policy_only(config, services_, hooks())
                                          : replay_with_bytes(config, services_, hooks());
        progress_.finish();
        if (!result) return std::unexpected(result.error());
        results_.push_back(std::move(*result));
        if (stop_.load()) return {};
      }
    }
    return {};
  }

  ReplayHooks hooks() {
    ReplayHooks hooks;
    hooks.stop = &stop_;
    hooks.progress = [this](const ReplayProgress& progress) { progress_.update(progress); };
    hooks.wrong_block = [this, shown = std::uint64_t{0}](const std::string& message) mutable {
      if (++shown <= kShownBadLines) progress_.message("WRONG BYTES: " + message);
    };
    // Every run reads the trace; its lines are complained about once.
    hooks.bad_line = [this, first = results_.empty(), shown = std::uint64_t{0}](const sim::BadLine& line) mutable {
      if (!first || ++shown > kShownBadLines) return;
      progress_.message(arguments_.trace + ":" + std::to_string(line.number) + ": skipped: " + line.message);
      if (shown == kShownBadLines) progress_.message("further malformed lines are counted only");
    };
    return hooks;
  }

  int report() {
    ReplayHeader header;
    header.trace = arguments_.trace;
    header.cache_url = arguments_.cache_url;
    header.tier = arguments_.no_bytes ? "" : options_.cache.l2_url;
    header.ingest = option_text(*find_option("l2.ingest"), options_);
    header.block_tokens = arguments_.block_tokens;
    header.pace = arguments_.pace;
    if (arguments_.json_path != "-") terminal_.out << replay_tables(header, results_) << std::flush;
    if (!arguments_.json_path.empty()) {
      const auto written = write_text(arguments_.json_path, replay_json(header, results_), terminal_);
      if (!written) return fail_with(written.error());
    }
    if (!arguments_.html_path.empty()) {
      const auto written = write_text(arguments_.html_path, replay_html(header, results_), terminal_);
      if (!written) return fail_with(written.error());
    }
    return kOk;
  }

  const ReplayArguments& arguments_;
  const ResolvedOptions& options_;
  const Services& services_;
  Terminal& terminal_;
  const StopFlag& stop_;
  const SteadyClock clock_;
  ProgressLine progress_;
  std::vector<ReplayResult> results_;
};

}  // namespace

int replay_command(const ReplayArguments& arguments, const ResolvedOptions& options, const Services& services,
                   Terminal& terminal, const StopFlag& stop) {
  return Command(arguments, options, services, terminal, stop).run();
}

}  // namespace reprise::cli
