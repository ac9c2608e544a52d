// What this machine offers: the facts `reprise check` judges a configuration by. Reading them changes nothing.
#pragma once

#include <cstdint>
#include <string>

namespace reprise::cli {

struct MachineFacts {
  std::uint64_t memory_bytes = 0;     ///< Physical, or the control group's limit where that is lower.
  std::uint64_t available_bytes = 0;  ///< Can be taken without swapping.
  unsigned cpus = 0;
  std::string kernel;  ///< Copy and checksum kernel in use: "avx2", ...
  bool io_uring = false;
  std::string io_uring_refusal;     ///< Why not.
  std::string huge_pages;           ///< Anonymous memory: "always", "madvise", "never"; "" where unknown.
  std::string shared_huge_pages;    ///< The same for memfd: "always", "advise", "never", ...
  std::uint64_t memlock_bytes = 0;  ///< What may be registered with the kernel for I/O.
};
[[nodiscard]] MachineFacts probe_machine(std::string kernel);

struct DiskFacts {
  std::string existing;  ///< The path, or its nearest parent that exists.
  bool is_directory = false;
  bool writable = false;
  std::uint64_t free_bytes = 0;
};
[[nodiscard]] DiskFacts probe_disk(const std::string& path);

}  // namespace reprise::cli
