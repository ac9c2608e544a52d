// `fs:/path?ttl=0&capacity=0&sync=off|on&threads=8` as values. Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "reprise/status.h"

namespace reprise {

struct FsOptions {
  std::string path;
  std::uint64_t ttl_seconds = 0;  ///< A block is given out for this long after it was written; 0: for ever.
  std::uint64_t capacity = 0;     ///< Payload bytes, of all writers together, approximately; 0: no bound.
  bool sync = false;              ///< A block is on stable storage before it can be found.
  std::size_t threads = 8;        ///< Helpers that carry out the operations of a batch side by side.

  /// Fails with kConfig, naming the option and the limit.
  [[nodiscard]] static Result<FsOptions> parse(std::string_view url);
  [[nodiscard]] Result<void> check() const;
};

}  // namespace reprise
