#include "engine/ingest.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <thread>

#include "base/kernels.h"
#include "testing/chains.h"
#include "testing/hook_store.h"

namespace reprise {
namespace {

using namespace std::chrono_literals;
using testing::Gate;
using testing::HookStore;
using testing::is_payload;
using testing::make_keys;
using testing::make_namespace;

constexpr std::uint32_t kBlock = 4096;

class IngestTest : public ::testing::Test {
 protected:
  void start(std::uint64_t queue_blocks) {
    MemoryCacheOptions memory;
    memory.capacity = 64 * kBlock;
    memory.transit_bytes = 64 * kBlock;
    memory.populate = false;
    auto made = MemoryCache::create(memory, *PolicyRegistry::with_builtins().make("lru", {}));
    ASSERT_TRUE(made.has_value());
    cache = std::move(*made);
    CacheOptions options;
    options.l2_queue_bytes = queue_blocks * kBlock;
    queue = std::make_unique<IngestQueue>(std::make_shared<HookStore>(hooks), cache, options);
  }
  ~IngestTest() override {
    if (queue) queue->close(50ms);
  }
  Pins transit(std::span<const BlockKey> keys) {
    Pins pins(cache);
    for (const BlockKey& key : keys) {
      const auto memory = cache->allocate_transit({ns.id(), key}, kBlock);
      EXPECT_TRUE(memory.has_value());
      if (!memory) continue;
      std::memcpy(memory->data, testing::payload(ns, key).data(), kBlock);
      pins.adopt(*memory);
    }
    return pins;
  }
  std::vector<BlockId> ids(std::span<const BlockKey> keys) const {
    std::vector<BlockId> made;
    for (const BlockKey& key : keys) made.push_back({ns.id(), key});
    return made;
  }
  bool pending(const BlockKey& key) {
    Pins found(cache);
    found.adopt({});
    queue->pin_pending(ids(std::span(&key, 1)), found);
    if (found[0].slot == kNoSlot) return false;
    EXPECT_TRUE(is_payload(ns, key, found.bytes(0)));
    return true;
  }
  std::size_t stored(std::span<const BlockKey> keys) {
    const auto all = ids(keys);
    const auto flags = std::make_unique<bool[]>(all.size());
    EXPECT_TRUE(hooks->mock.contains(all, std::span(flags.get(), all.size()), Deadline::never()).has_value());
    return static_cast<std::size_t>(std::count(flags.get(), flags.get() + all.size(), true));
  }
  CacheStats stats() const {
    CacheStats stats;
    queue->add_stats(stats);
    return stats;
  }

