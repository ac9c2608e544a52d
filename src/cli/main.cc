// The binary: wires the real services, the terminal and ctrl-C.
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <exception>
#include <iostream>
#include <stop_token>
#include <thread>

#include "base/kernels.h"
#include "cli/command_line.h"

extern char** environ;

namespace {

using namespace reprise;

// Turns the first SIGINT or SIGTERM into a flag; a second one ends the process the ordinary way. The signals are
// blocked in every thread made after this, and taken by one that waits for them: no handler, no global.
class Interrupt {
 public:
  Interrupt() {
    sigemptyset(&signals_);
    sigaddset(&signals_, SIGINT);
    sigaddset(&signals_, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
    waiter_ = std::jthread([this](const std::stop_token& done) { wait(done); });
  }
  [[nodiscard]] const cli::StopFlag& flag() const { return flag_; }

 private:
  void wait(const std::stop_token& done) {
    constexpr timespec kPoll{0, 50'000'000};
    while (!done.stop_requested()) {
      if (sigtimedwait(&signals_, nullptr, &kPoll) < 0) continue;
      if (flag_.exchange(true)) _exit(cli::kInterrupted);
    }
  }

  sigset_t signals_{};
  cli::StopFlag flag_{false};
  std::jthread waiter_;
};

cli::Services real_services(const PolicyRegistry& policies) {
  cli::Services services;
  services.open = [](std::string_view url, const CacheOptions& options) { return reprise::open(url, options); };
  services.policies = &policies;
  services.policy_names = policies.names();
  services.store_schemes = StoreRegistry::with_builtins().schemes();
  services.kernel_name = std::string(kernel_name());
  for (char** variable = environ; *variable != nullptr; ++variable) services.environment.emplace_back(*variable);
  return services;
}

}  // namespace

int main(int argc, char** argv) try {
  const Interrupt interrupt;
  const reprise::PolicyRegistry policies = reprise::PolicyRegistry::with_builtins();
  reprise::cli::Terminal terminal{std::cout, std::cerr, isatty(STDERR_FILENO) == 1};
  return reprise::cli::run_command_line({argv + 1, argv + argc}, real_services(policies), terminal, interrupt.flag());
} catch (const std::exception& error) {
  std::cerr << "reprise: " << error.what() << "\n";
  return reprise::cli::kUsage;
}
