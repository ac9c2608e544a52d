#include "sim/replay.h"

#include <gmock/gmock.h>

#include "testing/faulty_policy.h"

namespace reprise::sim {
namespace {

Request request_of(std::vector<std::uint64_t> ids, std::uint32_t tokens, double at_ms = 0) {
  Request request;
  request.timestamp_ms = at_ms;
  request.input_length = tokens;
  request.hash_ids = std::move(ids);
  return request;
}

ReplayOptions lru(std::uint64_t capacity) {
  ReplayOptions options;
  options.policy = "lru";
  options.capacity_blocks = capacity;
  options.block_tokens = 100;
  return options;
}

TEST(Replay, CountsBlocksAndTokens) {
  const std::vector<Request> requests{request_of({1, 2, 3}, 250), request_of({1, 2, 4}, 300),
                                      request_of({1, 2, 3}, 250)};
  const auto result = replay(requests, lru(10), PolicyRegistry::with_builtins());
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->requests, 3U);
  EXPECT_EQ(result->blocks, 9U);
  EXPECT_EQ(result->hit_blocks, 5U);
  EXPECT_EQ(result->tokens, 800U);
  EXPECT_EQ(result->hit_tokens, 200U + 250U) << "the partial last block counts what it holds";
  EXPECT_EQ(result->inserted, 4U);
  EXPECT_EQ(result->resident, 4U);
  EXPECT_EQ(result->evictions + result->declined, 0U);
  EXPECT_EQ(result->hot_blocks, 3U);
  EXPECT_DOUBLE_EQ(result->hit_ratio(), 5.0 / 9);
}

TEST(Replay, AChainLongerThanTheCacheKeepsItsRoot) {
  const std::vector<Request> requests{request_of({1, 2, 3, 4}, 400), request_of({1, 2, 3, 4}, 400)};
  const auto result = replay(requests, lru(3), PolicyRegistry::with_builtins());
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->hit_blocks, 3U);
  EXPECT_EQ(result->declined, 2U);
  EXPECT_EQ(result->evictions, 0U);
  EXPECT_EQ(result->resident, 3U);
}

TEST(Replay, BlocksBehindAHoleDoNotCount) {
  // FIFO lets the root go although its successors stay: chain 1-2 is then present from block 2 on.
  ReplayOptions options = lru(3);
  options.policy = "fifo";
  const std::vector<Request> requests{request_of({1}, 100), request_of({1, 2}, 200), request_of({7, 8}, 200),
                                      request_of({1, 2}, 200)};
  const auto result = replay(requests, options, PolicyRegistry::with_builtins());
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->hit_blocks, 1U);
  EXPECT_EQ(result->inserted, 5U) << "block 2 was still there and is not inserted again";
}

TEST(Replay, NoCapacityKeepsNothing) {
  for (const std::string& name : PolicyRegistry::with_builtins().names()) {
    ReplayOptions options = lru(0);
    options.policy = name;
    const std::vector<Request> requests{request_of({1, 2}, 200), request_of({1, 2}, 200)};
    const auto result = replay(requests, options, PolicyRegistry::with_builtins());
    ASSERT_TRUE(result.has_value());
    EXPECT_EQ(result->hit_blocks, 0U);
    EXPECT_EQ(result->declined, 4U);
  }
}

TEST(Replay, RepeatedIdsAndEmptyPromptsAreHarmless) {
  for (const std::string& name : PolicyRegistry::with_builtins().names()) {
    ReplayOptions options = lru(2);
    options.policy = name;
    const std::vector<Request> requests{request_of({1, 1, 2, 1}, 400), request_of({}, 0), request_of({1, 1, 2, 1}, 400),
                                        request_of({3, 4, 5, 3}, 400)};
    EXPECT_TRUE(replay(requests, options, PolicyRegistry::with_builtins()).has_value()) << name;
  }
}

TEST(Replay, WindowsAddUpAndProgressArrives) {
  std::vector<Request> requests;
  for (std::uint64_t i = 0; i < 250; ++i) requests.push_back(request_of({i % 7, 100 + i}, 200, double(i)));
  ReplayOptions options = lru(100);
  options.windows = 4;
  std::vector<std::uint64_t> seen;
  options.progress = [&seen](std::uint64_t done, std::uint64_t total) {
    EXPECT_EQ(total, 250U);
    seen.push_back(done);
  };
  const auto result = replay(requests, options, PolicyRegistry::with_builtins());
  ASSERT_TRUE(result.has_value());
  ASSERT_EQ(result->windows.size(), 4U);
  ReplayWindow sum;
  for (const ReplayWindow& window : result->windows) {
    EXPECT_NEAR(double(window.requests), 62.5, 1);
    sum.requests += window.requests;
    sum.blocks += window.blocks;
    sum.hit_blocks += window.hit_blocks;
  }
  EXPECT_EQ(sum.requests, result->requests);
  EXPECT_EQ(sum.blocks, result->blocks);
  EXPECT_EQ(sum.hit_blocks, result->hit_blocks);
  EXPECT_DOUBLE_EQ(result->windows[1].start_ms, 63);
  EXPECT_TRUE(std::ranges::is_sorted(seen));
  EXPECT_EQ(seen.back(), 250U);
  EXPECT_EQ(std::ranges::count(seen, 250U), 1);
}

TEST(Replay, SaysWhatIsWrong) {
  const std::vector<Request> requests{request_of({1}, 100)};
  ReplayOptions options = lru(1);
  options.policy = "none";
  EXPECT_EQ(replay(requests, options, PolicyRegistry::with_builtins()).error().code, ErrorCode::kConfig);
  options = lru(1);
  options.block_tokens = 0;
  EXPECT_EQ(replay(requests, options, PolicyRegistry::with_builtins()).error().code, ErrorCode::kInvalid);
}

TEST(Replay, NoticesAPolicyThatBreaksItsContract) {
  std::vector<Request> requests;
  for (std::uint64_t i = 0; i < 200; ++i) requests.push_back(request_of({2 * i, 2 * i + 1}, 200));
  for (const auto fault :
       {testing::PolicyFault::kNone, testing::PolicyFault::kNoVictim, testing::PolicyFault::kVictimTwice}) {
    PolicyRegistry registry = PolicyRegistry::with_builtins();
    const PolicyRegistry good = registry;
    ASSERT_TRUE(registry
                    .add("faulty",
                         [&](const PolicyConfig& config) {
                           return std::make_unique<testing::FaultyPolicy>(std::move(*good.make("lru", config)), fault);
                         })
                    .has_value());
    ReplayOptions options = lru(10);
    options.policy = "faulty";
    const auto result = replay(requests, options, registry);
    EXPECT_EQ(result.has_value(), fault == testing::PolicyFault::kNone);
    if (!result) {
      EXPECT_EQ(result.error().code, ErrorCode::kInternal);
    }
  }
}

}  // namespace
}  // namespace reprise::sim
