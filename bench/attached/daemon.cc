#include "bench/attached/daemon.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <sstream>
#include <thread>
#include <utility>

#include "bench/harness/harness.h"
#include "transport/socket_stream.h"

namespace reprise::bench {
namespace {

constexpr double kStartSeconds = 60;

// Free now; nobody else is likely to take it before the daemon does.
Result<std::uint16_t> free_port() {
  const Result<TcpListener> listener = listen_tcp({"127.0.0.1", 0});
  if (!listener) return std::unexpected(listener.error());
  return listener->port;
}

void pause() {
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
}

}  // namespace

Result<std::unique_ptr<Daemon>> Daemon::start(const DaemonPlan& plan) {
  std::unique_ptr<Daemon> daemon(new Daemon(plan));
  const std::string socket = daemon->directory() + "/reprise.sock";
  daemon->unix_url_ = "unix://" + socket;
  Process::Start start{
      .argv = {REPRISE_BINARY, "serve", "--listen-unix", socket, "--l1-capacity", std::to_string(plan.capacity),
               "--l1-policy", plan.policy, "--policy-salt", "1", "--l1-populate", plan.populate ? "true" : "false"},
      .output = daemon->directory() + "/output"};
  if (plan.tcp) {
    const Result<std::uint16_t> port = free_port();
    if (!port) return std::unexpected(port.error());
    const std::string address = "127.0.0.1:" + std::to_string(*port);
    daemon->tcp_url_ = "tcp://" + address;
    start.argv.insert(start.argv.end(), {"--listen-tcp", address});
  }
  start.argv.insert(start.argv.end(), plan.more.begin(), plan.more.end());
  Result<std::unique_ptr<Process>> process = Process::start(start);
  if (!process) return std::unexpected(process.error());
  daemon->process_ = *std::move(process);
  if (Result<void> ready = daemon->wait_until_ready(); !ready) return std::unexpected(ready.error());
  return daemon;
}

Result<void> Daemon::wait_until_ready() {
  const double give_up = seconds() + kStartSeconds;
  while (process_->alive() && seconds() < give_up) {
    const Result<std::unique_ptr<Cache>> cache = open(unix_url_);
    // An answer without a capacity: a client that waits for its daemon.
    while (cache && process_->alive() && seconds() < give_up) {
      const CacheStats stats = (*cache)->stats();
      if (stats.l1.capacity_bytes > 0 && (!plan_.populate || stats.populated >= 1)) return {};
      pause();
    }
    pause();
  }
  return fail(ErrorCode::kInternal, "the daemon did not come up: " + last_words());
}

Result<std::unique_ptr<Cache>> Daemon::attach(bool over_tcp, CacheOptions options) const {
  options.attach_timeout = std::chrono::seconds(10);
  Result<std::unique_ptr<Cache>> cache = open(over_tcp ? tcp_url_ : unix_url_, options);
  if (!cache) return cache;
  const double give_up = seconds() + kStartSeconds;
  while ((*cache)->stats().l1.capacity_bytes == 0) {
    if (seconds() > give_up) return fail(ErrorCode::kInternal, "no connection to the daemon: " + last_words());
    pause();
  }
  return cache;
}

std::string Daemon::last_words() const {
  std::ifstream file(directory() + "/output");
  std::ostringstream text;
  text << file.rdbuf();
  std::string all = text.str();
  std::ranges::replace(all, '\n', ' ');  // one line of a table
  return all.size() <= 600 ? all : "..." + all.substr(all.size() - 600);
}

}  // namespace reprise::bench
