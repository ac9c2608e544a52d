// Stops the whole process in the middle of a copy that somebody else's code makes, at an exact byte.
//
// A page of the copied memory is taken away; the copy that reaches it faults; the handler says {"event": "stopped"} and
// sends SIGSTOP to the process, and when that goes on (SIGCONT) gives the page back, so that the copy goes on as if
// nothing had been. Works for copies by instructions, not for those inside a system call. One trap at a time.
#pragma once

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>

#include "base/aligned_buffer.h"

namespace reprise::e2e {

class StopTrap {
 public:
  /// `page` starts one and may be read and written by nobody until the trap has sprung.
  explicit StopTrap(std::byte* page) {
    armed() = page;
    struct sigaction action{};
    action.sa_sigaction = &StopTrap::spring;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    ::sigaction(SIGSEGV, &action, nullptr);
    if (!page_aligned(page) || ::mprotect(page, kPageBytes, PROT_NONE) != 0) std::abort();
  }
  StopTrap(const StopTrap&) = delete;
  StopTrap& operator=(const StopTrap&) = delete;
  ~StopTrap() {
    disarm();
    ::signal(SIGSEGV, SIG_DFL);
  }
  [[nodiscard]] bool sprung() const { return armed() == nullptr; }

 private:
  // A handler can reach nothing but what has static storage.
  static std::byte* volatile& armed() {
    static std::byte* volatile page = nullptr;
    return page;
  }
  static void disarm() {
    std::byte* const page = armed();
    armed() = nullptr;
    if (page != nullptr) ::mprotect(page, kPageBytes, PROT_READ | PROT_WRITE);
  }
  static void spring(int, siginfo_t* info, void*) {
    std::byte* const page = armed();
    const auto* at = static_cast<const std::byte*>(info->si_addr);
    if (page == nullptr || at < page || at >= page + kPageBytes) {
      ::signal(SIGSEGV, SIG_DFL);  // Not ours: the access is repeated, and ends the program.
      return;
    }
    static constexpr char kLine[] = "{\"event\": \"stopped\"}\n";
    if (::write(STDOUT_FILENO, kLine, sizeof kLine - 1) < 0) std::_Exit(4);
    ::kill(::getpid(), SIGSTOP);
    disarm();
  }
};

}  // namespace reprise::e2e
