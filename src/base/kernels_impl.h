// One set of kernels per instruction set, for kernels.cc and its test and benchmark only.
//
// Included by files compiled with -mavx2 and -mavx512*: it must hold nothing that is inline, or the linker might keep
// a copy of it with instructions that the CPU lacks. Pure functions, callable from any thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace reprise::kernels {

inline constexpr std::size_t kStreamStateBytes = 640;

struct KernelSet {
  const char* name;
  std::uint64_t (*checksum)(const std::byte* from, std::size_t size);
  void (*copy)(std::byte* to, const std::byte* from, std::size_t size);
  // Copies past the cache whatever the size, and in no order with what follows before `fence`.
  void (*stream)(std::byte* to, const std::byte* from, std::size_t size);
  void (*fence)();
  std::uint64_t (*copy_checksum)(std::byte* to, const std::byte* from, std::size_t size);
  // XXH3-64 of what comes in pieces; `state` is kStreamStateBytes long and 64-aligned.
  void (*stream_start)(void* state);
  void (*stream_add)(void* state, const std::byte* from, std::size_t size);
  std::uint64_t (*stream_value)(const void* state);
};

/// The sets this CPU can run, best last; never empty. `*count` receives how many.
const KernelSet* const* supported_kernels(std::size_t* count);

extern const KernelSet kPortableKernels;
extern const KernelSet kSse2Kernels;
extern const KernelSet kAvx2Kernels;
extern const KernelSet kAvx512Kernels;

/// From this size on a copy bypasses the destination's cache. Measured: see bench/kernels.
extern const std::size_t kStreamFrom;
/// And the least part of such a copy that does.
extern const std::size_t kStreamPartFrom;

}  // namespace reprise::kernels
