// The binary: wires the real services, the terminal and the signals. Called `reprised`, it is `reprise serve`.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <iostream>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/kernels.h"
#include "cli/command_line.h"
#include "cli/http_get.h"
#include "cli/run_server.h"
#include "client/open_attached.h"

extern char** environ;

namespace {

using namespace reprise;

// Turns the first SIGINT or SIGTERM into a flag; a second one ends the process the ordinary way. For a server SIGHUP is
// a flag too; elsewhere it ends the process as usual. The signals are blocked in every thread made after this, and
// taken by one that waits for them: no handler, no global.
class Interrupt {
 public:
  explicit Interrupt(bool is_server) {
    sigemptyset(&signals_);
    sigaddset(&signals_, SIGINT);
    sigaddset(&signals_, SIGTERM);
    if (is_server) sigaddset(&signals_, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
    waiter_ = std::jthread([this](const std::stop_token& done) { wait(done); });
  }
  [[nodiscard]] const cli::StopFlag& flag() const { return flag_; }
  [[nodiscard]] cli::ReloadFlag& reload() { return reload_; }

 private:
  void wait(const std::stop_token& done) {
    constexpr timespec kPoll{0, 50'000'000};
    while (!done.stop_requested()) {
      const int signal = sigtimedwait(&signals_, nullptr, &kPoll);
      if (signal == SIGHUP) {
        reload_ = true;
      } else if (signal > 0 && flag_.exchange(true)) {
        _exit(cli::kInterrupted);
      }
    }
  }

  sigset_t signals_{};
  cli::StopFlag flag_{false};
  cli::ReloadFlag reload_{false};
  std::jthread waiter_;
};

// What may lie behind a server's memory. Another server may, where this one is on no network: so there is no way by
// which servers could stand behind each other in a circle.
StoreRegistry stores_of(const ResolvedOptions& options) {
  StoreRegistry stores = StoreRegistry::with_builtins();
  const bool alone = options.server.listen_tcp.empty();
  static_cast<void>(
      stores.add("tcp", [alone, cache = options.cache](std::string_view url) -> Result<std::unique_ptr<Store>> {
        if (alone) return open_cache_store(url, cache);
        return fail(ErrorCode::kConfig, "a server with a listen.tcp takes no other server as its L2: leave out one");
      }));
  return stores;
}

// `reload` outlives the services.
cli::Services real_services(const PolicyRegistry& policies, cli::ReloadFlag& reload) {
  cli::Services services;
  for (char** variable = environ; *variable != nullptr; ++variable) services.environment.emplace_back(*variable);
  services.open = [](std::string_view url, const CacheOptions& options) { return reprise::open(url, options); };
  services.serve = [&policies, &reload, environment = services.environment](
                       const ResolvedOptions& options, cli::Terminal& terminal, const cli::StopFlag& stop) {
    return cli::run_server(options, policies, stores_of(options), terminal, stop, reload, environment);
  };
  services.http_get = cli::http_get;
  services.policies = &policies;
  services.policy_names = policies.names();
  services.store_schemes = StoreRegistry::with_builtins().schemes();
  services.kernel_name = std::string(kernel_name());
  return services;
}

// What was typed, with `serve` in front where the binary is called as the server.
std::vector<std::string> arguments_of(int argc, char** argv) {
  std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  const std::string_view called = argc > 0 ? argv[0] : "";
  if (called.substr(called.rfind('/') + 1) == "reprised") arguments.insert(arguments.begin(), "serve");
  return arguments;
}

}  // namespace

int main(int argc, char** argv) try {
  const std::vector<std::string> arguments = arguments_of(argc, argv);
  Interrupt interrupt(!arguments.empty() && arguments[0] == "serve");
  const reprise::PolicyRegistry policies = reprise::PolicyRegistry::with_builtins();
  reprise::cli::Terminal terminal{std::cout, std::cerr, isatty(STDERR_FILENO) == 1, isatty(STDOUT_FILENO) == 1,
                                  &std::cin};
  const reprise::cli::Services services = real_services(policies, interrupt.reload());
  return reprise::cli::run_command_line(arguments, services, terminal, interrupt.flag());
} catch (const std::exception& error) {
  std::cerr << "reprise: " << error.what() << "\n";
  return reprise::cli::kUsage;
}
