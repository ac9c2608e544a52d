#include "client/shared_mapping.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <thread>
#include <utility>

namespace reprise {
namespace {

constexpr std::uint64_t kMaxArena = 64ULL << 40;
constexpr std::uint32_t kMaxWords = 1U << 24;
// Long enough to make the system call cheap, short enough to stop at once.
constexpr std::uint64_t kPopulateStep = 16ULL << 20;
// How long the server may take to make the next pages.
constexpr std::chrono::seconds kPatience{5};
constexpr std::uint64_t kHugePage = 2ULL << 20;

std::unexpected<Error> unfit(const std::string& what) {
  return fail(ErrorCode::kIo, "the server's shared memory cannot be used: " + what);
}
std::unexpected<Error> os_failure(const std::string& what) {
  return unfit(what + ": " + std::strerror(errno));
}

/// A file that shrinks under a mapping kills whoever reads it.
Result<void> check_file(int fd, std::uint64_t bytes, const char* name, struct stat& status) {
  if (::fstat(fd, &status) != 0) return os_failure(name);
  if (!S_ISREG(status.st_mode) || status.st_size < 0 || static_cast<std::uint64_t>(status.st_size) != bytes) {
    return unfit(std::string(name) + " has " + std::to_string(status.st_size) + " bytes where the welcome says " +
                 std::to_string(bytes));
  }
  struct statfs system{};
  if (::fstatfs(fd, &system) != 0 || system.f_type == HUGETLBFS_MAGIC) {
    return unfit(std::string(name) + " is of a kind whose first use may kill this process");
  }
  constexpr int kNeeded = F_SEAL_SHRINK | F_SEAL_GROW;
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & kNeeded) != kNeeded) return unfit(std::string(name) + " is not sealed against resizing");
  return {};
}

/// Aligned to huge pages, of which the server's memory may consist: other addresses could not be mapped by them.
std::byte* map_shared(int fd, std::uint64_t bytes, int protection) {
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t whole = (bytes + page - 1) / page * page;
  const std::uint64_t room = whole + kHugePage;
  void* const raw = ::mmap(nullptr, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED) return nullptr;
  auto* const start = static_cast<std::byte*>(raw);
  std::byte* const at = start + (kHugePage - reinterpret_cast<std::uintptr_t>(start) % kHugePage) % kHugePage;
  std::byte* const end = at + whole;
  if (::mmap(at, bytes, protection, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd, 0) == MAP_FAILED) {
    ::munmap(raw, room);
    return nullptr;
  }
  if (at > start) ::munmap(start, static_cast<std::size_t>(at - start));
  if (end < start + room) ::munmap(end, static_cast<std::size_t>(start + room - end));
  return at;
}

/// Fills page tables without changing what is there. False where the kernel cannot.
bool touch(std::byte* from, std::uint64_t bytes, bool write) {
#ifdef MADV_POPULATE_WRITE
  while (::madvise(from, bytes, write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ) != 0) {
    if (errno != EINTR && errno != EAGAIN) return false;  // before Linux 5.14, or no memory: first use will do it
  }
  return true;
#else
  static_cast<void>(from), static_cast<void>(bytes), static_cast<void>(write);
  return false;
#endif
}

}  // namespace

Result<std::shared_ptr<SharedMapping>> SharedMapping::create(Link::Opened& opened, bool populate) {
  if (opened.descriptors.size() != 2) {
    return unfit(std::to_string(opened.descriptors.size()) + " descriptors came with the welcome, not 2");
  }
  if (opened.arena_bytes == 0 || opened.arena_bytes > kMaxArena || opened.words == 0 || opened.words > kMaxWords) {
    return unfit("the welcome names an arena of " + std::to_string(opened.arena_bytes) + " bytes and " +
                 std::to_string(opened.words) + " generation words");
  }
  const std::shared_ptr<SharedMapping> mapping(new SharedMapping);
  mapping->arena_ = std::move(opened.descriptors[0]);
  mapping->words_file_ = std::move(opened.descriptors[1]);
  opened.descriptors.clear();
  mapping->size_ = opened.arena_bytes;
  if (auto ok = mapping->map(opened.words); !ok) return std::unexpected(ok.error());
  const std::uint64_t expected = std::min(opened.arena_populated, opened.arena_bytes);
  if (populate && expected > 0) {
    SharedMapping* const self = mapping.get();
    self->populator_ = std::jthread([self, expected](const std::stop_token& stop) { self->populate(stop, expected); });
  } else {
    mapping->populated_ = true;
  }
  return mapping;
}

