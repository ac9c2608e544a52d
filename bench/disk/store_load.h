// The disk store under the same load as fio: batches of one depth from one thread. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "reprise/store.h"

namespace reprise::bench {

class StoreLoad {
 public:
  StoreLoad(std::string directory, std::size_t block, unsigned depth);

  /// A fresh store of `bytes` filled with blocks.
  [[nodiscard]] Result<void> fill(std::uint64_t bytes);
  /// MB/s of reading `bytes` in random batches of `depth` blocks, verified.
  [[nodiscard]] Result<double> read(std::uint64_t bytes);
  /// MB/s of writing `bytes` into a fresh store, batch after batch; making its directory and clearing it not counted.
  [[nodiscard]] Result<double> write(std::uint64_t bytes);
  void clear();

 private:
  [[nodiscard]] Result<void> open(std::uint64_t bytes);
  [[nodiscard]] Result<void> put(std::uint64_t first, std::uint64_t count);
  [[nodiscard]] BlockId id(std::uint64_t n) const;

  const std::string directory_;
  const std::size_t block_;
  const unsigned depth_;
  std::unique_ptr<Store> store_;
  AlignedBuffer memory_;                  // depth_ blocks
  std::vector<std::uint64_t> checksums_;  // of the depth_ payloads written
  std::uint64_t blocks_ = 0;
  std::uint64_t draws_ = 0;
};

}  // namespace reprise::bench
