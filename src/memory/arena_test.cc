#include "memory/arena.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace reprise {
namespace {

using ::testing::HasSubstr;

constexpr std::uint64_t kMiB = 1 << 20;

ArenaOptions options(Memory kind, std::uint64_t reserve, std::uint64_t populate) {
  return {.reserve_bytes = reserve, .populate_bytes = populate, .kind = kind, .huge_pages = true, .populate = true};
}

void wait_populated(const Arena& arena) {
  while (arena.populated() < 1) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

std::uint64_t resident(const Arena& arena, std::uint64_t bytes) {
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> pages((bytes + page - 1) / page);
  EXPECT_EQ(::mincore(arena.data(), bytes, pages.data()), 0);
  std::uint64_t count = 0;
  for (const unsigned char p : pages) count += p & 1;
  return count * page;
}

class EachKind : public ::testing::TestWithParam<Memory> {};

TEST_P(EachKind, IsAlignedZeroAndWritableToItsEnd) {
  auto arena = Arena::create(options(GetParam(), 5 * kMiB, 0));
  ASSERT_TRUE(arena) << arena.error().message;
  EXPECT_EQ((*arena)->size(), 6 * kMiB);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>((*arena)->data()) % (2 * kMiB), 0U);
  EXPECT_EQ((*arena)->data()[6 * kMiB - 1], std::byte{0});
  (*arena)->data()[6 * kMiB - 1] = std::byte{1};
  EXPECT_EQ((*arena)->populated(), 0);
}

TEST_P(EachKind, ReservesMoreThanTheMachineHas) {
  auto arena = Arena::create(options(GetParam(), 1ULL << 40, 0));
  ASSERT_TRUE(arena) << arena.error().message;
  (*arena)->data()[(1ULL << 40) - 1] = std::byte{1};
}

// Bytes mapped by huge pages of shared memory in the mapping that begins at `at`.
std::uint64_t huge_shared_bytes(const std::byte* at) {
  std::ostringstream start;
  start << std::hex << reinterpret_cast<std::uintptr_t>(at) << '-';
  std::ifstream maps("/proc/self/smaps");
  bool inside = false;
  for (std::string line; std::getline(maps, line);) {
    if (line.starts_with(start.str())) inside = true;
    if (inside && line.starts_with("ShmemPmdMapped:")) return std::stoull(line.substr(15)) * 1024;
  }
  return 0;
}

// Whether this kernel makes huge pages of shared memory when asked.
bool kernel_collapses() {
  const int fd = ::memfd_create("probe", MFD_CLOEXEC);
  EXPECT_EQ(::ftruncate(fd, 4 * kMiB), 0);
  auto* const at = static_cast<std::byte*>(::mmap(nullptr, 4 * kMiB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  std::byte* const aligned = at + (2 * kMiB - reinterpret_cast<std::uintptr_t>(at) % (2 * kMiB)) % (2 * kMiB);
  // The file's offset has to be aligned alike.
  ::mmap(aligned, 2 * kMiB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
  aligned[0] = std::byte{1};
  constexpr int kCollapse = 25;
  const bool works = ::madvise(aligned, 2 * kMiB, kCollapse) == 0;
  ::munmap(at, 4 * kMiB);
  ::close(fd);
  return works;
}

TEST(Memfd, IsPopulatedWithHugePagesWhereThereAreAny) {
  if (!kernel_collapses()) GTEST_SKIP() << "no huge pages for shared memory here";
  auto arena = Arena::create(options(Memory::kMemfd, 32 * kMiB, 20 * kMiB));
  ASSERT_TRUE(arena) << arena.error().message;
  for (std::uint64_t at = 0; at < 20 * kMiB; at += 4096) (*arena)->data()[at] = std::byte{0x5A};
  wait_populated(**arena);
  EXPECT_GE(huge_shared_bytes((*arena)->data()), 2 * kMiB);  // how many are free is the machine's business
  for (std::uint64_t at = 0; at < 20 * kMiB; at += 4096) ASSERT_EQ((*arena)->data()[at], std::byte{0x5A}) << at;

  ArenaOptions plain = options(Memory::kMemfd, 32 * kMiB, 20 * kMiB);
  plain.huge_pages = false;
  auto without = Arena::create(plain);
  ASSERT_TRUE(without) << without.error().message;
  wait_populated(**without);
  std::ifstream enabled("/sys/kernel/mm/transparent_hugepage/shmem_enabled");
  std::string text;
  std::getline(enabled, text);
  if (text.find("[never]") != std::string::npos) {
    EXPECT_EQ(huge_shared_bytes((*without)->data()), 0U);
  }
}

TEST_P(EachKind, PopulatesThePrefixAndKeepsWhatIsWrittenMeanwhile) {
  auto arena = Arena::create(options(GetParam(), 96 * kMiB, 65 * kMiB + 1));
  ASSERT_TRUE(arena) << arena.error().message;
  for (std::uint64_t at = 0; at < 64 * kMiB; at += 4096) (*arena)->data()[at] = std::byte{0x5A};
  wait_populated(**arena);
  EXPECT_EQ(resident(**arena, 65 * kMiB), 65 * kMiB);
  for (std::uint64_t at = 0; at < 64 * kMiB; at += 4096) ASSERT_EQ((*arena)->data()[at], std::byte{0x5A});
}

TEST_P(EachKind, IsNotPopulatedUnlessAsked) {
  ArenaOptions lazy = options(GetParam(), 8 * kMiB, 8 * kMiB);
  lazy.populate = false;
  auto arena = Arena::create(lazy);
  ASSERT_TRUE(arena);
  EXPECT_EQ((*arena)->populated(), 0);
  if (GetParam() == Memory::kMemfd) {
    EXPECT_EQ(resident(**arena, 8 * kMiB), 0U);
  }
}

TEST_P(EachKind, CanBeDestroyedWhilePopulating) {
  const std::uint64_t half = Arena::usable_memory() / 2;
  auto arena = Arena::create(options(GetParam(), half, half));
  ASSERT_TRUE(arena) << arena.error().message;
  EXPECT_LT((*arena)->populated(), 0.5);  // create did not wait for it
  arena->reset();                         // and neither does this, or the test takes seconds
}

TEST_P(EachKind, DiscardedPagesReadAsZeros) {
  auto arena = Arena::create(options(GetParam(), 8 * kMiB, 0));
  ASSERT_TRUE(arena);
  (*arena)->data()[4 * kMiB - 1] = std::byte{1};
  (*arena)->data()[4 * kMiB] = std::byte{2};
  (*arena)->data()[6 * kMiB] = std::byte{3};
  ASSERT_TRUE((*arena)->discard(4 * kMiB, 2 * kMiB));
  EXPECT_EQ((*arena)->data()[4 * kMiB - 1], std::byte{1});
  EXPECT_EQ((*arena)->data()[4 * kMiB], std::byte{0});
  EXPECT_EQ((*arena)->data()[6 * kMiB], std::byte{3});
  EXPECT_TRUE((*arena)->discard(8 * kMiB, 0));
  for (const auto& [offset, length] : {std::pair<std::uint64_t, std::uint64_t>{1, 4096},
                                       {0, 1},
                                       {8 * kMiB, 4096},
                                       {4096, 8 * kMiB},
                                       {4096, ~std::uint64_t{0} - 4095}}) {
    const auto refused = (*arena)->discard(offset, length);
    ASSERT_FALSE(refused) << offset << "+" << length;
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalid);
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, EachKind, ::testing::Values(Memory::kAnonymous, Memory::kMemfd),
                         [](const auto& kind) { return kind.param == Memory::kMemfd ? "memfd" : "anonymous"; });

TEST(Arena, AnonymousHasNoDescriptor) {
  auto arena = Arena::create(options(Memory::kAnonymous, kMiB, 0));
  ASSERT_TRUE(arena);
  EXPECT_EQ((*arena)->fd(), -1);
}

TEST(Arena, AMemfdIsSharedAndCannotBeResizedOrUnsealed) {
  auto arena = Arena::create(options(Memory::kMemfd, 4 * kMiB, 0));
  ASSERT_TRUE(arena);
  const int fd = (*arena)->fd();
  (*arena)->data()[kMiB] = std::byte{42};
  auto* other = static_cast<std::byte*>(::mmap(nullptr, 4 * kMiB, PROT_READ, MAP_SHARED, fd, 0));
  ASSERT_NE(other, MAP_FAILED);
  EXPECT_EQ(other[kMiB], std::byte{42});
  ::munmap(other, 4 * kMiB);
  EXPECT_NE(::ftruncate(fd, kMiB), 0);
  EXPECT_NE(::ftruncate(fd, 8 * kMiB), 0);
  EXPECT_NE(::fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
  EXPECT_NE(::fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
}

TEST(Arena, ImpossibleSizesAreRefusedWithTheNumbers) {
  const std::uint64_t memory = 1000 * kMiB;
  EXPECT_TRUE(Arena::check(options(Memory::kMemfd, 2000 * kMiB, 1000 * kMiB), memory));
  auto refused = Arena::check(options(Memory::kMemfd, 2000 * kMiB, 1001 * kMiB), memory);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kConfig);
  EXPECT_THAT(refused.error().message, HasSubstr("1001 MiB"));
  EXPECT_THAT(refused.error().message, HasSubstr("1000 MiB"));
  EXPECT_FALSE(Arena::check(options(Memory::kMemfd, 0, 0), memory));
  EXPECT_FALSE(Arena::check(options(Memory::kMemfd, 10 * kMiB, 11 * kMiB), memory));
  EXPECT_FALSE(Arena::check(options(Memory::kMemfd, ~std::uint64_t{0}, 0), memory));
  EXPECT_FALSE(Arena::create(options(Memory::kAnonymous, 1ULL << 45, 1ULL << 45)));
}

}  // namespace
}  // namespace reprise
