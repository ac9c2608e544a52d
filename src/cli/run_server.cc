#include "cli/run_server.h"

#include <malloc.h>

#include <algorithm>
#include <ostream>
#include <string_view>

#include "reprise/store.h"
#include "server/serve.h"

namespace reprise::cli {
namespace {

std::string variable(const std::vector<std::string>& environment, std::string_view name) {
  for (const std::string& each : environment) {
    if (each.starts_with(name) && each.size() > name.size() && each[name.size()] == '=') {
      return each.substr(name.size() + 1);
    }
  }
  return "";
}

// What is freed goes back to the system. Left alone, the C library learns from the largest buffer it saw to keep
// several times as much for itself, in each of its threads' heaps, and the process outgrows what it was promised to
// stay within.
void keep_little_of_what_is_freed() {
  constexpr int kKept = 1 << 20;  // of each heap
  static_cast<void>(::mallopt(M_MMAP_THRESHOLD, kKept));
  static_cast<void>(::mallopt(M_TRIM_THRESHOLD, kKept));
}

}  // namespace

int run_server(const ResolvedOptions& options, const PolicyRegistry& policies, const StoreRegistry& stores,
               Terminal& terminal, const StopFlag& stop, ReloadFlag& reload,
               const std::vector<std::string>& environment) {
  keep_little_of_what_is_freed();
  ServeInputs inputs{
      .cache = options.cache,
      .server = options.server,
      .config = {},
      .policies = policies,
      .stores = stores,
      .notify_socket = variable(environment, "NOTIFY_SOCKET"),
      .stop = stop,
      .reload = reload,
      .admin_must_listen = false,
      .report = [&](std::string_view line) { terminal.err << "reprised: " << line << std::endl; },
  };
  for (const ResolvedOption& each : options.options) {
    inputs.config.push_back({std::string(each.spec->name), each.text, each.where});
    if (each.spec->name == "listen.admin") inputs.admin_must_listen = each.source != OptionSource::kDefault;
  }
  const auto served = serve(inputs);
  if (served) return kOk;
  terminal.err << "reprised: " << served.error().message << "\n";
  return kUsage;
}

}  // namespace reprise::cli
