#include "cli/bench_command.h"

#include <algorithm>
#include <charconv>
#include <ostream>

#include "base/options_values.h"
#include "cli/cache_target.h"
#include "cli/text_file.h"
#include "cli/text_table.h"

namespace reprise::cli {
namespace {

constexpr std::uint64_t kLargestBlock = 1ULL << 30;
constexpr std::uint64_t kLargestBatch = 4096;
constexpr std::uint32_t kMostThreads = 256;
constexpr std::uint64_t kLargestScratch = 2ULL << 30;
constexpr std::uint64_t kMostChains = 1ULL << 16;  // of one thread
constexpr std::size_t kMostCases = 64;

std::unexpected<Error> bad(std::string message) {
  return fail(ErrorCode::kConfig, std::move(message));
}

Result<std::uint64_t> size_between(const char* flag, const std::string& text, std::uint64_t least, std::uint64_t most) {
  const auto size = read_size(text);
  if (!size) return bad(std::string(flag) + ": " + size.error().message);
  if (*size < least || *size > most) {
    return bad(std::string(flag) + ": '" + text + "' is outside " + size_text(least) + " to " + size_text(most));
  }
  return size;
}

Result<std::size_t> batch_of(const std::string& text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value == 0 || value > kLargestBatch) {
    return bad("--batch: '" + text + "' is not a whole number from 1 to " + std::to_string(kLargestBatch));
  }
  return static_cast<std::size_t>(value);
}

std::uint64_t held_bytes(const BenchCase& plan) {
  return plan.threads * plan.chains * plan.batch * plan.block_bytes;
}

std::string name_of(const BenchCase& plan) {
  return size_text(plan.block_bytes) + " x " + std::to_string(plan.batch);
}

bool is_default(const ResolvedOptions& options, std::string_view name) {
  return std::any_of(options.options.begin(), options.options.end(), [&](const ResolvedOption& option) {
    return option.spec->name == name && option.source == OptionSource::kDefault;
  });
}

// What was not chosen by the user fits the benchmark: enough memory, a connection for each thread.
void fit_options(ResolvedOptions& options, std::span<const BenchCase> plans) {
  std::uint64_t largest = 0;
  for (const BenchCase& plan : plans) largest = std::max(largest, held_bytes(plan));
  if (is_default(options, "l1.capacity")) options.cache.l1_capacity = std::max(options.cache.l1_capacity, 2 * largest);
  if (is_default(options, "attach.connections")) {
    const auto threads = static_cast<std::uint32_t>(plans.front().threads);
    options.cache.attach_connections = std::max(options.cache.attach_connections, threads);
  }
}

class Bench {
 public:
  Bench(const BenchArguments& arguments, Terminal& terminal, const StopFlag& stop)
      : arguments_(arguments), terminal_(terminal), stop_(stop) {}

  int run(Cache& cache, std::span<const BenchCase> plans) {
    for (const BenchCase& plan : plans) {
      if (stop_.load()) break;
      const std::string label =
          name_of(plan) + " (" + std::to_string(results_.size() + 1) + " of " + std::to_string(plans.size()) + ")";
      if (!terminal_.err_is_tty) terminal_.err << label << "\n" << std::flush;
      auto result = run_bench(cache, plan, stop_, [&](double share) {
        if (terminal_.err_is_tty)
          terminal_.err << "\r\x1b[K" << label << "  " << fixed(100 * share, 0) << " %" << std::flush;
      });
      if (terminal_.err_is_tty) terminal_.err << "\r\x1b[K" << std::flush;
      if (!result) return fail_with(label + ": " + result.error().message);
      results_.push_back(std::move(*result));
    }
    return report();
  }

 private:
  int fail_with(const std::string& what) {
    if (!results_.empty()) terminal_.out << bench_table(results_);
    terminal_.err << "reprise bench: " << what << "\n";
    return kUsage;
  }

