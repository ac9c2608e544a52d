// What reaches L2 under each way of ingestion, seen through the public API and a store that records what it is given.
#include <gtest/gtest.h>

#include <map>
#include <mutex>

#include "base/kernels.h"
#include "reprise/cache.h"
#include "testing/chains.h"
#include "testing/hook_store.h"

namespace reprise {
namespace {

using testing::Gate;
using testing::HookStore;
using testing::make_keys;
using testing::make_namespace;
using testing::Payloads;

constexpr std::uint64_t kBlock = 4096;

class IngestModesTest : public ::testing::Test {
 protected:
  IngestModesTest() {
    options.l1_capacity = 8 * kBlock;
    options.l1_policy = "lru";
    options.l1_populate = false;
    options.l2_url = "hook:";
    options.l2_queue_bytes = 32 * kBlock;
    options.policy_salt = 1;
  }
  void start(Ingest ingest) {
    options.l2_ingest = ingest;
    hooks = std::make_shared<HookStore::Hooks>();
    StoreRegistry stores = StoreRegistry::with_builtins();
    ASSERT_TRUE(stores.add("hook", [h = hooks](std::string_view) { return std::make_unique<HookStore>(h); }));
    Extensions extensions;
    extensions.stores = &stores;
    auto opened = open("embedded:", options, extensions);
    ASSERT_TRUE(opened.has_value()) << opened.error().message;
    cache = std::move(*opened);
  }
  Stored put(std::uint64_t chain, std::size_t n = 4) {
    const auto keys = make_keys(chain, n);
    const Payloads payloads(ns, keys);
    auto stored = cache->put(Chain(ns, keys), 0, payloads.views);
    EXPECT_TRUE(stored.has_value());
    return *stored;
  }
  void use(std::uint64_t chain, std::size_t n = 4) {
    const auto keys = make_keys(chain, n);
    EXPECT_EQ(cache->acquire(Chain(ns, keys))->match.blocks, n);
  }
  std::size_t written(std::uint64_t chain, std::size_t n = 4) {
    EXPECT_TRUE(cache->flush(Deadline::never()).value());
    std::vector<BlockId> ids;
    for (const BlockKey& key : make_keys(chain, n)) ids.push_back({ns.id(), key});
    const auto flags = std::make_unique<bool[]>(n);
    EXPECT_TRUE(hooks->mock.contains(ids, std::span(flags.get(), n), Deadline::never()).has_value());
    return static_cast<std::size_t>(std::count(flags.get(), flags.get() + n, true));
  }
  /// Keeps the writer busy with a block of its own until the gate opens.
  std::shared_ptr<Gate> block_writer() {
    auto gate = std::make_shared<Gate>();
    hooks->write = [gate] { gate->pass(); };
    return gate;
  }

