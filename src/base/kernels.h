// Copying and checksumming block payloads, at the speed of memory.
//
// The implementation is chosen once per process for the CPU it runs on (SSE2, AVX2, AVX-512). Pure functions.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "reprise/block.h"

namespace reprise {

/// XXH3-64 of `bytes`, seed 0: the checksum every stored or sent block carries.
[[nodiscard]] std::uint64_t checksum(Bytes bytes);

/// Copies `from` to `to` (same size, not overlapping), for data that will not be read again soon: large copies bypass
/// the cache of the destination.
void copy_block(MutableBytes to, Bytes from);

/// Copies a part of a block of `whole` bytes, which as a whole will not be read again soon. In no order with what the
/// thread writes next: call finish_parts() before anybody is told.
void copy_part(MutableBytes to, Bytes from, std::size_t whole);
void finish_parts();

/// copy_block and the checksum of what was copied, in one pass over the source.
[[nodiscard]] std::uint64_t copy_block_checksum(MutableBytes to, Bytes from);

/// The checksum of bytes that come in pieces, each hashed while it is in the nearest cache. One thread at a time.
class RunningChecksum {
 public:
  RunningChecksum() { restart(); }
  void restart();
  void add(Bytes bytes);
  /// Of everything added since the last restart.
  [[nodiscard]] std::uint64_t value() const;

 private:
  alignas(64) std::array<std::byte, 640> state_;
};

/// "sse2", "avx2" or "avx512": which implementation this process uses.
[[nodiscard]] std::string_view kernel_name();

}  // namespace reprise
