// A daemon's cache as L2: the contract of all stores over both transports, against a real server in this process, and
// what engines with such an L2 share with each other and with clients that attach.
#include "client/cache_store.h"

#include <sys/stat.h>

#include <fstream>
#include <map>
#include <mutex>

#include "client/open_attached.h"
#include "testing/hook_store.h"
#include "testing/server_fixture.h"
#include "testing/store_contract.h"

namespace reprise {
namespace {

using server_test::Daemon;
using testing::make_keys;
using testing::make_namespace;
using testing::Payloads;
using testing::StoreContract;
using testing::StoreForm;

/// The contract names blocks by any digest, and blocks of a digest that differ in length: here each digest stands for a
/// namespace of the length that was written first, and is introduced as engines do.
class Introduced final : public Store {
 public:
  using Names = std::map<NamespaceId, Namespace>;
  Introduced(std::unique_ptr<Store> inner, Names& names) : inner_(std::move(inner)), names_(names) {
    for (const auto& [id, ns] : names_) inner_->introduce(ns);
  }
  const StoreInfo& info() const override { return inner_->info(); }
  Result<void> contains(std::span<const BlockId> ids, std::span<bool> present, Deadline deadline) override {
    return inner_->contains(ids_of(ids), present, deadline);
  }
  void read(std::span<ReadOp> ops, Deadline deadline) override {
    for (ReadOp& op : ops) op.id = id_of(op.id, 0);
    inner_->read(ops, deadline);
  }
  void write(std::span<WriteOp> ops, Deadline deadline) override {
    for (WriteOp& op : ops) op.id = id_of(op.id, op.payload.size());
    inner_->write(ops, deadline);
  }
  Result<std::size_t> erase(std::span<const BlockId> ids, Deadline deadline) override {
    return inner_->erase(ids_of(ids), deadline);
  }
  Result<void> flush(Deadline deadline) override { return inner_->flush(deadline); }
  TierStats stats() const override { return inner_->stats(); }

 private:
  BlockId id_of(const BlockId& id, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    auto found = names_.find(id.ns);
    if (found == names_.end()) {
      if (bytes == 0) return id;
      found = names_.emplace(id.ns, make_namespace(bytes, std::to_string(id.ns.word(0)))).first;
      inner_->introduce(found->second);
    }
    return {found->second.id(), id.key};
  }
  std::vector<BlockId> ids_of(std::span<const BlockId> ids) {
    std::vector<BlockId> out;
    for (const BlockId& id : ids) out.push_back(id_of(id, 0));
    return out;
  }

  const std::unique_ptr<Store> inner_;
  std::mutex mutex_;
  Names& names_;  // guarded by mutex_
};

/// A daemon that outlives the stores that are opened over it.
struct DaemonHome {
  Daemon daemon;
  Introduced::Names names;

