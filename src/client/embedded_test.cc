#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "reprise/cache.h"
#include "testing/chains.h"
#include "testing/hook_store.h"

namespace reprise {
namespace {

using testing::Buffers;
using ::testing::HasSubstr;
using testing::HookStore;
using testing::is_payload;
using testing::make_keys;
using testing::make_namespace;
using testing::Payloads;

std::unique_ptr<Cache> open_cache(CacheOptions options) {
  options.l1_populate = false;
  auto cache = open("embedded:", options);
  EXPECT_TRUE(cache.has_value()) << cache.error().message;
  return std::move(*cache);
}

std::size_t put_all(Cache& cache, const Namespace& ns, const std::vector<BlockKey>& keys, std::size_t from = 0) {
  const Payloads payloads(ns, std::span(keys).subspan(from));
  const auto stored = cache.put(Chain(ns, keys), from, payloads.views);
  EXPECT_TRUE(stored.has_value());
  return stored->accepted;
}

void expect_bytes(const Namespace& ns, const std::vector<BlockKey>& keys, const Lease& lease) {
  for (std::size_t i = 0; i < lease.size(); ++i) ASSERT_TRUE(is_payload(ns, keys[i], lease.block(i))) << "block " << i;
}

TEST(EmbeddedTest, FindsWhatWasPut) {
  CacheOptions options;
  options.l1_capacity = 1 << 20;
  const auto cache = open_cache(options);
  const Namespace ns = make_namespace(4096);
  const auto keys = make_keys(1, 40);
  EXPECT_EQ(put_all(*cache, ns, keys), 40);
  auto acquired = cache->acquire(Chain(ns, keys));
  ASSERT_TRUE(acquired.has_value());
  EXPECT_EQ(acquired->match.blocks, 40);
  EXPECT_EQ(acquired->match.reason, Reason::kNone);
  expect_bytes(ns, keys, acquired->lease);
  EXPECT_TRUE(acquired->lease.still_valid());
  EXPECT_EQ(cache->stats().leases, 1);
  acquired->lease.release();
  EXPECT_EQ(cache->stats().leases, 0);
}

TEST(EmbeddedTest, HoldsExactlyItsCapacity) {
  for (const std::string policy : {"lru", "fifo", "s3fifo", "adaptive"}) {
    CacheOptions options;
    options.l1_capacity = 1000 * 4096;
    options.l1_policy = policy;
    const auto cache = open_cache(options);
    const Namespace ns = make_namespace(4096);
    for (std::uint64_t c = 0; c < 100; ++c) put_all(*cache, ns, make_keys(c, 25));
    EXPECT_EQ(cache->stats().l1.blocks, 1000) << policy;
  }
}

TEST(EmbeddedTest, ComesBackFromDiskLikeStore) {
  for (const Ingest ingest : {Ingest::kAll, Ingest::kEvicted}) {
    CacheOptions options;
    options.l1_capacity = 100 * 4096;
    options.l1_policy = "lru";
    options.l2_url = "mock:";
    options.l2_ingest = ingest;
    const auto cache = open_cache(options);
    const Namespace ns = make_namespace(4096);
    for (std::uint64_t c = 0; c < 10; ++c) put_all(*cache, ns, make_keys(c, 50));
    ASSERT_TRUE(cache->flush(Deadline::after(std::chrono::seconds(10))).value());
    for (std::uint64_t c = 0; c < 10; ++c) {
      const auto keys = make_keys(c, 50);
      auto acquired = cache->acquire(Chain(ns, keys));
      ASSERT_TRUE(acquired.has_value());
      EXPECT_EQ(acquired->match.blocks, 50) << c << " " << to_string(acquired->match.reason);
      expect_bytes(ns, keys, acquired->lease);
    }
  }
}

// ---- Opening. ----

TEST(OpenTest, BadOptionsNameOptionAndLimitAndMakeNothing) {
  struct Case {
    const char* option;
    const char* limit;
    void (*spoil)(CacheOptions&);
  };
  using namespace std::chrono_literals;
  const std::vector<Case> cases = {
      {"l1.capacity", "MiB", [](CacheOptions& o) { o.l1_capacity = 1ULL << 46; }},
      {"l1.capacity", "MiB", [](CacheOptions& o) { o.l1_capacity = ~0ULL; }},
      {"l1.capacity", "set one", [](CacheOptions& o) { o.l1_capacity = 0, o.l2_url = ""; }},
      {"lease.ttl", "range", [](CacheOptions& o) { o.lease_ttl = 0ms; }},
      {"lease.ttl", "range", [](CacheOptions& o) { o.lease_ttl = std::chrono::milliseconds::max(); }},
      {"l2.queue-bytes", "0", [](CacheOptions& o) { o.l2_queue_bytes = 0; }},
      {"l2.queue-bytes", "MiB", [](CacheOptions& o) { o.l2_queue_bytes = ~0ULL; }},
      {"l2.threads", "1 to 256", [](CacheOptions& o) { o.l2_threads = 0; }},
      {"l2.threads", "1 to 256", [](CacheOptions& o) { o.l2_threads = 257; }},
      {"l2.max-abandoned", "1 to 1024", [](CacheOptions& o) { o.l2_max_abandoned = 1'000'000; }},
      {"l2.timeout", "range", [](CacheOptions& o) { o.l2_timeout = 0ms; }},
      {"l2.timeout", "range", [](CacheOptions& o) { o.l2_timeout = std::chrono::milliseconds::max(); }},
      {"l2.eject-for", "range", [](CacheOptions& o) { o.l2_eject_for = -1ms; }},
  };
  int made = 0;
  PolicyRegistry policies = PolicyRegistry::with_builtins();
  ASSERT_TRUE(policies.add("counting", [&made](const PolicyConfig& config) {
    ++made;
    return std::move(*PolicyRegistry::with_builtins().make("lru", config));
  }));
  StoreRegistry stores = StoreRegistry::with_builtins();
  ASSERT_TRUE(stores.add("counting", [&made](std::string_view) {
    ++made;
    return std::make_unique<HookStore>(std::make_shared<HookStore::Hooks>());
  }));
  for (const Case& c : cases) {
    CacheOptions options;
    options.l1_policy = "counting";
    options.l2_url = "counting:";
    c.spoil(options);
    const auto opened = open("embedded:", options, {&policies, &stores});
    ASSERT_FALSE(opened.has_value()) << c.option;
    EXPECT_EQ(opened.error().code, ErrorCode::kConfig) << c.option;
    EXPECT_THAT(opened.error().message, HasSubstr(c.option));
    EXPECT_THAT(opened.error().message, HasSubstr(c.limit));
    EXPECT_EQ(made, 0) << c.option;
  }
}

TEST(OpenTest, UnknownNamesListWhatThereIs) {
  CacheOptions options;
  options.l1_policy = "magic";
  auto opened = open("embedded:", options);
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code, ErrorCode::kConfig);
  for (const char* name : {"l1.policy", "magic", "lru", "fifo", "s3fifo", "adaptive"}) {
    EXPECT_THAT(opened.error().message, HasSubstr(name));
  }
  options.l1_policy = "lru";
  options.l2_url = "tape:";
  opened = open("embedded:", options);
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code, ErrorCode::kConfig);
  for (const char* name : {"l2.url", "tape:", "mock:"}) EXPECT_THAT(opened.error().message, HasSubstr(name));
  for (const char* url : {"carrier-pigeon://coop", "embedded:/tmp", "embedded"}) {
    const auto wrong = open(url);
    ASSERT_FALSE(wrong.has_value()) << url;
    EXPECT_EQ(wrong.error().code, ErrorCode::kConfig);
    EXPECT_THAT(wrong.error().message, HasSubstr("embedded:"));
  }
}

