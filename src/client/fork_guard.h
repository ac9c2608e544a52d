// Knows whether this is still the process that made it. A forked child inherits sockets that speak for its parent,
// locks that nobody will open, and threads that do not run: it must not use any of them.
//
// Thread-safe; asking is one load. Owns a page that the kernel wipes in children.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>

namespace reprise {

class ForkGuard {
 public:
  ForkGuard() {
    page_ = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page_ == MAP_FAILED) {
      page_ = nullptr;
    } else if (::madvise(page_, kBytes, MADV_WIPEONFORK) != 0) {  // before Linux 4.14
      ::munmap(page_, kBytes);
      page_ = nullptr;
    } else {
      *static_cast<char*>(page_) = 1;
    }
  }
  ~ForkGuard() {
    if (page_ != nullptr) ::munmap(page_, kBytes);
  }
  ForkGuard(const ForkGuard&) = delete;
  ForkGuard& operator=(const ForkGuard&) = delete;

  [[nodiscard]] bool same_process() const {
    return page_ != nullptr ? *static_cast<const volatile char*>(page_) == 1 : ::getpid() == pid_;
  }

 private:
  static constexpr std::size_t kBytes = 4096;  // one page, or less than one
  void* page_ = nullptr;
  const pid_t pid_ = ::getpid();
};

}  // namespace reprise
