#include "engine/common_run.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <string_view>

namespace reprise {
namespace {

Presence presence(MatchRule rule, std::string_view marks) {  // 'x' = present
  Presence made{rule, {}};
  for (const char mark : marks) made.present.push_back(mark == 'x');
  return made;
}

struct Case {
  const char* name;
  std::vector<Presence> chains;
  std::size_t run;
};

TEST(CommonRunTest, Table) {
  const auto prefix = MatchRule::prefix();
  const std::vector<Case> cases = {
      {"no chain", {}, 0},
      {"empty chain", {presence(prefix, "")}, 0},
      {"prefix, all", {presence(prefix, "xxxx")}, 4},
      {"prefix, hole", {presence(prefix, "xx.x")}, 2},
      {"prefix, no root", {presence(prefix, ".xxx")}, 0},
      {"last needs only its window", {presence(MatchRule::last(2), "..xx")}, 4},
      {"last falls back to an earlier window", {presence(MatchRule::last(2), "xx.x")}, 2},
      {"last near the root needs what there is", {presence(MatchRule::last(3), "x..x")}, 1},
      {"last with a window longer than the chain is prefix", {presence(MatchRule::last(9), "xx.x")}, 2},
      {"exact", {presence(MatchRule::exact(2), "..x.")}, 3},
      {"exact, missing", {presence(MatchRule::exact(2), "xx.x")}, 0},
      {"exact, beyond the chain", {presence(MatchRule::exact(4), "xxxx")}, 0},
      {"exact at the largest position", {presence(MatchRule::exact(0xFFFFFFFF), "xxxx")}, 0},
      {"shortest chain bounds", {presence(prefix, "xxxx"), presence(prefix, "xxx")}, 3},
      {"prefix bounds the window", {presence(prefix, "xxx."), presence(MatchRule::last(1), "..xx")}, 3},
      {"windows disagree", {presence(prefix, "xxxx"), presence(MatchRule::last(2), "xx.x")}, 2},
      {"exact and prefix", {presence(prefix, "xxxx"), presence(MatchRule::exact(1), ".x..")}, 2},
      {"two exacts disagree", {presence(MatchRule::exact(1), "xxxx"), presence(MatchRule::exact(2), "xxxx")}, 0},
  };
  for (const Case& c : cases) EXPECT_EQ(common_run(c.chains), c.run) << c.name;
}

TEST(CommonRunTest, HoleBehind) {
  const auto prefix = MatchRule::prefix();
  const auto one = [](Presence p) { return std::vector<Presence>{std::move(p)}; };
  EXPECT_FALSE(hole_behind(one(presence(prefix, "xx..")), 2));
  EXPECT_TRUE(hole_behind(one(presence(prefix, "xx.x")), 2));
  EXPECT_FALSE(hole_behind(one(presence(prefix, "xxxx")), 4));
  EXPECT_TRUE(hole_behind(one(presence(prefix, ".x..")), 0));
  EXPECT_FALSE(hole_behind(one(presence(MatchRule::last(1), ".x..")), 2)) << "what the rule skipped is no hole";
  EXPECT_FALSE(hole_behind(one(presence(prefix, "x")), 7)) << "beyond the chain";
}

// The definition, word for word: the largest n for which every chain's needed blocks are present.
std::size_t by_definition(const std::vector<Presence>& chains) {
  std::size_t best = 0;
  for (std::size_t n = 1; n <= 12; ++n) {
    bool usable = true;
    for (const Presence& chain : chains) {
      usable = usable && n <= chain.present.size();
      if (chain.rule.kind == MatchRule::Kind::kExact) usable = usable && n == std::size_t{chain.rule.arg} + 1;
      const NeededBlocks needed = needed_blocks(chain.rule, n);
      for (std::size_t i = needed.first; usable && i < needed.last; ++i) usable = chain.present[i];
    }
    if (usable) best = n;
  }
  return best;
}

TEST(CommonRunTest, AgreesWithItsDefinition) {
  std::mt19937 random(7);
  const auto below = [&](unsigned n) { return static_cast<std::uint32_t>(random() % n); };
  std::size_t found = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::vector<Presence> chains(1 + below(3));
    for (Presence& chain : chains) {
      const std::uint32_t kind = below(4);
      chain.rule = kind < 2    ? MatchRule::prefix()
                   : kind == 2 ? MatchRule::last(1 + below(4))
                               : MatchRule::exact(below(6));
      chain.present.resize(below(12));
      for (std::size_t i = 0; i < chain.present.size(); ++i) chain.present[i] = below(5) != 0;
    }
    const std::size_t run = common_run(chains);
    ASSERT_EQ(run, by_definition(chains)) << "round " << round;
    found += run;
  }
  EXPECT_GT(found, 10'000) << "the cases must not all be empty";
}

}  // namespace
}  // namespace reprise
