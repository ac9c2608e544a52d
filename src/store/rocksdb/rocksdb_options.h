// `rocksdb:/path?ttl=600s&write-buffer=64MiB&target-file=64MiB&max-write-buffers=3&max-wal=128MiB&background-jobs=8` as
// values. Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "reprise/status.h"

namespace reprise {

struct RocksdbOptions {
  std::string path;
  std::uint64_t ttl_seconds = 600;        ///< A block is given out for this long after it was written; 0: for ever.
  std::uint64_t write_buffer = 64 << 20;  ///< Bytes gathered in memory before they become a file.
  std::uint64_t target_file = 64 << 20;   ///< Bytes of a file of the first level.
  std::uint64_t max_write_buffers = 3;    ///< Write buffers in memory at once.
  std::uint64_t max_wal = 128 << 20;      ///< Bytes of write-ahead logs, above which buffers become files.
  std::uint64_t background_jobs = 8;      ///< Flushes and compactions at once.

  /// Fails with kConfig, naming the option and the limit.
  [[nodiscard]] static Result<RocksdbOptions> parse(std::string_view url);
  [[nodiscard]] Result<void> check() const;
};

}  // namespace reprise