  const Namespace ns = make_namespace(kBlock);
  std::shared_ptr<HookStore::Hooks> hooks = std::make_shared<HookStore::Hooks>();
  std::shared_ptr<MemoryCache> cache;
  std::unique_ptr<IngestQueue> queue;
};

TEST_F(IngestTest, WritesWithTheRightChecksumAndLetsGo) {
  start(64);
  std::size_t right = 0;
  hooks->written = [&right](std::span<WriteOp> ops) {
    for (const WriteOp& op : ops) right += op.checksum == checksum(op.payload) ? 1 : 0;
  };
  const auto keys = make_keys(1, 64);
  EXPECT_EQ(queue->offer_transit(transit(keys)), 64);
  ASSERT_TRUE(queue->flush(Deadline::never()));
  EXPECT_EQ(right, 64);
  EXPECT_EQ(stored(keys), 64);
  EXPECT_EQ(stats().ingest_queued_bytes, 0);
  EXPECT_EQ(transit(make_keys(2, 64)).size(), 64) << "all memory is back";
}

TEST_F(IngestTest, ResidentBlocksAreMarkedWhileTheyAreWritten) {
  start(64);
  const auto gate = std::make_shared<Gate>();
  hooks->write = [gate] { gate->pass(); };
  const auto keys = make_keys(1, 2);
  Admission admission = cache->admit(ns, keys, 0, 2, true);
  for (std::size_t i = 0; i < 2; ++i) {
    std::memcpy(admission.filling[i].data, testing::payload(ns, keys[i]).data(), kBlock);
    cache->publish(admission.filling[i], 0, false);
  }
  EXPECT_EQ(queue->offer_resident(cache->begin_outbound(admission.filling.blocks())), 2);
  gate->await(1);
  EXPECT_TRUE(pending(keys[0]));
  EXPECT_TRUE(cache->begin_outbound(admission.filling.blocks()).empty()) << "on their way already";
  gate->open();
  ASSERT_TRUE(queue->flush(Deadline::never()));
  EXPECT_TRUE(cache->begin_outbound(admission.filling.blocks()).empty()) << "saved";
  EXPECT_EQ(stored(keys), 2);
}

TEST_F(IngestTest, FailedWriteLeavesTheBlockUnsaved) {
  start(64);
  hooks->written = [](std::span<WriteOp> ops) {
    for (WriteOp& op : ops) op.result = Reason::kFull;  // ENOSPC
  };
  const auto keys = make_keys(1, 1);
  Admission admission = cache->admit(ns, keys, 0, 1, true);
  cache->publish(admission.filling[0], 0, false);
  queue->offer_resident(cache->begin_outbound(admission.filling.blocks()));
  ASSERT_TRUE(queue->flush(Deadline::never()));
  Pins again = cache->begin_outbound(admission.filling.blocks());
  EXPECT_EQ(again.size(), 1) << "it may be offered again";
  for (const PinnedBlock& block : again.blocks()) cache->repin(block), cache->end_outbound(block, false);
}

TEST_F(IngestTest, FullQueueDropsAndCounts) {
  start(3);
  const auto gate = std::make_shared<Gate>();
  hooks->write = [gate] { gate->pass(); };
  const auto keys = make_keys(1, 5);
  std::vector<bool> refused;
  EXPECT_EQ(queue->offer_transit(transit(keys), &refused), 3);
  EXPECT_EQ(refused, (std::vector<bool>{false, false, false, true, true}));
  EXPECT_EQ(stats().ingest_dropped, 2);
  EXPECT_EQ(stats().ingest_queued_bytes, 3 * kBlock);
  EXPECT_TRUE(pending(keys[2]));
  EXPECT_FALSE(pending(keys[3]));
  gate->open();
  ASSERT_TRUE(queue->flush(Deadline::never()));
  EXPECT_EQ(stored(keys), 3);
  EXPECT_EQ(queue->offer_transit(transit(std::span(keys).last(2))), 2) << "there is room again";
}

TEST_F(IngestTest, BlockOnItsWayIsNotQueuedTwice) {
  start(3);
  const auto gate = std::make_shared<Gate>();
  hooks->write = [gate] { gate->pass(); };
  const auto keys = make_keys(1, 2);
  EXPECT_EQ(queue->offer_transit(transit(keys)), 2);
  EXPECT_EQ(queue->offer_transit(transit(keys)), 2) << "on their way, if not by this call";
  EXPECT_EQ(stats().ingest_queued_bytes, 2 * kBlock);
  EXPECT_EQ(stats().ingest_dropped, 0);
  gate->open();
  ASSERT_TRUE(queue->flush(Deadline::never()));
  EXPECT_EQ(hooks->mock.stats().writes, 2);
}

TEST_F(IngestTest, FlushComesBackWhileTheStoreHangs) {
  start(64);
  const auto gate = std::make_shared<Gate>();
  hooks->write = [gate] { gate->pass(); };
  queue->offer_transit(transit(make_keys(1, 1)));
  EXPECT_FALSE(queue->flush(Deadline::after(10ms)));
  EXPECT_FALSE(queue->flush(Deadline::now()));
  EXPECT_FALSE(gate->is_open());
  gate->open();
  EXPECT_TRUE(queue->flush(Deadline::never()));
  const auto hanging_flush = std::make_shared<Gate>();
  hooks->flush = [hanging_flush] { hanging_flush->pass(); };
  EXPECT_FALSE(queue->flush(Deadline::after(10ms)));
  EXPECT_FALSE(hanging_flush->is_open());
  // A store that cannot flush still takes writes.
  const auto keys = make_keys(2, 1);
  queue->offer_transit(transit(keys));
  while (stored(keys) == 0) std::this_thread::sleep_for(1ms);
  hanging_flush->open();
}

TEST_F(IngestTest, FlushDoesNotWaitForWhatComesLater) {
  start(64);
  const auto first = std::make_shared<Gate>();
  const auto later = std::make_shared<Gate>();
  hooks->write = [first, later, this] { (hooks->write_calls == 1 ? first : later)->pass(); };
  queue->offer_transit(transit(make_keys(1, 1)));
  first->await(1);
  std::atomic<bool> flushed = false;
  std::thread flusher([&] { flushed = queue->flush(Deadline::never()); });
  // Whichever comes first, the flush or the second block: the flush must end, or was asked to wait for both.
  std::this_thread::sleep_for(20ms);
  queue->offer_transit(transit(make_keys(2, 1)));
  first->open();
  later->await(1);
  flusher.join();
  EXPECT_TRUE(flushed);
  EXPECT_FALSE(later->is_open());
  later->open();
}

TEST_F(IngestTest, ForgottenBlocksAreNotWritten) {
  start(64);
  const auto gate = std::make_shared<Gate>();
  hooks->write = [gate] { gate->pass(); };
  const auto first = make_keys(1, 1);
  const auto waiting = make_keys(2, 3);
  queue->offer_transit(transit(first));
  gate->await(1);
  queue->offer_transit(transit(waiting));
  EXPECT_EQ(queue->forget(ids(waiting), Deadline::never()), 3) << "does not wait for the hanging write";
  EXPECT_FALSE(pending(waiting[0]));
  EXPECT_EQ(queue->forget(ids(first), Deadline::after(5ms)), 1) << "being written; does not wait for ever";
  EXPECT_FALSE(pending(first[0]));
  gate->open();
  ASSERT_TRUE(queue->flush(Deadline::never()));
  EXPECT_EQ(stored(first), 0) << "erased after it was written";
  EXPECT_EQ(stored(waiting), 0);
  EXPECT_EQ(stats().ingest_queued_bytes, 0);
  // The same blocks may come again.
  queue->offer_transit(transit(waiting));
  ASSERT_TRUE(queue->flush(Deadline::never()));
  EXPECT_EQ(stored(waiting), 3);
}

TEST_F(IngestTest, ForgottenAndQueuedAgainIsWritten) {
  start(64);
  const auto gate = std::make_shared<Gate>();
  hooks->write = [gate] { gate->pass(); };
  const auto keys = make_keys(1, 1);
  queue->offer_transit(transit(keys));
  gate->await(1);
  queue->forget(ids(keys), Deadline::now());
  EXPECT_EQ(queue->offer_transit(transit(keys)), 1);
  EXPECT_TRUE(pending(keys[0]));
  gate->open();
  ASSERT_TRUE(queue->flush(Deadline::never()));
  EXPECT_EQ(stored(keys), 1);
}

TEST_F(IngestTest, ClosesWhileAWriteHangs) {
  start(64);
  const auto gate = std::make_shared<Gate>();
  hooks->write = [gate] { gate->pass(); };
  queue->offer_transit(transit(make_keys(1, 1)));
  gate->await(1);
  const auto late = make_keys(2, 2);
  queue->offer_transit(transit(late));
  queue->close(10ms);
  EXPECT_FALSE(gate->is_open());
  EXPECT_EQ(stats().ingest_dropped, 2);
  std::vector<bool> refused;
  EXPECT_EQ(queue->offer_transit(transit(make_keys(3, 1)), &refused), 0) << "closed";
  EXPECT_TRUE(refused[0]);
  queue.reset();
  const std::weak_ptr<MemoryCache> memory = cache;
  cache.reset();
  EXPECT_FALSE(memory.expired()) << "the write that was left behind keeps what it reads";
  gate->open();
  while (!memory.expired()) std::this_thread::sleep_for(1ms);
  EXPECT_EQ(stored(late), 0);
}

TEST_F(IngestTest, ClosingWritesWhatIsQueued) {
  start(64);
  const auto keys = make_keys(1, 40);
  queue->offer_transit(transit(keys));
  queue->close(std::chrono::minutes(5));
  EXPECT_EQ(stored(keys), 40);
}

TEST_F(IngestTest, StoreThatThrowsCostsTheBatchOnly) {
  start(64);
  hooks->write = [this] {
    if (hooks->write_calls == 1) throw std::runtime_error("broken");
  };
  queue->offer_transit(transit(make_keys(1, 1)));
  ASSERT_TRUE(queue->flush(Deadline::never()));
  queue->offer_transit(transit(make_keys(2, 1)));
  ASSERT_TRUE(queue->flush(Deadline::never()));
  EXPECT_EQ(stored(make_keys(1, 1)), 0);
  EXPECT_EQ(stored(make_keys(2, 1)), 1);
}

}  // namespace
}  // namespace reprise
