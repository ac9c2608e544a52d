#include "l1/lease_words.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010  // Linux 5.1
#endif

namespace reprise {
namespace {

static_assert(sizeof(std::atomic<std::uint64_t>) == sizeof(std::uint64_t));
static_assert(std::atomic<std::uint64_t>::is_always_lock_free, "other processes read the words");

std::unexpected<Error> os_failure(const std::string& what) {
  const int error = errno;
  return fail(ErrorCode::kIo, what + " for the lease words: " + std::strerror(error));
}

}  // namespace

LeaseWords::LeaseWords() : values_(kCount, 0) {
  free_.reserve(kCount);
  for (std::uint32_t index = kCount; index-- > 0;) free_.push_back(index);  // low ones first: few pages
}

LeaseWords::~LeaseWords() {
  if (words_ != nullptr) ::munmap(words_, bytes());
  if (fd_ >= 0) ::close(fd_);
}

Result<std::shared_ptr<LeaseWords>> LeaseWords::create() {
  // Shared by the lease book, which ends words, and by the engine, which hands the memfd out.
  std::shared_ptr<LeaseWords> made(new LeaseWords);
  made->fd_ = ::memfd_create("reprise-leases", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (made->fd_ < 0) return os_failure("memfd_create");
  if (::ftruncate(made->fd_, static_cast<off_t>(made->bytes())) != 0) return os_failure("ftruncate");
  void* const base = ::mmap(nullptr, made->bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, made->fd_, 0);
  if (base == MAP_FAILED) return os_failure("mmap");
  made->words_ = static_cast<std::atomic<std::uint64_t>*>(base);
  // An older kernel refuses the whole set for the seal it does not know.
  constexpr int kSize = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  if (::fcntl(made->fd_, F_ADD_SEALS, kSize | F_SEAL_FUTURE_WRITE) != 0 &&
      ::fcntl(made->fd_, F_ADD_SEALS, kSize) != 0) {
    return os_failure("sealing");
  }
  return made;
}

std::optional<LeaseWord> LeaseWords::take() {
  std::uint32_t index = 0;
  {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) return std::nullopt;
    index = free_.back();
    free_.pop_back();
  }
  const std::uint64_t generation = ++values_[index];
  words_[index].store(generation, std::memory_order_release);
  return LeaseWord{index, generation};
}

void LeaseWords::end(std::uint32_t index) {
  words_[index].store(++values_[index], std::memory_order_release);
  // A release keeps what came before it before it; the fence keeps what comes after it, the blocks' new bytes, after.
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

void LeaseWords::give(std::uint32_t index) {
  const std::lock_guard lock(mutex_);
  free_.push_back(index);
}

}  // namespace reprise
