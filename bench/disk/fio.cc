#include "bench/disk/fio.h"

#include <cstdio>
#include <nlohmann/json.hpp>

namespace reprise::bench {

Result<double> run_fio(const FioRun& run) {
  const std::string command = "DIR='" + run.directory + "' BS=" + std::to_string(run.block) +
                              " DEPTH=" + std::to_string(run.depth) + " FILES=" + std::to_string(run.files) +
                              " BYTES=" + std::to_string(run.bytes) + " fio --output-format=json " FIO_JOBS "/" +
                              run.job + " 2>&1";
  FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return fail(ErrorCode::kIo, "cannot run fio");
  std::string output;
  char buffer[4096];
  for (std::size_t n = 0; (n = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) output.append(buffer, n);
  const int status = ::pclose(pipe);
  const std::size_t begin = output.find('{');
  const auto json = nlohmann::json::parse(begin == std::string::npos ? "" : output.substr(begin), nullptr, false);
  if (status != 0 || json.is_discarded()) return fail(ErrorCode::kIo, "fio failed: " + output.substr(0, 500));
  const auto& job = json["jobs"][0];
  const auto& side = run.job == "read.fio" ? job["read"] : job["write"];
  const double bytes = side["io_bytes"].get<double>();
  const double ms = side["runtime"].get<double>();
  return ms > 0 ? bytes / ms / 1000 : 0.0;
}

}  // namespace reprise::bench
