// The instruction set every x86-64 has.
#define XXH_INLINE_ALL
#define XXH_NAMESPACE reprise_sse2_
#include <immintrin.h>
#include <xxhash.h>

#include <cstring>

#include "base/kernels_impl.h"

namespace reprise::kernels {
namespace {

inline __attribute__((always_inline)) void stream_kib(std::byte* to, const std::byte* from) {
  auto* out = reinterpret_cast<__m128i*>(to);
  const auto* in = reinterpret_cast<const __m128i*>(from);
  for (int i = 0; i < 1024 / 16; i += 4) {
    // One cache line at a time: its loads, then its stores.
    const __m128i a = _mm_loadu_si128(in + i);
    const __m128i b = _mm_loadu_si128(in + i + 1);
    const __m128i c = _mm_loadu_si128(in + i + 2);
    const __m128i d = _mm_loadu_si128(in + i + 3);
    _mm_stream_si128(out + i, a);
    _mm_stream_si128(out + i + 1, b);
    _mm_stream_si128(out + i + 2, c);
    _mm_stream_si128(out + i + 3, d);
  }
}

inline void stream_fence() {
  _mm_sfence();
}

}  // namespace
}  // namespace reprise::kernels

#define REPRISE_KERNELS kSse2Kernels
#define REPRISE_KERNELS_NAME "sse2"
#include "base/kernels_body.inc"