TEST(OpenTest, FactoriesThatThrowOrReturnNothingAreErrors) {
  CacheOptions options;
  options.l1_capacity = 1 << 20;
  StoreRegistry stores;
  ASSERT_TRUE(stores.add("throws", [](std::string_view) -> Result<std::unique_ptr<Store>> {
    throw std::runtime_error("no such device");
  }));
  ASSERT_TRUE(stores.add("null", [](std::string_view) { return std::unique_ptr<Store>(); }));
  options.l2_url = "throws:";
  auto opened = open("embedded:", options, {nullptr, &stores});
  ASSERT_FALSE(opened.has_value());
  EXPECT_THAT(opened.error().message, HasSubstr("no such device"));
  options.l2_url = "null:";
  EXPECT_FALSE(open("embedded:", options, {nullptr, &stores}).has_value());
}

TEST(OpenTest, CustomPolicyAndCustomStoreServe) {
  int made = 0;
  PolicyRegistry policies;
  ASSERT_TRUE(policies.add("mine", [&made](const PolicyConfig& config) {
    ++made;
    return std::move(*PolicyRegistry::with_builtins().make("fifo", config));
  }));
  const auto hooks = std::make_shared<HookStore::Hooks>();
  StoreRegistry stores;
  ASSERT_TRUE(stores.add("mine", [hooks](std::string_view) { return std::make_unique<HookStore>(hooks); }));
  CacheOptions options;
  options.l1_capacity = 8 * 4096;
  options.l1_policy = "mine";
  options.l1_populate = false;
  options.l2_url = "mine:anywhere";
  auto opened = open("embedded:", options, {&policies, &stores});
  ASSERT_TRUE(opened.has_value());
  EXPECT_EQ(made, 1);
  const Namespace ns = make_namespace(4096);
  for (std::uint64_t c = 0; c < 4; ++c) put_all(**opened, ns, make_keys(c, 8));
  ASSERT_TRUE((*opened)->flush(Deadline::never()).value());
  for (std::uint64_t c = 0; c < 4; ++c) {
    const auto keys = make_keys(c, 8);
    const auto acquired = (*opened)->acquire(Chain(ns, keys));
    EXPECT_EQ(acquired->match.blocks, 8);
    expect_bytes(ns, keys, acquired->lease);
  }
  EXPECT_GT(hooks->read_calls, 0);
  EXPECT_EQ((*opened)->stats().l2.blocks, 32);
}