  const Namespace ns = make_namespace(kBlock);
  CacheOptions options;
  std::shared_ptr<HookStore::Hooks> hooks;
  std::unique_ptr<Cache> cache;
};

TEST_F(IngestModesTest, AllWritesWhatIsPutOnce) {
  start(Ingest::kAll);
  std::size_t right = 0;
  hooks->written = [&right](std::span<WriteOp> ops) {
    for (const WriteOp& op : ops) right += op.checksum == checksum(op.payload) ? 1 : 0;
  };
  put(1);
  EXPECT_EQ(written(1), 4);
  EXPECT_EQ(put(1).present, 4);
  for (std::uint64_t c = 2; c < 9; ++c) put(c);
  for (std::uint64_t c = 1; c < 9; ++c) EXPECT_EQ(written(c), 4) << c;
  EXPECT_EQ(hooks->mock.stats().writes, 32) << "eviction does not write again what is saved";
  EXPECT_EQ(right, 32) << "the checksum handed over is that of the bytes";
}

TEST_F(IngestModesTest, AllWritesWhatIsReserved) {
  start(Ingest::kAll);
  std::size_t right = 0;
  hooks->written = [&right](std::span<WriteOp> ops) {
    for (const WriteOp& op : ops) right += op.checksum == checksum(op.payload) ? 1 : 0;
  };
  const auto keys = make_keys(1, 12);  // more than L1 holds
  auto reserved = cache->reserve(Chain(ns, keys), 0, Deadline::never());
  ASSERT_TRUE(reserved.has_value());
  for (std::size_t i = 0; i < 12; ++i) {
    ASSERT_EQ(reserved->block(i).size(), kBlock) << i;
    std::memcpy(reserved->block(i).data(), testing::payload(ns, keys[i]).data(), kBlock);
  }
  EXPECT_EQ(reserved->commit(10), 10);
  EXPECT_EQ(written(1, 12), 10);
  EXPECT_EQ(right, 10);
  EXPECT_EQ(cache->match(Chain(ns, keys))->blocks, 10);
}

TEST_F(IngestModesTest, AllPassesOnWhatL1Declines) {
  start(Ingest::kAll);
  auto held = make_keys(1, 8);
  put(1, 8);
  auto lease = cache->acquire(Chain(ns, held));
  const Stored stored = put(2);
  EXPECT_EQ(stored.accepted, 4);
  EXPECT_EQ(stored.declined, 0);
  EXPECT_TRUE(stored.declined_blocks.empty());
  EXPECT_EQ(written(2), 4);
  EXPECT_EQ(cache->stats().l1.blocks, 8);
}

TEST_F(IngestModesTest, BlocksOnTheirWayPastL1AreThereAlready) {
  start(Ingest::kAll);
  put(1, 8);
  EXPECT_EQ(written(1, 8), 8);
  const auto gate = block_writer();
  auto lease = cache->acquire(Chain(ns, make_keys(1, 8)));
  EXPECT_EQ(put(2).accepted, 4);
  const Stored again = put(2);
  EXPECT_EQ(again.present, 4);
  EXPECT_EQ(again.accepted, 0);
  EXPECT_EQ(again.declined, 0);
  gate->open();
  EXPECT_EQ(written(2), 4);
}

TEST_F(IngestModesTest, EvictedWritesWhatLeaves) {
  start(Ingest::kEvicted);
  put(1);
  put(2);
  EXPECT_EQ(written(1) + written(2), 0) << "still in L1";
  put(3);
  EXPECT_EQ(written(1), 4);
  EXPECT_EQ(written(2) + written(3), 0);
  use(1);  // comes back from L2 in place of chain 2
  EXPECT_EQ(written(2), 4);
  put(4);
  put(5);
  EXPECT_EQ(written(1), 4);
  EXPECT_EQ(hooks->mock.stats().writes, 12) << "chain 1 was saved when it left for the second time";
}

TEST_F(IngestModesTest, EvictedPassesOnWhatL1Declines) {
  start(Ingest::kEvicted);
  put(1, 8);
  auto lease = cache->acquire(Chain(ns, make_keys(1, 8)));
  EXPECT_EQ(put(2).accepted, 4);
  EXPECT_EQ(written(2), 4);
  EXPECT_EQ(written(1, 8), 0);
}

TEST_F(IngestModesTest, HotWritesOnlyHotBlocks) {
  for (const std::string policy : {"lru", "adaptive"}) {
    options.l1_policy = policy;
    options.l1_capacity = 64 * kBlock;
    start(Ingest::kHot);
    put(1);
    put(2);
    EXPECT_EQ(written(1) + written(2), 0) << policy;
    for (int i = 0; i < 3; ++i) use(1);
    EXPECT_EQ(written(1), 4) << policy;
    EXPECT_EQ(written(2), 0) << policy;
    EXPECT_EQ(hooks->mock.stats().writes, 4) << policy << ": once, however hot";
  }
}

TEST_F(IngestModesTest, HotDeclinesWhatL1Declines) {
  start(Ingest::kHot);
  put(1, 8);
  auto lease = cache->acquire(Chain(ns, make_keys(1, 8)));
  const Stored stored = put(2);
  EXPECT_EQ(stored.declined, 4);
  EXPECT_EQ(stored.declined_blocks, std::vector<bool>(4, true));
  EXPECT_NE(stored.reason, Reason::kNone);
  EXPECT_EQ(written(2), 0);
}

TEST_F(IngestModesTest, FullQueueDropsCountsAndSaysSo) {
  options.l2_queue_bytes = 4 * kBlock;
  start(Ingest::kAll);
  const auto gate = block_writer();
  put(1, 8);  // four queued, four dropped; all resident
  EXPECT_EQ(cache->stats().ingest_dropped, 4);
  auto lease = cache->acquire(Chain(ns, make_keys(1, 8)), Deadline::now());
  const Stored stored = put(2);
  EXPECT_EQ(stored.declined, 4);
  EXPECT_EQ(stored.reason, Reason::kBusy);
  EXPECT_EQ(cache->stats().declined, 4);
  EXPECT_FALSE(gate->is_open());
  gate->open();
  EXPECT_EQ(written(1, 8), 4);
  EXPECT_EQ(cache->stats().ingest_queued_bytes, 0);
}

TEST_F(IngestModesTest, PendingBlockIsFound) {
  for (const Ingest ingest : {Ingest::kAll, Ingest::kEvicted}) {
    start(ingest);
    const auto gate = block_writer();
    for (std::uint64_t c = 1; c < 5; ++c) put(c);
    use(1);
    EXPECT_EQ(hooks->read_calls, 0);
    EXPECT_FALSE(gate->is_open());
    gate->open();
    cache->flush(Deadline::never()).value();
  }
}

}  // namespace
}  // namespace reprise
