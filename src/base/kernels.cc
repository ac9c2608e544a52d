#include "base/kernels.h"

#include <cassert>
#include <cstring>

#include "base/kernels_impl.h"

namespace reprise {
namespace kernels {

// Non-temporal stores against memcpy (Zen 3, AVX2, bench/kernels): 1.4 to 1.7 from cold to cold, 2.0 to 2.4 from hot to
// cold (a put of what was just computed), 0.9 to 1.1 from cold to hot, 0.4 to 0.7 if both sides stay cached, which a
// cache of gigabytes does not see. Below 16 KiB readers may well find blocks cached, and fences begin to show.
const std::size_t kStreamFrom = 16 << 10;

// Parts of 2 to 8 KiB of a cold block (Zen 3, AVX2, bench/layout): 1.1 to 1.4 of memcpy, with one fence for all; with
// one each, nothing is won.
const std::size_t kStreamPartFrom = 2 << 10;

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

void copy_part(MutableBytes to, Bytes from, std::size_t whole) {
  assert(to.size() == from.size());
  const bool streams = whole >= kernels::kStreamFrom && from.size() >= kernels::kStreamPartFrom;
  if (streams) {
    chosen().stream(to.data(), from.data(), from.size());
  } else if (!from.empty()) {
    std::memcpy(to.data(), from.data(), from.size());
  }
}

void finish_parts() {
  chosen().fence();
}

std::uint64_t copy_block_checksum(MutableBytes to, Bytes from) {
  assert(to.size() == from.size());
  return chosen().copy_checksum(to.data(), from.data(), from.size());
}

static_assert(sizeof(RunningChecksum) == kernels::kStreamStateBytes);

void RunningChecksum::restart() {
  chosen().stream_start(state_.data());
}

void RunningChecksum::add(Bytes bytes) {
  chosen().stream_add(state_.data(), bytes.data(), bytes.size());
}

std::uint64_t RunningChecksum::value() const {
  return chosen().stream_value(state_.data());
}

std::string_view kernel_name() {
  return chosen().name;
}

}  // namespace reprise
