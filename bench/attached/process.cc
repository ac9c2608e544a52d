#include "bench/attached/process.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "bench/harness/harness.h"

namespace reprise::bench {
namespace {

constexpr int kFirstScratch = 200;  // above every number a child's descriptor gets

double seconds_of(clockid_t clock) {
  timespec time{};
  if (::clock_gettime(clock, &time) != 0) return 0;
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

// The processors that this process is kept off.
cpu_set_t others() {
  cpu_set_t mine;
  cpu_set_t rest;
  CPU_ZERO(&rest);
  if (::sched_getaffinity(0, sizeof mine, &mine) != 0) return rest;
  for (int each = 0; each < CPU_SETSIZE; ++each) {
    if (!CPU_ISSET(each, &mine)) CPU_SET(each, &rest);
  }
  return rest;
}

// Between fork and exec, possibly out of a program with threads: system calls only.
[[noreturn]] void become(char* const* argv, const std::vector<std::pair<int, int>>& descriptors, int output,
                         pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);
  // Fails, as it should, where the parent may run anywhere.
  const cpu_set_t elsewhere = others();
  (void)::sched_setaffinity(0, sizeof elsewhere, &elsewhere);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(output, STDERR_FILENO);
  // Out of the way first: one's place may be another's present number.
  int scratch = kFirstScratch;
  for (const auto& [ours, theirs] : descriptors) ::dup2(ours, scratch++);
  scratch = kFirstScratch;
  for (const auto& [ours, theirs] : descriptors) ::dup2(scratch++, theirs);
  ::close_range(3 + static_cast<unsigned>(descriptors.size()), ~0U, 0);
  ::execv(argv[0], argv);
  ::_exit(127);
}

}  // namespace

Result<std::unique_ptr<Process>> Process::start(const Start& what) {
  std::vector<char*> argv;
  for (const std::string& word : what.argv) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const int output = ::open(what.output.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (output < 0) return fail(ErrorCode::kIo, "cannot write " + what.output);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) become(argv.data(), what.descriptors, output, parent);
  ::close(output);
  if (pid < 0) return fail(ErrorCode::kIo, "cannot start " + what.argv[0]);
  return std::unique_ptr<Process>(new Process(pid));
}

Process::~Process() {
  if (!alive()) return;
  ::kill(pid_, SIGTERM);
  if (ended_within(5)) return;
  ::kill(pid_, SIGKILL);
  (void)ended_within(60);
}

bool Process::alive() {
  if (ended_) return false;
  const pid_t answer = ::waitpid(pid_, nullptr, WNOHANG);
  ended_ = answer == pid_ || (answer < 0 && errno == ECHILD);
  return !ended_;
}

bool Process::ended_within(double limit) {
  const double give_up = seconds() + limit;
  while (alive()) {
    if (seconds() > give_up) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

double Process::cpu_seconds() const {
  clockid_t clock{};
  return ended_ || ::clock_getcpuclockid(pid_, &clock) != 0 ? 0 : seconds_of(clock);
}

double own_cpu_seconds() {
  return seconds_of(CLOCK_PROCESS_CPUTIME_ID);
}

std::string place_apart() {
  cpu_set_t allowed;
  if (std::getenv("REPRISE_BENCH_ANYWHERE") != nullptr) return "both sides run where the kernel likes";
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < 2) return "one processor";
  int first = 0;
  while (!CPU_ISSET(first, &allowed)) ++first;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  if (::sched_setaffinity(0, sizeof one, &one) != 0) return "both sides run where the kernel likes";
  return "the client, or the raw pair's first, on processor " + std::to_string(first) +
         ", the other side on the others";
}

}  // namespace reprise::bench