  DaemonHome() {
    daemon.cache.l1_capacity = 32 * server_test::kMiB;
    daemon.start();
  }
  std::unique_ptr<Store> open(const std::string& scheme) {
    const std::string url = scheme == "unix" ? "unix://" + daemon.options.listen_unix
                                             : "tcp://127.0.0.1:" + std::to_string(daemon.server->tcp_port());
    CacheOptions options;
    options.l1_populate = false;
    auto store = open_cache_store(url, options);
    EXPECT_TRUE(store) << store.error().message;
    return store ? std::make_unique<Introduced>(std::move(*store), names) : nullptr;
  }
};

StoreForm form(const std::string& name, const std::string& scheme) {
  return {name, [scheme](std::shared_ptr<void>& home) -> std::unique_ptr<Store> {
            if (home == nullptr) home = std::make_shared<DaemonHome>();
            return static_cast<DaemonHome*>(home.get())->open(scheme);
          }};
}
INSTANTIATE_TEST_SUITE_P(Daemon, StoreContract, ::testing::Values(form("Unix", "unix"), form("Tcp", "tcp")),
                         testing::store_form_name);

constexpr std::uint64_t kBlock = 4096;
constexpr const char* kTwoTenants = R"(
[[tenant]]
name = "one"
capacity = "1MiB"
tokens = ["a1:0123456789abcdef0123"]

[[tenant]]
name = "two"
capacity = "1MiB"
tokens = ["b1:0123456789abcdef4567"]
)";

Deadline soon() {
  return Deadline::after(std::chrono::seconds(60));
}

class DaemonL2Test : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { start_daemon(); }
  void start_daemon() {
    daemon_.start();
    daemon_.options.listen_tcp = "127.0.0.1:" + std::to_string(daemon_.server->tcp_port());
  }
  [[nodiscard]] std::string url() const {
    return GetParam() == "unix" ? "unix://" + daemon_.options.listen_unix : "tcp://" + daemon_.options.listen_tcp;
  }
  [[nodiscard]] CacheOptions options(Ingest ingest = Ingest::kAll) const {
    CacheOptions options;
    options.l1_capacity = 8 * kBlock;
    options.l1_policy = "lru";
    options.l1_populate = false;
    options.l2_url = url();
    options.l2_ingest = ingest;
    options.l2_timeout = std::chrono::seconds(30);
    options.attach_timeout = std::chrono::seconds(20);
    return options;
  }
  std::unique_ptr<Cache> embedded(const CacheOptions& options) {
    auto cache = open("embedded:", options);
    EXPECT_TRUE(cache) << cache.error().message;
    return cache ? std::move(*cache) : nullptr;
  }
  std::unique_ptr<Cache> embedded() { return embedded(options()); }
  std::unique_ptr<Cache> attached() {
    auto cache = open(url(), options());
    EXPECT_TRUE(cache) << cache.error().message;
    return cache ? std::move(*cache) : nullptr;
  }
  static Stored put(Cache& cache, const Namespace& ns, std::span<const BlockKey> keys) {
    const Payloads payloads(ns, keys);
    const auto stored = cache.put(Chain(ns, keys), 0, payloads.views, soon());
    EXPECT_TRUE(stored) << stored.error().message;
    return stored.value_or(Stored{});
  }
  static Match use(Cache& cache, const Namespace& ns, std::span<const BlockKey> keys, MatchRule rule = {}) {
    const auto acquired = cache.acquire(Chain(ns, keys, rule), soon());
    EXPECT_TRUE(acquired) << acquired.error().message;
    const NeededBlocks needed = needed_blocks(rule, acquired->match.blocks);
    EXPECT_EQ(acquired->lease.size(), needed.last - needed.first);
    for (std::size_t i = needed.first; i < needed.last; ++i) {
      EXPECT_TRUE(testing::is_payload(ns, keys[i], acquired->lease.block(i - needed.first))) << i;
    }
    return acquired->match;
  }

  Daemon daemon_;
  const Namespace ns_ = make_namespace(kBlock);
};
INSTANTIATE_TEST_SUITE_P(Over, DaemonL2Test, ::testing::Values("unix", "tcp"),
                         [](const auto& param) { return param.param; });

TEST_P(DaemonL2Test, AnotherEngineAndAnAttachedClientFindWhatOnePut) {
  const auto one = embedded();
  const auto keys = make_keys(1, 40);
  EXPECT_EQ(put(*one, ns_, keys).declined, 0u);
  EXPECT_TRUE(one->flush(soon()).value());
  EXPECT_EQ(use(*embedded(), ns_, std::span(keys).first(8)).from_l2, 8u);
  EXPECT_EQ(use(*attached(), ns_, keys).blocks, 40u);
  EXPECT_EQ(use(*one, ns_, keys).blocks, 40u) << "more than its own memory holds";
  const TierStats l2 = one->stats().l2;
  EXPECT_EQ(l2.name, GetParam());
  EXPECT_EQ(l2.writes, 40u);
  EXPECT_EQ(l2.write_bytes, 40 * kBlock);
  EXPECT_GE(l2.hits, 32u);
  EXPECT_EQ(l2.read_bytes, l2.hits * kBlock);
  EXPECT_EQ(l2.blocks, 40u);
  EXPECT_EQ(l2.capacity_bytes, daemon_.cache.l1_capacity);
  EXPECT_EQ(l2.errors + l2.corrupt + l2.foreign, 0u);
}

TEST_P(DaemonL2Test, AnEngineFindsWhatAnAttachedClientPut) {
  const auto keys = make_keys(2, 30);
  EXPECT_EQ(put(*attached(), ns_, keys).accepted, 30u);
  const auto cache = embedded();
  EXPECT_EQ(cache->match(Chain(ns_, keys), soon())->from_l2, 30u);
  EXPECT_EQ(use(*cache, ns_, std::span(keys).first(8)).from_l2, 8u);
  const auto longer = make_keys(2, 31);
  EXPECT_EQ(cache->prefetch(Chain(ns_, longer), soon())->blocks, 30u - 22u) << "as much as its memory takes";
}