// ---- Arguments. ----

TEST(EmbeddedTest, ArgumentsThatContradictTheContract) {
  CacheOptions options;
  options.l1_capacity = 1 << 20;
  const auto cache = open_cache(options);
  const Namespace ns = make_namespace(4096);
  const auto keys = make_keys(1, 4);
  const Chain chain(ns, keys);
  const auto invalid = [](const auto& result) {
    return !result.has_value() && result.error().code == ErrorCode::kInvalid && !result.error().message.empty();
  };
  const Payloads payloads(ns, std::span(keys).first(3));
  Buffers out(ns, 3);
  EXPECT_TRUE(invalid(cache->put(chain, 2, payloads.views))) << "beyond the chain";
  EXPECT_TRUE(invalid(cache->get(chain, 2, out.views)));
  const std::vector<Chain> two = {chain, chain};
  EXPECT_TRUE(invalid(cache->put(two, 0, payloads.views, Deadline::never()))) << "three blocks for two chains";
  EXPECT_TRUE(invalid(cache->get(two, 0, out.views, Deadline::never())));
  std::vector<std::byte> small(4095);
  const Bytes small_view(small);
  const MutableBytes small_buffer(small);
  EXPECT_TRUE(invalid(cache->put(chain, 0, std::span(&small_view, 1))));
  EXPECT_TRUE(invalid(cache->get(chain, 0, std::span(&small_buffer, 1))));
  EXPECT_TRUE(invalid(cache->match(Chain())));
  EXPECT_TRUE(invalid(cache->match(std::span<const Chain>(), Deadline::never())));
  EXPECT_TRUE(invalid(cache->acquire(Chain(ns, keys, MatchRule::last(0)))));
  EXPECT_TRUE(invalid(cache->reserve(chain, 5, Deadline::never())));
  EXPECT_EQ(cache->stats().l1.blocks, 0) << "a call that failed stored nothing";
  // Nothing asked is nothing wrong.
  EXPECT_EQ(cache->get(chain, 4, {})->blocks, 0);
  EXPECT_EQ(cache->put(chain, 4, {})->accepted, 0);
  EXPECT_EQ(cache->acquire(Chain(ns, {}))->match.reason, Reason::kNone);
}

TEST(EmbeddedTest, GetCountsFromItsFirstBlock) {
  CacheOptions options;
  options.l1_capacity = 1 << 20;
  const auto cache = open_cache(options);
  const Namespace ns = make_namespace(4096);
  const auto keys = make_keys(1, 10);
  put_all(*cache, ns, std::vector(keys.begin(), keys.begin() + 7));
  Buffers out(ns, 6);
  const auto match = cache->get(Chain(ns, keys), 4, out.views);
  EXPECT_EQ(match->blocks, 3);
  EXPECT_EQ(match->reason, Reason::kMiss);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_TRUE(is_payload(ns, keys[4 + i], out.bytes[i]));
  for (std::size_t i = 3; i < 6; ++i) EXPECT_TRUE(out.untouched(i));
}

// ---- Writing. ----

