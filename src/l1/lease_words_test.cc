#include "l1/lease_words.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <set>
#include <thread>
#include <vector>

#include "l1/lease_book.h"
#include "l1/test_util.h"
#include "testing/manual_clock.h"

namespace reprise {
namespace {

using namespace std::chrono_literals;
using l1_test::keys_from;
using l1_test::TestCache;
using testing::ManualClock;

constexpr std::uint64_t kBlock = 4096;

// As a client maps them.
class Mapped {
 public:
  explicit Mapped(const LeaseWords& words) : bytes_(words.bytes()) {
    base_ = ::mmap(nullptr, bytes_, PROT_READ, MAP_SHARED, words.fd(), 0);
    EXPECT_NE(base_, MAP_FAILED);
  }
  ~Mapped() { ::munmap(base_, bytes_); }
  [[nodiscard]] bool valid(std::uint32_t index, std::uint64_t generation) const {
    return LeaseWords::valid(static_cast<const std::atomic<std::uint64_t>*>(base_)[index], generation);
  }

 private:
  std::uint64_t bytes_;
  void* base_;
};

std::shared_ptr<LeaseWords> make_words() {
  auto made = LeaseWords::create();
  EXPECT_TRUE(made) << made.error().message;
  return *made;
}

TEST(LeaseWords, LiveFromTakeToEndAndNeverAgain) {
  const auto words = make_words();
  const Mapped client(*words);
  std::set<std::uint64_t> seen;
  for (int i = 0; i < 100; ++i) {
    const auto word = words->take();
    ASSERT_TRUE(word);
    EXPECT_EQ(word->index, 0) << "the one given back last";
    EXPECT_NE(word->generation, 0);
    EXPECT_TRUE(seen.insert(word->generation).second) << "a generation came back";
    EXPECT_TRUE(client.valid(word->index, word->generation));
    words->end(word->index);
    EXPECT_FALSE(client.valid(word->index, word->generation));
    words->give(word->index);
    for (const std::uint64_t old : seen) EXPECT_FALSE(client.valid(word->index, old));
  }
}

TEST(LeaseWords, CorruptGenerationIsNeverValid) {
  const auto words = make_words();
  const Mapped client(*words);
  const auto word = words->take();
  for (std::uint64_t corrupt = 0; corrupt < 64; ++corrupt) {
    EXPECT_EQ(client.valid(word->index, corrupt), corrupt == word->generation) << corrupt;
    EXPECT_FALSE(client.valid(LeaseWords::kCount - 1, corrupt)) << "a word nobody took";
  }
  words->end(word->index);
  for (std::uint64_t corrupt = 0; corrupt < 64; ++corrupt) EXPECT_FALSE(client.valid(word->index, corrupt)) << corrupt;
}

TEST(LeaseWords, RunOutAndRecover) {
  const auto words = make_words();
  for (std::uint32_t i = 0; i < LeaseWords::kCount; ++i) ASSERT_TRUE(words->take());
  EXPECT_FALSE(words->take());
  words->end(7);
  words->give(7);
  const auto word = words->take();
  ASSERT_TRUE(word);
  EXPECT_EQ(word->index, 7);
  EXPECT_FALSE(words->take());
}

TEST(LeaseWords, MemoryIsSealed) {
  const auto words = make_words();
  EXPECT_NE(::ftruncate(words->fd(), 0), 0);
  EXPECT_NE(::ftruncate(words->fd(), static_cast<off_t>(2 * words->bytes())), 0);
  EXPECT_EQ(::fcntl(words->fd(), F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL),
            F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  if ((::fcntl(words->fd(), F_GET_SEALS) & 0x10) == 0) GTEST_SKIP() << "a kernel without F_SEAL_FUTURE_WRITE";
  EXPECT_EQ(::mmap(nullptr, words->bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, words->fd(), 0), MAP_FAILED);
}

class LeasedWordsTest : public ::testing::Test {
 protected:
  LeasedWordsTest() { l1_test::put(*cache_, ns_, keys_); }
  Lease open(std::size_t blocks) {
    return book_->open(l1_test::pin(cache_.cache, ns_, std::span(keys_).first(blocks)));
  }
  const Namespace ns_ = l1_test::make_namespace(kBlock);
  const std::vector<BlockKey> keys_ = keys_from(0, 4);
  TestCache cache_{MemoryCacheOptions{.capacity = 4 * kBlock}};
  ManualClock clock_;
  std::shared_ptr<LeaseWords> words_ = make_words();
  Mapped client_{*words_};
  std::shared_ptr<LeaseBook> book_ = std::make_shared<LeaseBook>(clock_, 10s, words_);
};

TEST_F(LeasedWordsTest, WordEndsWithTheLastHolder) {
  Lease lease = open(2);
  const LeaseInside word = LeaseBook::inside(lease);
  EXPECT_TRUE(client_.valid(word.word, word.generation));
  Lease other = *book_->attach(*lease.token());
  lease.release();
  EXPECT_TRUE(client_.valid(word.word, word.generation)) << "somebody still holds it";
  other.release();
  EXPECT_FALSE(client_.valid(word.word, word.generation));
  EXPECT_EQ(cache_.checked().held, 0);
}

TEST_F(LeasedWordsTest, WordEndsAtExpiryAndIsUsedAgain) {
  Lease lease = open(2);
  const LeaseInside word = LeaseBook::inside(lease);
  clock_.advance(11s);
  EXPECT_EQ(book_->expire_due(), 1);
  EXPECT_FALSE(client_.valid(word.word, word.generation));
  Lease next = open(2);
  const LeaseInside later = LeaseBook::inside(next);
  EXPECT_EQ(later.word, word.word) << "it was not given back";
  EXPECT_TRUE(client_.valid(later.word, later.generation));
  EXPECT_FALSE(client_.valid(word.word, word.generation));
  lease.release();
  EXPECT_TRUE(client_.valid(later.word, later.generation)) << "the old lease ended another one's word";
}

TEST_F(LeasedWordsTest, WithoutAWordThereIsNoLeaseAndNothingHeld) {
  std::vector<LeaseWord> taken;
  while (const auto word = words_->take()) taken.push_back(*word);
  EXPECT_TRUE(open(2).empty());
  EXPECT_EQ(cache_.checked().held, 0);
  EXPECT_EQ(book_->live(), 0);
  words_->end(taken.back().index);
  words_->give(taken.back().index);
  EXPECT_EQ(open(2).size(), 2);
}

// Three threads: one lets leases run out; one waits for the one block's memory, overwrites and leases it; one reads in
// place and asks the word, as a client does. The word must have ended by the time the memory can be had, and whenever
// it still stood after a read, the bytes were the leased ones.
TEST(LeasedWordsThreads, WordChangesBeforeTheBytesCan) {
  const Namespace ns = l1_test::make_namespace(kBlock);
  TestCache cache{MemoryCacheOptions{.capacity = 2 * kBlock}};
  // Every lease also holds this block many times over: to give all that back takes a moment.
  const BlockKey ballast = l1_test::key_of(0);
  l1_test::put_one(*cache, ns, ballast);
  const Pins held = l1_test::pin(cache.cache, ns, std::span(&ballast, 1));
  const std::vector<PinnedBlock> weight(500, held[0]);
  ManualClock clock;
  const auto words = make_words();
  const Mapped client(*words);
  const auto book = std::make_shared<LeaseBook>(clock, 10s, words);
  struct {
    std::atomic<std::uint64_t> number{0};  // that the leased block holds; 0 = none
    std::atomic<std::uint64_t*> bytes{nullptr};
    std::atomic<std::uint32_t> word{0};
    std::atomic<std::uint64_t> generation{0};
  } offer;
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> checked{0};
  std::atomic<std::uint64_t> wrong{0};
  std::thread reader([&] {
    while (!stop) {
      const std::uint64_t number = offer.number.load(std::memory_order_acquire);
      if (number == 0) continue;
      std::atomic_ref<std::uint64_t> block(*offer.bytes.load(std::memory_order_relaxed));
      const std::uint32_t word = offer.word.load(std::memory_order_relaxed);
      const std::uint64_t generation = offer.generation.load(std::memory_order_relaxed);
      const std::uint64_t found = block.load(std::memory_order_relaxed);
      // A torn offer names another lease's word.
      if (!client.valid(word, generation) || offer.number.load(std::memory_order_relaxed) != number) continue;
      checked.fetch_add(1, std::memory_order_relaxed);
      wrong.fetch_add(found != number ? 1 : 0, std::memory_order_relaxed);
    }
  });
  std::thread expirer([&] {
    while (!stop) {
      clock.advance(11s);
      book->expire_due();
      std::this_thread::yield();
    }
  });
  Lease lease;
  LeaseInside inside;
  std::uint64_t early = 0;
  for (std::uint64_t number = 1; number < 2000 || (checked.load() == 0 && number < 1'000'000); ++number) {
    const BlockKey key = l1_test::key_of(number);
    Admission admission;
    while (admission.filling.empty()) admission = cache->admit(ns, std::span(&key, 1), 0, 1, true);
    early += client.valid(inside.word, inside.generation) ? 1 : 0;
    offer.number.store(0, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
    auto* const at = reinterpret_cast<std::uint64_t*>(admission.filling[0].data);
    std::atomic_ref<std::uint64_t>(*at).store(number, std::memory_order_relaxed);
    cache->publish(admission.filling[0], 0, false);
    Pins pins = l1_test::pin(cache.cache, ns, std::span(&key, 1));
    EXPECT_EQ(pins.size(), 1);
    pins.repin(weight);
    admission = {};
    lease = book->open(std::move(pins));
    inside = LeaseBook::inside(lease);
    offer.bytes.store(at, std::memory_order_relaxed);
    offer.word.store(inside.word, std::memory_order_relaxed);
    offer.generation.store(inside.generation, std::memory_order_relaxed);
    offer.number.store(number, std::memory_order_release);
  }
  stop = true;
  reader.join();
  expirer.join();
  EXPECT_EQ(early, 0) << "memory could be had while its lease's word still stood";
  EXPECT_EQ(wrong.load(), 0);
  EXPECT_GT(checked.load(), 0) << "the reader never saw a live lease";
}

}  // namespace
}  // namespace reprise
