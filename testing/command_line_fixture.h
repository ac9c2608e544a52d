// The whole command line over doubles: what a user types, what comes out, and the exit code.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "cli/command_line.h"
#include "testing/cache_doubles.h"
#include "testing/fake_cache.h"
#include "testing/temp_dir.h"

namespace reprise::testing {

class CommandLineTest : public ::testing::Test {
 protected:
  CommandLineTest() {
    services_.open = [this](std::string_view url, const CacheOptions& options) { return open(url, options); };
    services_.serve = [this](const ResolvedOptions& options, cli::Terminal&, const cli::StopFlag&) {
      served_.push_back(options);
      return int{cli::kOk};
    };
    services_.http_get = [this](const std::string& url, const std::string& token) -> Result<cli::HttpAnswer> {
      asked_.emplace_back(url, token);
      return http_answer_;
    };
    services_.policies = &policies_;
    services_.policy_names = policies_.names();
    services_.store_schemes = {"disk", "mock"};
    services_.kernel_name = "avx2";
  }

  int run(const std::vector<std::string>& arguments) {
    out_.str("");
    out_.clear();
    err_.str("");
    cli::Terminal terminal{out_, err_, false, out_is_tty_, &in_};
    return cli::run_command_line(arguments, services_, terminal, stop_);
  }
  int run_with_input(const std::string& input, const std::vector<std::string>& arguments) {
    in_.str(input);
    in_.clear();
    return run(arguments);
  }
  std::string file(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name, std::ios::binary) << text;
    return folder_ / name;
  }
  static std::string content(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(in), {});
  }
  // Three requests; the second shares two blocks with the first, the third is the first again.
  std::string trace(const std::string& extra_line = "") {
    return file("t.jsonl", R"({"timestamp": 0, "input_length": 1536, "output_length": 1, "hash_ids": [1, 2, 3]})"
                           "\n" +
                               extra_line +
                               R"({"timestamp": 5, "input_length": 1300, "output_length": 1, "hash_ids": [1, 2, 4]})"
                               "\n"
                               R"({"timestamp": 9, "input_length": 1536, "output_length": 1, "hash_ids": [1, 2, 3]})"
                               "\n");
  }
  nlohmann::json json_of(std::vector<std::string> arguments, int exit_code = cli::kOk) {
    arguments.insert(arguments.end(), {"--json", "-"});
    EXPECT_EQ(run(arguments), exit_code) << err_.str();
    return nlohmann::json::parse(out_.str());
  }

  const PolicyRegistry policies_ = PolicyRegistry::with_builtins();
  cli::Services services_;
  cli::StopFlag stop_{false};
  bool refuse_ = false;           // opening fails
  std::shared_ptr<Cache> cache_;  // what is opened; nullptr: a fresh fake one each time
  std::vector<CacheOptions> opened_;
  std::vector<std::string> urls_;
  std::vector<ResolvedOptions> served_;
  std::vector<std::pair<std::string, std::string>> asked_;  // URL and token
  Result<cli::HttpAnswer> http_answer_ = cli::HttpAnswer{200, "[]"};
  bool out_is_tty_ = false;
  std::istringstream in_;
  std::ostringstream out_;
  std::ostringstream err_;
  const TempDir temporary_;
  const std::filesystem::path folder_ = temporary_.path();

 private:
  Result<std::unique_ptr<Cache>> open(std::string_view url, const CacheOptions& options) {
    opened_.push_back(options);
    urls_.emplace_back(url);
    if (refuse_) return fail(ErrorCode::kConfig, "l1.capacity: does not fit");
    if (cache_ != nullptr) return std::make_unique<SharedCache>(cache_);
    return std::make_unique<FakeCache>(options.l1_capacity);
  }
};

}  // namespace reprise::testing
