// Which of the x86-64 kernels this CPU and operating system can run.
#include "base/kernels_impl.h"

namespace reprise::kernels {
namespace {

struct Supported {
  const KernelSet* sets[3];
  std::size_t count;
};

Supported probe() {
  Supported found{{&kSse2Kernels, nullptr, nullptr}, 1};
  __builtin_cpu_init();
  // Also false where the operating system does not save the wide registers.
  if (__builtin_cpu_supports("avx2")) found.sets[found.count++] = &kAvx2Kernels;
  if (__builtin_cpu_supports("avx512f")) found.sets[found.count++] = &kAvx512Kernels;
  return found;
}

}  // namespace

const KernelSet* const* supported_kernels(std::size_t* count) {
  static const Supported kFound = probe();
  *count = kFound.count;
  return kFound.sets;
}

}  // namespace reprise::kernels
