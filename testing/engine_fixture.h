// What the engine's tests share: an engine over a store with hooks, blocks put and looked at. For tests only; one
// thread.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

#include "base/kernels.h"
#include "engine/engine.h"
#include "testing/chains.h"
#include "testing/hook_store.h"

namespace reprise {

using namespace std::chrono_literals;
using testing::Buffers;
using testing::Gate;
using testing::HookStore;
using testing::is_payload;
using testing::make_keys;
using testing::make_namespace;
using testing::Payloads;

class EngineTest : public ::testing::Test {
 protected:
  static constexpr std::uint32_t kBlock = 4096;

  EngineTest() {
    options.l1_capacity = 64 * kBlock;
    options.l1_policy = "lru";
    options.l1_populate = false;
    options.l2_url = "hook:";
    options.l2_queue_bytes = 64 * kBlock;
    options.l2_timeout = 30s;
    options.l2_eject_for = std::chrono::hours(1);
  }
  void start(const Clock& with = steady()) {
    ASSERT_TRUE(check_options(options).has_value());
    std::unique_ptr<Store> store;
    if (!options.l2_url.empty()) store = std::make_unique<HookStore>(hooks);
    auto made =
        Engine::create(options, *PolicyRegistry::with_builtins().make(options.l1_policy, {}), std::move(store), with);
    ASSERT_TRUE(made.has_value());
    engine = std::move(*made);
    engine->set_close_grace(50ms);
  }
  static const Clock& steady() {
    static constinit const SteadyClock clock;
    return clock;
  }
  Stored put(std::span<const BlockKey> keys, MatchRule rule = {}, std::size_t from = 0) {
    const Payloads payloads(ns, keys.subspan(from));
    auto stored = engine->put(Chain(ns, keys, rule), from, payloads.views);
    EXPECT_TRUE(stored.has_value());
    return *stored;
  }
  void store(std::span<const BlockKey> keys) {
    const Payloads payloads(ns, keys);
    std::vector<WriteOp> ops;
    for (std::size_t i = 0; i < keys.size(); ++i) {
      ops.push_back({{ns.id(), keys[i]}, payloads.views[i], checksum(payloads.views[i]), Reason::kNone});
    }
    hooks->mock.write(ops, Deadline::never());
  }
  /// The copy no longer agrees with its checksum.
  void store_corrupt(const BlockKey& key) {
    const Payloads payloads(ns, std::span(&key, 1));
    WriteOp op{{ns.id(), key}, payloads.views[0], checksum(payloads.views[0]) ^ 1, Reason::kNone};
    hooks->mock.write(std::span(&op, 1), Deadline::never());
  }
  Match acquire(std::span<const BlockKey> keys, Deadline deadline = Deadline::never(), MatchRule rule = {}) {
    const Chain chain(ns, keys, rule);
    auto acquired = engine->acquire(chain, deadline);
    EXPECT_TRUE(acquired.has_value());
    const NeededBlocks needed = needed_blocks(rule, acquired->match.blocks);
    EXPECT_EQ(acquired->lease.size(), needed.last - needed.first);
    for (std::size_t i = needed.first; i < needed.last; ++i) {
      EXPECT_TRUE(is_payload(ns, keys[i], acquired->lease.block(i - needed.first))) << "block " << i;
    }
    return acquired->match;
  }
  void await_running(std::uint64_t n) {
    while (engine->stats().abandoned_running != n) std::this_thread::sleep_for(1ms);
  }
  [[nodiscard]] std::uint64_t reasons(Reason reason) const {
    return engine->stats().reasons[static_cast<std::size_t>(reason)];
  }

  const Namespace ns = make_namespace(kBlock);
  CacheOptions options;
  std::shared_ptr<HookStore::Hooks> hooks = std::make_shared<HookStore::Hooks>();
  std::unique_ptr<Engine> engine;
};

}  // namespace reprise