  int report() {
    if (arguments_.json_path != "-") terminal_.out << bench_table(results_) << std::flush;
    if (!arguments_.json_path.empty()) {
      const auto written = write_text(arguments_.json_path, bench_json(arguments_, results_), terminal_);
      if (!written) {
        terminal_.err << "reprise bench: " << written.error().message << "\n";
        return kUsage;
      }
    }
    std::uint64_t done = 0;
    for (const BenchResult& result : results_) {
      done += result.counts.get.blocks + result.counts.put.blocks;
      if (result.counts.wrong_blocks == 0) continue;
      terminal_.err << "reprise bench: WRONG BYTES: " << name_of(result.plan) << ", " << result.counts.first_wrong
                    << "\n";
      return kProblem;
    }
    if (stop_.load()) return kInterrupted;
    if (done > 0) return kOk;
    terminal_.err << "reprise bench: the cache kept and found nothing: is it there, and as large as --working-set?\n";
    return kProblem;
  }

  const BenchArguments& arguments_;
  Terminal& terminal_;
  const StopFlag& stop_;
  std::vector<BenchResult> results_;
};

int refuse(Terminal& terminal, const std::string& what) {
  terminal.err << "reprise bench: " << what << "\n";
  return kUsage;
}

Result<BenchCase> common_of(const BenchArguments& arguments) {
  BenchCase out;
  if (arguments.threads == 0 || arguments.threads > kMostThreads) return bad("--threads: must be from 1 to 256");
  if (!(arguments.mix >= 0 && arguments.mix <= 1)) return bad("--mix: must be from 0 (only put) to 1 (only get)");
  const auto duration = read_duration(arguments.duration);
  if (!duration) return bad("--duration: " + duration.error().message);
  if (duration->count() < 1 || *duration > std::chrono::hours(24)) return bad("--duration: must be from 1ms to 24h");
  out.threads = arguments.threads;
  out.mix = arguments.mix;
  out.in_place = arguments.in_place;
  out.duration = *duration;
  return out;
}

}  // namespace

Result<std::vector<BenchCase>> plan_bench(const BenchArguments& arguments) {
  const auto common = common_of(arguments);
  if (!common) return std::unexpected(common.error());
  const auto working_set = size_between("--working-set", arguments.working_set, 1, 1ULL << 44);
  if (!working_set) return std::unexpected(working_set.error());
  std::vector<BenchCase> out;
  for (const std::string& size : arguments.sizes) {
    const auto bytes = size_between("--sizes", size, 1, kLargestBlock);
    if (!bytes) return std::unexpected(bytes.error());
    for (const std::string& text : arguments.batches) {
      const auto batch = batch_of(text);
      if (!batch) return std::unexpected(batch.error());
      BenchCase plan = *common;
      plan.block_bytes = *bytes;
      plan.batch = *batch;
      plan.chains = std::clamp<std::uint64_t>(*working_set / (plan.threads * *batch * *bytes), 2, kMostChains);
      if (bench_scratch_bytes(plan) > kLargestScratch) {
        return bad("--sizes, --batch, --threads: " + name_of(plan) + " on " + std::to_string(plan.threads) +
                   " threads needs buffers of " + size_text(bench_scratch_bytes(plan)) + ", more than " +
                   size_text(kLargestScratch));
      }
      out.push_back(plan);
    }
  }
  if (out.empty() || out.size() > kMostCases) return bad("--sizes, --batch: must make 1 to 64 cases");
  return out;
}

int bench_command(const BenchArguments& arguments, ResolvedOptions options, const Services& services,
                  Terminal& terminal, const StopFlag& stop) {
  const auto plans = plan_bench(arguments);
  if (!plans) return refuse(terminal, plans.error().message);
  fit_options(options, *plans);
  const auto cache = open_target(services, arguments.cache_url, options);
  if (!cache) return refuse(terminal, cache.error().message);
  return Bench(arguments, terminal, stop).run(**cache, *plans);
}

}  // namespace reprise::cli
