// For CPUs that are not x86-64: memcpy, and the hash as xxHash vectorises it for the compiler's target.
#define XXH_INLINE_ALL
#define XXH_NAMESPACE reprise_portable_
#include <xxhash.h>

#include <cstring>

#include "base/kernels_impl.h"

namespace reprise::kernels {
namespace {

inline void stream_kib(std::byte* to, const std::byte* from) {
  std::memcpy(to, from, 1024);
}

inline void stream_fence() {}

}  // namespace
}  // namespace reprise::kernels

#define REPRISE_KERNELS kPortableKernels
#define REPRISE_KERNELS_NAME "portable"
#include "base/kernels_body.inc"

namespace reprise::kernels {

const KernelSet* const* supported_kernels(std::size_t* count) {
  static const KernelSet* const kSets[] = {&kPortableKernels};
  *count = 1;
  return kSets;
}

}  // namespace reprise::kernels