TEST_P(DaemonL2Test, HolesAreNoEnd) {
  const auto keys = make_keys(3, 12);
  const auto other = attached();
  for (const std::size_t i : {2u, 3u, 6u, 7u, 11u}) put(*other, ns_, std::span(keys).subspan(i, 1));
  const auto store = open_cache_store(url(), options());
  ASSERT_TRUE(store) << store.error().message;
  (*store)->introduce(ns_);
  std::vector<BlockId> ids;
  for (const BlockKey& key : keys) ids.push_back({ns_.id(), key});
  const auto present = std::make_unique<bool[]>(12);
  ASSERT_TRUE((*store)->contains(ids, {present.get(), 12}, soon()));
  testing::Buffers buffers(ns_, 12);
  std::vector<ReadOp> reads;
  for (std::size_t i = 0; i < 12; ++i) reads.push_back({ids[i], buffers.views[i]});
  (*store)->read(reads, soon());
  for (std::size_t i = 0; i < 12; ++i) {
    const bool there = i == 2 || i == 3 || i == 6 || i == 7 || i == 11;
    EXPECT_EQ(present[i], there) << i;
    EXPECT_EQ(reads[i].result, there ? Reason::kNone : Reason::kMiss) << i;
    if (there) {
      EXPECT_TRUE(testing::is_payload(ns_, keys[i], buffers.bytes[i])) << i;
      EXPECT_EQ(reads[i].checksum, checksum(buffers.bytes[i])) << i;
    } else {
      EXPECT_TRUE(buffers.untouched(i)) << i;
    }
  }
  EXPECT_EQ(use(*embedded(), ns_, std::span(keys).first(8), MatchRule::last(2)).blocks, 8u);
}

TEST_P(DaemonL2Test, BlocksBehindTheDaemonsMemoryAreFoundToo) {
  daemon_.server.reset();
  daemon_.cache.l1_capacity = 4 * kBlock;
  daemon_.cache.l2_url = "mock:";
  daemon_.cache.l2_timeout = std::chrono::seconds(30);
  start_daemon();
  const auto keys = make_keys(4, 12);
  EXPECT_EQ(put(*attached(), ns_, keys).declined, 0u);
  EXPECT_TRUE(attached()->flush(soon()).value());
  const auto store = open_cache_store(url(), options());
  ASSERT_TRUE(store) << store.error().message;
  (*store)->introduce(ns_);
  testing::Buffers buffers(ns_, 13);
  std::vector<ReadOp> reads;
  const auto behind = make_keys(5, 1);
  for (std::size_t i = 0; i < 12; ++i) reads.push_back({{ns_.id(), keys[11 - i]}, buffers.views[i]});
  reads.insert(reads.begin() + 5, {{ns_.id(), behind[0]}, buffers.views[12]});
  (*store)->read(reads, soon());
  for (std::size_t i = 0; i < reads.size(); ++i) {
    EXPECT_EQ(reads[i].result, i == 5 ? Reason::kMiss : Reason::kNone) << i;
    if (i == 5) continue;
    EXPECT_TRUE(testing::is_payload(ns_, reads[i].id.key, reads[i].into)) << i;
  }
}

TEST_P(DaemonL2Test, HotSendsWhatIsUsedAgain) {
  const auto cache = embedded(options(Ingest::kHot));
  const auto once = make_keys(6, 3);
  const auto twice = make_keys(7, 3);
  put(*cache, ns_, once);
  put(*cache, ns_, twice);
  use(*cache, ns_, twice);
  use(*cache, ns_, twice);
  EXPECT_TRUE(cache->flush(soon()).value());
  EXPECT_EQ(use(*attached(), ns_, twice).blocks, 3u);
  EXPECT_EQ(use(*attached(), ns_, once).blocks, 0u);
}

TEST_P(DaemonL2Test, EvictedSendsWhatLeaves) {
  const auto cache = embedded(options(Ingest::kEvicted));
  const auto first = make_keys(8, 8);
  put(*cache, ns_, first);
  EXPECT_TRUE(cache->flush(soon()).value());
  EXPECT_EQ(use(*attached(), ns_, first).blocks, 0u);
  put(*cache, ns_, make_keys(9, 8));
  EXPECT_TRUE(cache->flush(soon()).value());
  EXPECT_EQ(use(*attached(), ns_, first).blocks, 8u);
}

