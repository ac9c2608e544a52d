// fio as the limit of the disk tier: one run, one figure. Blocking; needs `fio` on the PATH.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "reprise/status.h"

namespace reprise::bench {

struct FioRun {
  std::string job;        ///< "read.fio" or "write.fio" in this folder.
  std::string directory;  ///< Where its files are.
  std::size_t block = 0;
  unsigned depth = 32;
  unsigned files = 0;       ///< Of 64 MiB.
  std::uint64_t bytes = 0;  ///< To move.
};

/// MB/s (10^6 bytes). Fails with kIo and fio's words.
[[nodiscard]] Result<double> run_fio(const FioRun& run);

}  // namespace reprise::bench
