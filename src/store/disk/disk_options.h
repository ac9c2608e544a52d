// `disk:/path?capacity=10GiB&segment=64MiB&direct=auto|on|off&io=auto|uring|plain` as values. Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/env.h"
#include "reprise/status.h"

namespace reprise {

struct DiskOptions {
  std::string path;
  std::uint64_t capacity = 10ULL << 30;  ///< Bytes of segment files, headers and padding included.
  std::uint64_t segment = 64ULL << 20;
  Direct direct = Direct::kAuto;
  IoForm io = IoForm::kAuto;
  /// `unverified=for-tests`: bytes that do not match their checksum are given out, so that a test of what is above can
  /// show that it would notice. The store says so loudly when it opens.
  bool unverified = false;

  /// Fails with kConfig, naming the option and the limit.
  [[nodiscard]] static Result<DiskOptions> parse(std::string_view url);
  /// `max_files` is how many files the process may open.
  [[nodiscard]] Result<void> check(std::uint64_t max_files) const;
};

}  // namespace reprise