TEST_P(DaemonL2Test, EraseReachesTheDaemon) {
  const auto cache = embedded();
  const auto keys = make_keys(10, 4);
  put(*cache, ns_, keys);
  EXPECT_TRUE(cache->flush(soon()).value());
  EXPECT_EQ(cache->erase(Chain(ns_, keys), soon()).value(), 8u) << "in both tiers";
  EXPECT_EQ(attached()->match(Chain(ns_, keys), soon())->blocks, 0u);
}

TEST_P(DaemonL2Test, SaltsKeepApart) {
  const auto cache = embedded();
  const Namespace other = make_namespace(kBlock, "another tenant");
  const auto keys = make_keys(11, 4);
  put(*cache, ns_, keys);
  EXPECT_TRUE(cache->flush(soon()).value());
  EXPECT_EQ(use(*embedded(), other, keys).blocks, 0u);
  EXPECT_EQ(use(*attached(), other, keys).blocks, 0u);
}

TEST_P(DaemonL2Test, ATenantsSaltKeepsTenantsApart) {
  daemon_.server.reset();
  daemon_.options.auth_file = daemon_.dir.path() + "/auth.toml";
  const auto write = [&](const std::string& name, const std::string& text) {
    const std::string path = daemon_.dir.path() + "/" + name;
    std::ofstream(path) << text;
    ::chmod(path.c_str(), 0600);
    return path;
  };
  write("auth.toml", kTwoTenants);
  start_daemon();
  CacheOptions one = options();
  one.attach_token_file = write("one", "a1:0123456789abcdef0123");
  CacheOptions two = options();
  two.attach_token_file = write("two", "b1:0123456789abcdef4567");
  const auto keys = make_keys(12, 4);
  const auto cache = embedded(one);
  put(*cache, ns_, keys);
  EXPECT_TRUE(cache->flush(soon()).value());
  EXPECT_EQ(use(*embedded(one), ns_, keys).from_l2, 4u);
  EXPECT_EQ(use(*embedded(two), ns_, keys).blocks, 0u);
  const auto direct = open(url(), one);
  ASSERT_TRUE(direct) << direct.error().message;
  EXPECT_EQ(use(**direct, ns_, keys).blocks, 4u);
  if (GetParam() == "unix") {  // where who has no token is let in, as the default tenant
    EXPECT_EQ(use(*embedded(), ns_, keys).blocks, 0u);
    return;
  }
  const auto refused = open("embedded:", options());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kDenied);
  EXPECT_THAT(refused.error().message, ::testing::HasSubstr("l2.url"));
}

TEST_P(DaemonL2Test, WhatCannotWorkIsSaidAtOnce) {
  CacheOptions bad = options();
  bad.attach_connections = 0;
  auto refused = open("embedded:", bad);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, ::testing::HasSubstr("attach.connections"));
  bad = options();
  bad.l2_url = GetParam() == "unix" ? "unix:relative" : "tcp://a:1,b:2";
  refused = open("embedded:", bad);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kConfig);
  EXPECT_THAT(refused.error().message, ::testing::HasSubstr("l2.url"));
}

TEST(DaemonL2, ASchemeOfTheCallersOwnComesFirst) {
  StoreRegistry stores = StoreRegistry::with_builtins();
  const auto hooks = std::make_shared<testing::HookStore::Hooks>();
  ASSERT_TRUE(stores.add("tcp", [&](std::string_view) { return std::make_unique<testing::HookStore>(hooks); }));
  CacheOptions options;
  options.l1_capacity = 8 * kBlock;
  options.l1_populate = false;
  options.l2_url = "tcp://nobody:1";
  const auto cache = open("embedded:", options, Extensions{.policies = nullptr, .stores = &stores});
  ASSERT_TRUE(cache) << cache.error().message;
  const Namespace ns = make_namespace(kBlock);
  const auto keys = make_keys(1, 2);
  const Payloads payloads(ns, keys);
  ASSERT_TRUE((*cache)->put(Chain(ns, keys), 0, payloads.views));
  EXPECT_TRUE((*cache)->flush(soon()).value());
  EXPECT_EQ(hooks->mock.stats().writes, 2u);
}

}  // namespace
}  // namespace reprise