TEST(EmbeddedTest, DeclinedBlocksAreNamed) {
  CacheOptions options;
  options.l1_capacity = 4 * 4096;
  options.l1_policy = "lru";
  const auto cache = open_cache(options);
  const Namespace ns = make_namespace(4096);
  const auto keys = make_keys(1, 6);
  const Payloads payloads(ns, keys);
  const auto stored = cache->put(Chain(ns, keys), 0, payloads.views);
  EXPECT_EQ(stored->accepted, 4);
  EXPECT_EQ(stored->declined, 2);
  EXPECT_EQ(stored->declined_blocks, (std::vector<bool>{false, false, false, false, true, true}));
  EXPECT_NE(stored->reason, Reason::kNone);
  EXPECT_EQ(cache->stats().declined, 2);
  EXPECT_EQ(cache->match(Chain(ns, keys))->blocks, 4);
  // Without its root a chain is of no use: not kept.
  const auto rootless = make_keys(2, 3);
  const Payloads tail(ns, std::span(rootless).subspan(1));
  const auto hole = cache->put(Chain(ns, rootless), 1, tail.views);
  EXPECT_EQ(hole->declined, 2);
  EXPECT_EQ(hole->reason, Reason::kHole);
}

TEST(EmbeddedTest, ReservedBlocksAppearWhenCommitted) {
  CacheOptions options;
  options.l1_capacity = 1 << 20;
  const auto cache = open_cache(options);
  const Namespace ns = make_namespace(4096);
  const auto keys = make_keys(1, 6);
  put_all(*cache, ns, std::vector(keys.begin(), keys.begin() + 2));
  auto reserved = cache->reserve(Chain(ns, keys), 0, Deadline::never());
  ASSERT_TRUE(reserved.has_value());
  ASSERT_EQ(reserved->size(), 6);
  EXPECT_TRUE(reserved->block(0).empty()) << "present";
  for (std::size_t i = 2; i < 6; ++i) {
    ASSERT_EQ(reserved->block(i).size(), 4096);
    std::memcpy(reserved->block(i).data(), testing::payload(ns, keys[i]).data(), 4096);
  }
  EXPECT_EQ(cache->match(Chain(ns, keys))->blocks, 2) << "not before the commit";
  EXPECT_EQ(reserved->commit(5), 5);
  EXPECT_EQ(reserved->size(), 0);
  EXPECT_EQ(reserved->commit(6), 0) << "a reservation ends once";
  auto acquired = cache->acquire(Chain(ns, keys));
  EXPECT_EQ(acquired->match.blocks, 5);
  expect_bytes(ns, keys, acquired->lease);
  // What was given up may be put again.
  {
    auto dropped = cache->reserve(Chain(ns, make_keys(2, 6)), 0, Deadline::never());
  }
  EXPECT_EQ(put_all(*cache, ns, make_keys(2, 6)), 6);
}

// ---- Leases. ----

TEST(EmbeddedTest, LeasesOutliveTheirCache) {
  for (const char* l2 : {"", "mock:"}) {
    CacheOptions options;
    options.l1_capacity = 1 << 20;
    options.l2_url = l2;
    auto cache = open_cache(options);
    const Namespace ns = make_namespace(4096);
    const auto keys = make_keys(1, 5);
    put_all(*cache, ns, keys);
    auto acquired = cache->acquire(Chain(ns, keys));
    const auto token = acquired->lease.token();
    auto attached = cache->attach(*token);
    cache.reset();
    expect_bytes(ns, keys, acquired->lease);
    EXPECT_TRUE(acquired->lease.still_valid());
    acquired->lease.release();
    ASSERT_TRUE(attached.has_value());
    expect_bytes(ns, keys, *attached);
  }
}

