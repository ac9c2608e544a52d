#include "base/kernels.h"

#include <cassert>

#include "base/kernels_impl.h"

namespace reprise {
namespace kernels {

const std::size_t kStreamFrom = 256 << 10;

}  // namespace kernels

namespace {

const kernels::KernelSet& chosen() {
  static const kernels::KernelSet& set = []() -> const kernels::KernelSet& {
    std::size_t count = 0;
    const kernels::KernelSet* const* sets = kernels::supported_kernels(&count);
    return *sets[count - 1];
  }();
  return set;
}

}  // namespace

std::uint64_t checksum(Bytes bytes) {
  return chosen().checksum(bytes.data(), bytes.size());
}

void copy_block(MutableBytes to, Bytes from) {
  assert(to.size() == from.size());
  chosen().copy(to.data(), from.data(), from.size());
}

std::uint64_t copy_block_checksum(MutableBytes to, Bytes from) {
  assert(to.size() == from.size());
  return chosen().copy_checksum(to.data(), from.data(), from.size());
}

std::string_view kernel_name() {
  return chosen().name;
}

}  // namespace reprise
