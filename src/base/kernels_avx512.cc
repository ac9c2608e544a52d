// Compiled with -mavx512f: see kernels_body.inc for what may be included here.
#define XXH_INLINE_ALL
#define XXH_NAMESPACE reprise_avx512_
#include <immintrin.h>
#include <xxhash.h>

#include <cstring>

#include "base/kernels_impl.h"

namespace reprise::kernels {
namespace {

inline __attribute__((always_inline)) void stream_kib(std::byte* to, const std::byte* from) {
  auto* out = reinterpret_cast<__m512i*>(to);
  const auto* in = reinterpret_cast<const __m512i*>(from);
  for (int i = 0; i < 1024 / 64; i += 1) {
    _mm512_stream_si512(out + i, _mm512_loadu_si512(in + i));
  }
}

inline void stream_fence() {
  _mm_sfence();
}

}  // namespace
}  // namespace reprise::kernels

#define REPRISE_KERNELS kAvx512Kernels
#define REPRISE_KERNELS_NAME "avx512"
#include "base/kernels_body.inc"
