#include <CLI/CLI.hpp>
#include <iostream>
#include <regex>

#include "bench/harness/harness.h"

namespace reprise::bench {

Result<Options> parse_options(const std::string& name, int argc, const char* const* argv,
                              const std::vector<ExtraOption>& extra) {
  Options options;
  std::size_t pairs = 0;
  CLI::App app("Benchmark '" + name + "': ours beside the limit, in adjacent pairs", "bench_" + name);
  app.add_option("--json", options.json, "write the JSON object to this file (\"-\": standard output)");
  app.add_option("--filter", options.filter, "run only the cases whose name matches this regular expression");
  app.add_flag("--quick", options.quick, "small sizes and few pairs, no verdicts: shows that it runs");
  app.add_option("--pairs", pairs, "pairs per case (9; with --quick 2)")->check(CLI::Range(1, 10'000));
  for (const ExtraOption& option : extra)
    app.add_option(option.flag, *option.value, option.help)->capture_default_str();
  try {
    app.parse(argc, argv);
    std::regex check(options.filter);
  } catch (const CLI::CallForHelp&) {
    return fail(ErrorCode::kInvalid, app.help());
  } catch (const CLI::ParseError& error) {
    return fail(ErrorCode::kInvalid, std::string(error.what()) + " (--help lists the options)");
  } catch (const std::regex_error&) {
    return fail(ErrorCode::kInvalid, "--filter '" + options.filter + "' is no regular expression");
  }
  options.pairs = pairs != 0 ? pairs : options.quick ? 2 : 9;
  return options;
}

int usage_error(const Error& error) {
  std::cerr << error.message << '\n';
  return 2;
}

}  // namespace reprise::bench
