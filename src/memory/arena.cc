#include "memory/arena.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>

namespace reprise {
namespace {

constexpr std::uint64_t kHugePage = 2ULL << 20;
// Half of what 47 address bits hold: leaves room for whatever else the process maps.
constexpr std::uint64_t kMaxReserve = 64ULL << 40;
// Long enough to make the system call cheap, short enough to stop at once (about 10 ms at 1.5 GB/s).
constexpr std::uint64_t kPopulateStep = 16ULL << 20;

std::uint64_t round_up(std::uint64_t value, std::uint64_t to) {
  return (value + to - 1) / to * to;
}

std::uint64_t page_size() {
  return static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::unexpected<Error> os_failure(const std::string& what) {
  const int error = errno;
  return fail(ErrorCode::kIo, what + ": " + std::strerror(error));
}

/// Backs a range with pages without changing what it holds, while others may be writing to it.
void touch(std::byte* from, std::uint64_t bytes) {
#ifdef MADV_POPULATE_WRITE
  while (::madvise(from, bytes, MADV_POPULATE_WRITE) != 0) {
    if (errno != EINTR && errno != EAGAIN) goto by_hand;  // before Linux 5.14: EINVAL
  }
  return;
by_hand:
#endif
  const std::uint64_t page = page_size();
  for (std::uint64_t at = 0; at < bytes; at += page) {
    __atomic_fetch_or(reinterpret_cast<unsigned char*>(from + at), 0, __ATOMIC_RELAXED);
  }
}

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25  // Linux 6.1; older headers
#endif

/// Backs whole huge pages of shared memory with such, where the kernel can: it asks for them in no other way unless the
/// administrator has turned `shmem_enabled` on. What they hold stays, and others may be using them. False: not here.
bool collapse(std::byte* from, std::uint64_t bytes) {
  for (std::uint64_t at = 0; at + kHugePage <= bytes; at += kHugePage) touch(from + at, 1);  // a hole is not collapsed
  if (bytes < kHugePage || ::madvise(from, bytes, MADV_COLLAPSE) == 0) return true;
  return errno != EINVAL && errno != ENOSYS;  // else: no huge page was free, or one is pinned; the next may be had
}

}  // namespace

std::uint64_t Arena::usable_memory() {
  std::uint64_t memory = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) * page_size();
  // In a container the group is the root of what is visible, so one look suffices; "max" does not parse.
  std::ifstream group("/sys/fs/cgroup/memory.max");
  std::uint64_t limit = 0;
  if (group >> limit && limit > 0) memory = std::min(memory, limit);
  return memory;
}

Result<void> Arena::check(const ArenaOptions& options, std::uint64_t memory) {
  const auto mib = [](std::uint64_t bytes) { return std::to_string(bytes >> 20) + " MiB"; };
  if (options.reserve_bytes == 0) return fail(ErrorCode::kConfig, "the arena's size is 0");
  if (options.reserve_bytes > kMaxReserve) {
    return fail(ErrorCode::kConfig, "the arena would need " + mib(options.reserve_bytes) +
                                        " of address space; at most " + mib(kMaxReserve) + " can be reserved");
  }
  if (options.populate_bytes > options.reserve_bytes) {
    return fail(ErrorCode::kConfig, "the arena is to populate " + mib(options.populate_bytes) + " but reserves only " +
                                        mib(options.reserve_bytes));
  }
  if (options.populate_bytes > memory) {
    return fail(ErrorCode::kConfig, "the arena would fill " + mib(options.populate_bytes) +
                                        " of memory; this machine or container has " + mib(memory) +
                                        ": lower the capacity");
  }
  return {};
}

Result<std::unique_ptr<Arena>> Arena::create(const ArenaOptions& options) {
  if (auto ok = check(options); !ok) return std::unexpected(ok.error());
  std::unique_ptr<Arena> arena(new Arena);
  if (auto ok = arena->map(options); !ok) return std::unexpected(ok.error());
  if (options.populate && options.populate_bytes > 0) {
    arena->populate_bytes_ = options.populate_bytes;
    arena->collapse_ = options.kind == Memory::kMemfd && options.huge_pages;
    Arena* self = arena.get();
    const std::uint64_t bytes = options.populate_bytes;
    arena->populator_ = std::jthread([self, bytes](const std::stop_token& stop) { self->populate(stop, bytes); });
  }
  return arena;
}

Result<void> Arena::map(const ArenaOptions& options) {
  const std::uint64_t size = round_up(options.reserve_bytes, kHugePage);
  const std::string numbers = std::to_string(size) + " bytes";
  int flags = MAP_PRIVATE | MAP_ANONYMOUS;
  if (options.kind == Memory::kMemfd) {
    fd_ = ::memfd_create("reprise-arena", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd_ < 0) return os_failure("memfd_create for an arena of " + numbers);
    if (::ftruncate(fd_, static_cast<off_t>(size)) != 0) return os_failure("sizing the memfd to " + numbers);
    if (::fcntl(fd_, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) return os_failure("sealing");
    flags = MAP_SHARED;
  }
  // Reserve one huge page more than needed, cut off what is not aligned, then map the real thing in place.
  void* const raw = ::mmap(nullptr, size + kHugePage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED) return os_failure("reserving addresses for an arena of " + numbers);
  auto* const start = static_cast<std::byte*>(raw);
  const std::uint64_t head = (kHugePage - reinterpret_cast<std::uintptr_t>(start) % kHugePage) % kHugePage;
  if (head > 0) ::munmap(start, head);
  ::munmap(start + head + size, kHugePage - head);
  data_ = start + head;
  size_ = size;
  if (::mmap(data_, size, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE | MAP_FIXED, fd_, 0) == MAP_FAILED) {
    return os_failure("mapping an arena of " + numbers);
  }
  // Advice: the arena works without it. Payloads are users' data and large, so they stay out of core dumps.
  ::madvise(data_, size, MADV_DONTDUMP);
  if (options.kind == Memory::kAnonymous) {
    ::madvise(data_, size, options.huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  }
  return {};
}

Arena::~Arena() {
  if (populator_.joinable()) {
    populator_.request_stop();
    populator_.join();
  }
  if (data_ != nullptr) ::munmap(data_, size_);
  if (fd_ >= 0) ::close(fd_);
}

void Arena::populate(const std::stop_token& stop, std::uint64_t bytes) {
  // Linux keeps a nice value per thread: requests go first.
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), 10);
  for (std::uint64_t at = 0; at < bytes && !stop.stop_requested(); at += kPopulateStep) {
    // The arena ends on a huge page, so rounding up stays inside.
    const std::uint64_t step = std::min(kPopulateStep, round_up(bytes - at, page_size()));
    if (collapse_) collapse_ = collapse(data_ + at, step);
    touch(data_ + at, step);
    populated_bytes_.store(std::min(bytes, at + step), std::memory_order_release);
  }
}

double Arena::populated() const {
  if (populate_bytes_ == 0) return 0;
  return static_cast<double>(populated_bytes_.load(std::memory_order_acquire)) / static_cast<double>(populate_bytes_);
}

Result<void> Arena::discard(std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t page = page_size();
  if (offset % page != 0 || length % page != 0 || offset > size_ || length > size_ - offset) {
    return fail(ErrorCode::kInvalid, "discard of " + std::to_string(length) + " bytes at " + std::to_string(offset) +
                                         ": must be whole pages inside " + std::to_string(size_));
  }
  if (length == 0) return {};
  const int rc = fd_ >= 0 ? ::fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                                        static_cast<off_t>(length))
                          : ::madvise(data_ + offset, length, MADV_DONTNEED);
  if (rc != 0) return os_failure("discarding " + std::to_string(length) + " bytes at " + std::to_string(offset));
  return {};
}

}  // namespace reprise
