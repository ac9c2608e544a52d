"""An hour of production traffic: the hit ratios that were computed independently of this code."""

import unittest

import harness

# bench/traces/README.md: share of block references found, LRU, suffix touched before prefix.
LRU = {1_000: 0.0445, 5_000: 0.1118, 10_000: 0.2116, 30_000: 0.3257}
# The floor of one salt of `adaptive`: the bar for the mean of eight salts, less the scatter of a single one.
ADAPTIVE = {1_000: 0.077 - 0.005, 5_000: 0.171 - 0.005, 10_000: 0.228 - 0.005, 30_000: 0.328 - 0.005}
SIZES = ",".join(map(str, LRU))


class Conversation(harness.Case):
    def check_lru(self, results):
        self.assertEqual([r["capacity_blocks"] for r in results], list(LRU))
        for result in results:
            self.assertEqual(result["requests"], 12_031)
            self.assertEqual(result["blocks"], 288_500)
            self.assertEqual(result["skipped_lines"], 0)
            self.assertAlmostEqual(result["prefix_hit_ratio"], LRU[result["capacity_blocks"]], delta=0.0005)

    def check_bytes(self, results):
        for result in results:
            self.assertEqual(result["wrong_blocks"], 0)
            self.assertEqual(result["checked_bytes"], result["l1_blocks"] * result["block_bytes"])
            self.assertEqual(result["latency_us"]["acquire"]["count"], 12_031)

    def test_policy_only(self):
        self.check_lru(self.replay(harness.TRACE, "--policy", "lru", "--capacity-blocks", SIZES, "--no-bytes"))

    def test_real_bytes(self):
        results = self.replay(harness.TRACE, "--policy", "lru", "--capacity-blocks", SIZES)
        self.check_lru(results)
        self.check_bytes(results)

    def test_large_blocks(self):
        results = self.replay(harness.TRACE, "--policy", "lru", "--capacity-blocks", 1_000, "--block-bytes", "256KiB",
                              timeout=500)
        self.assertAlmostEqual(results[0]["prefix_hit_ratio"], LRU[1_000], delta=0.0005)
        self.check_bytes(results)

    def test_adaptive_with_real_bytes(self):
        results = self.replay(harness.TRACE, "--policy", "adaptive", "--capacity-blocks", SIZES)
        self.check_bytes(results)
        for result in results:
            self.assertGreaterEqual(result["prefix_hit_ratio"], ADAPTIVE[result["capacity_blocks"]])

    def test_one_flipped_byte_among_all(self):
        results = self.replay(harness.TRACE, "--policy", "lru", "--capacity-blocks", 5_000, "--flip-byte", 1, expect=1)
        self.assertGreater(results[0]["wrong_blocks"], 0)


if __name__ == "__main__":
    unittest.main()