TEST(EmbeddedTest, ShortLeasesRunOut) {
  CacheOptions options;
  options.l1_capacity = 8 * 4096;
  options.l1_policy = "lru";
  options.lease_ttl = std::chrono::milliseconds(1);
  const auto cache = open_cache(options);
  const Namespace ns = make_namespace(4096);
  const auto keys = make_keys(1, 8);
  put_all(*cache, ns, keys);
  auto acquired = cache->acquire(Chain(ns, keys));
  while (acquired->lease.still_valid()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(put_all(*cache, ns, make_keys(2, 8)), 8) << "its blocks may go";
  EXPECT_EQ(cache->stats().leases_expired, 1);
}

TEST(EmbeddedTest, TokensJoinLeases) {
  CacheOptions options;
  options.l1_capacity = 4 * 4096;
  options.l1_policy = "lru";
  const auto cache = open_cache(options);
  const Namespace ns = make_namespace(4096);
  const auto keys = make_keys(1, 4);
  put_all(*cache, ns, keys);
  auto acquired = cache->acquire(Chain(ns, keys));
  const auto token = acquired->lease.token();
  auto attached = cache->attach(*token);
  ASSERT_TRUE(attached.has_value());
  acquired->lease.release();
  EXPECT_EQ(put_all(*cache, ns, make_keys(2, 4)), 0) << "the second holder holds";
  expect_bytes(ns, keys, *attached);
  attached->release();
  EXPECT_EQ(put_all(*cache, ns, make_keys(2, 4)), 4);
  EXPECT_EQ(cache->attach(*token).error().code, ErrorCode::kDenied);
  EXPECT_EQ(cache->attach(LeaseToken::from_words(1, 2)).error().code, ErrorCode::kDenied);
  EXPECT_FALSE(Lease().token().has_value());
}

TEST(EmbeddedTest, EraseForgets) {
  CacheOptions options;
  options.l1_capacity = 1 << 20;
  const auto cache = open_cache(options);
  const Namespace ns = make_namespace(4096);
  const auto keys = make_keys(1, 5);
  put_all(*cache, ns, keys);
  auto acquired = cache->acquire(Chain(ns, keys));
  EXPECT_EQ(cache->erase(Chain(ns, keys)).value(), 5);
  EXPECT_EQ(cache->match(Chain(ns, keys))->blocks, 0);
  expect_bytes(ns, keys, acquired->lease);
  EXPECT_EQ(put_all(*cache, ns, keys), 5) << "beside the leased ones";
  EXPECT_EQ(cache->erase(Chain(ns, make_keys(9, 5))).value(), 0);
}

// ---- Several chains. ----

TEST(EmbeddedTest, SeveralChainsOfOtherSizesAndRules) {
  for (const char* l2 : {"", "mock:"}) {
    CacheOptions options;
    options.l1_capacity = 1 << 20;
    options.l2_url = l2;
    const auto cache = open_cache(options);
    const Namespace full = make_namespace(4096);
    const Namespace window = make_namespace(1024, "window");
    const Namespace state = make_namespace(16384, "state");
    const auto keys = make_keys(1, 12);
    const std::vector<BlockKey> first9(keys.begin(), keys.begin() + 9);
    put_all(*cache, full, first9);
    const Payloads tail(window, std::span(keys).subspan(5));
    EXPECT_EQ(cache->put(Chain(window, keys, MatchRule::last(3)), 5, tail.views)->accepted, 7);
    const Payloads snapshot(state, std::span(&keys[7], 1));
    EXPECT_EQ(cache->put(Chain(state, keys, MatchRule::exact(7)), 7, snapshot.views)->accepted, 1);

    const std::vector<Chain> two = {Chain(full, keys), Chain(window, keys, MatchRule::last(3))};
    EXPECT_EQ(cache->match(two, Deadline::never())->blocks, 9);
    const std::vector<Chain> three = {two[0], two[1], Chain(state, keys, MatchRule::exact(7))};
    auto acquired = cache->acquire(three, Deadline::never());
    EXPECT_EQ(acquired->match.blocks, 8);
    EXPECT_EQ(acquired->match.reason, Reason::kNone) << "the snapshot allows no more";
    ASSERT_EQ(acquired->lease.size(), 8 + 3 + 1);
    for (std::size_t i = 0; i < 8; ++i) EXPECT_TRUE(is_payload(full, keys[i], acquired->lease.block(i)));
    for (std::size_t i = 0; i < 3; ++i) EXPECT_TRUE(is_payload(window, keys[5 + i], acquired->lease.block(8 + i)));
    EXPECT_TRUE(is_payload(state, keys[7], acquired->lease.block(11)));
  }
}

TEST(EmbeddedTest, NamespacesDoNotMeet) {
  CacheOptions options;
  options.l1_capacity = 1 << 20;
  options.l2_url = "mock:";
  const auto cache = open_cache(options);
  const Namespace mine = make_namespace(4096, "mine");
  const Namespace yours = make_namespace(4096, "yours");
  const auto keys = make_keys(1, 3);
  put_all(*cache, mine, keys);
  ASSERT_TRUE(cache->flush(Deadline::never()).value());
  EXPECT_EQ(cache->acquire(Chain(yours, keys))->match.blocks, 0);
}

}  // namespace
}  // namespace reprise
