// Compiled with -mavx2: see kernels_body.inc for what may be included here.
#define XXH_INLINE_ALL
#define XXH_NAMESPACE reprise_avx2_
#include <immintrin.h>
#include <xxhash.h>

#include <cstring>

#include "base/kernels_impl.h"

namespace reprise::kernels {
namespace {

inline __attribute__((always_inline)) void stream_kib(std::byte* to, const std::byte* from) {
  auto* out = reinterpret_cast<__m256i*>(to);
  const auto* in = reinterpret_cast<const __m256i*>(from);
  for (int i = 0; i < 1024 / 32; i += 2) {
    // One cache line at a time: its loads, then its stores.
    const __m256i a = _mm256_loadu_si256(in + i);
    const __m256i b = _mm256_loadu_si256(in + i + 1);
    _mm256_stream_si256(out + i, a);
    _mm256_stream_si256(out + i + 1, b);
  }
}

inline void stream_fence() {
  _mm_sfence();
}

}  // namespace
}  // namespace reprise::kernels

#define REPRISE_KERNELS kAvx2Kernels
#define REPRISE_KERNELS_NAME "avx2"
#include "base/kernels_body.inc"
