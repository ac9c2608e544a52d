"""Selective offload: what ALL, HOT and EVICTED cost in writes and give in hits. Prints the table."""

import unittest

import harness

L1_BLOCKS = 5_000
DISK_BLOCKS = 20_000
BLOCK = 4096


class SelectiveOffload(harness.Case):
    def run_with(self, ingest, policy="adaptive"):
        tier = self.folder / f"tier-{ingest}"
        url = f"disk:{tier}?capacity={DISK_BLOCKS * BLOCK}B&segment=4MiB"
        return self.replay(harness.TRACE, "--policy", policy, "--capacity-blocks", L1_BLOCKS, "--tier", url, "--ingest",
                           ingest)[0]

    def test_hot_writes_at_most_half(self):
        results = {ingest: self.run_with(ingest) for ingest in ("ALL", "HOT", "EVICTED")}
        print(f"\n{'ingest':8} {'written to L2':>14} {'of ALL':>7} {'hits L1':>8} {'hits L2':>8} {'together':>9}")
        for ingest, r in results.items():
            share = r["l2_written_bytes"] / results["ALL"]["l2_written_bytes"]
            print(f"{ingest:8} {r['l2_written_bytes'] / 2**20:10.1f} MiB {share:7.3f} {r['l1_hit_ratio']:8.4f} "
                  f"{r['l2_hit_ratio']:8.4f} {r['prefix_hit_ratio']:9.4f}")
        for ingest, r in results.items():
            with self.subTest(ingest=ingest):
                self.assertEqual(r["wrong_blocks"], 0)
                self.assertEqual(r["cache"]["ingest_dropped"], 0)
                self.assertGreater(r["l2_blocks"], 0, "the tier serves nothing")
        self.assertLessEqual(results["HOT"]["l2_written_bytes"], results["ALL"]["l2_written_bytes"] / 2)
        alone = self.replay(harness.TRACE, "--policy", "adaptive", "--capacity-blocks", L1_BLOCKS)[0]
        for ingest, r in results.items():
            with self.subTest(ingest=ingest):
                self.assertGreater(r["prefix_hit_ratio"], alone["prefix_hit_ratio"])


if __name__ == "__main__":
    unittest.main()