Result<void> SharedMapping::map(std::uint32_t words) {
  struct stat status{};
  if (auto ok = check_file(words_file_.get(), std::uint64_t{words} * 8, "the file of generation words", status); !ok) {
    return ok;
  }
  if (auto ok = check_file(arena_.get(), size_, "the arena", status); !ok) return ok;
  device_ = status.st_dev;
  inode_ = status.st_ino;
  read_ = map_shared(arena_.get(), size_, PROT_READ);
  if (read_ == nullptr) return os_failure("mapping the arena");
  write_ = map_shared(arena_.get(), size_, PROT_READ | PROT_WRITE);
  if (write_ == nullptr) return os_failure("mapping the arena to write");
  // A child that wrote after this process closed its socket would write into other blocks.
  if (::madvise(write_, size_, MADV_DONTFORK) != 0) return os_failure("keeping the arena from children");
  ::madvise(write_, size_, MADV_DONTDUMP);
  ::madvise(read_, size_, MADV_DONTDUMP);
  std::byte* const at = map_shared(words_file_.get(), std::uint64_t{words} * 8, PROT_READ);
  if (at == nullptr) return os_failure("mapping the generation words");
  words_ = reinterpret_cast<std::atomic<std::uint64_t>*>(at);
  word_count_ = words;
  return {};
}

SharedMapping::~SharedMapping() {
  const bool child = !fork_guard_.same_process();
  if (child && populator_.joinable()) populator_.detach();  // it runs in the parent only
  if (populator_.joinable()) {
    populator_.request_stop();
    populator_.join();
  }
  if (read_ != nullptr) ::munmap(read_, size_);
  // In a child something else may be there: it did not inherit this one.
  if (write_ != nullptr && !child) ::munmap(write_, size_);
  if (words_ != nullptr) ::munmap(words_, std::uint64_t{word_count_} * 8);
}

bool SharedMapping::same_memory(const Link::Opened& opened) const {
  struct stat status{};
  return opened.descriptors.size() == 2 && ::fstat(opened.descriptors[0].get(), &status) == 0 &&
         status.st_dev == device_ && status.st_ino == inode_ && opened.arena_bytes == size_ &&
         opened.words == word_count_;
}

std::optional<Bytes> SharedMapping::readable(std::uint64_t offset, std::uint64_t bytes) const {
  if (offset > size_ || bytes > size_ - offset) return std::nullopt;
  return Bytes(read_ + offset, bytes);
}

std::optional<MutableBytes> SharedMapping::writable(std::uint64_t offset, std::uint64_t bytes) const {
  if (offset > size_ || bytes > size_ - offset) return std::nullopt;
  return MutableBytes(write_ + offset, bytes);
}

const std::atomic<std::uint64_t>* SharedMapping::word(std::uint32_t index) const {
  return index < word_count_ ? words_ + index : nullptr;
}

void SharedMapping::populate(const std::stop_token& stop, std::uint64_t bytes) {
  // Linux keeps a nice value per thread: requests go first.
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), 10);
  TimePoint give_up = std::chrono::steady_clock::now() + kPatience;
  for (std::uint64_t at = 0; at < bytes && !stop.stop_requested();) {
    // Only what is there: a page made by this process would be charged to it, and the arena is larger than it may be.
    const off_t data = ::lseek(arena_.get(), static_cast<off_t>(at), SEEK_DATA);
    const off_t hole = data < 0 ? data : ::lseek(arena_.get(), data, SEEK_HOLE);
    if (data < 0 || hole < 0 || static_cast<std::uint64_t>(data) >= bytes) {
      if (std::chrono::steady_clock::now() > give_up) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      continue;
    }
    at = static_cast<std::uint64_t>(data);
    const std::uint64_t step = std::min({kPopulateStep, static_cast<std::uint64_t>(hole) - at, bytes - at});
    if (!touch(read_ + at, step, false) || !touch(write_ + at, step, true)) break;
    at += step;
    give_up = std::chrono::steady_clock::now() + kPatience;
  }
  populated_.store(true, std::memory_order_release);
}

}  // namespace reprise
