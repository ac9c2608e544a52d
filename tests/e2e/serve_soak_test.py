"""Many clients at once, one of them killed every second: no wrong byte, nothing left behind, memory within its bound.

REPRISE_SOAK_SECONDS: how long (default 5).
"""

import os
import random
import time
import unittest

import daemon

SECONDS = float(os.environ.get("REPRISE_SOAK_SECONDS", "5"))
CLIENTS = 8
QUEUE = 16 << 20
COUNTS = ("calls", "checked", "copied", "in_place", "void", "stored", "filled", "unavailable")


class Soak(daemon.Case):
    def start(self, number):
        url = self.served.unix_url if number % 2 == 0 else self.served.tcp_url
        self.started += 1
        process = self.owned(daemon.Process(daemon.PROGRAMS / "cache_soak", self.started, url))
        self.assertEqual(process.read(), {"event": "started"}, process.errors())
        return process

    def assert_no_complaint(self, process):
        """All it said; any event but totals is a failure."""
        lines = process.rest()
        for line in lines:
            self.assertEqual(line["event"], "totals", f"{process.command} said {line}\n{process.errors()}")
        return lines

    def sample_memory(self):
        stats = self.served.stats()
        used, bound = daemon.memory(self.served.pid)["all"], self.served.memory_bound(stats, QUEUE)
        self.assert_memory(used, bound, "RSS")
        self.peak = max(self.peak, (used, bound))

    def test_clients_come_and_go_by_force(self):
        tier = self.folder / "tier"
        self.served = self.daemon("--l1-capacity", "64MiB", "--lease-ttl", "2s", "--l2-queue-bytes", f"{QUEUE}B",
                                  "--l2-url", f"disk:{tier}?capacity=128MiB&segment=8MiB", tcp=True)
        self.started, self.peak = 0, (0, 0)
        clients = [self.start(i) for i in range(CLIENTS)]
        dice = random.Random(4)
        end = time.monotonic() + SECONDS
        killed = 0
        while time.monotonic() < end:
            time.sleep(1)
            victim = dice.randrange(CLIENTS)
            clients[victim].kill()
            self.assert_no_complaint(clients[victim])
            clients[victim] = self.start(victim)
            killed += 1
            self.sample_memory()
        totals = {url: dict.fromkeys(COUNTS, 0) for url in ("unix", "tcp")}
        for number, client in enumerate(clients):
            client.child.stdin.close()
            last = self.assert_no_complaint(client)[-1]
            self.assertEqual(client.wait(), 0, last)
            self.assertEqual((last["wrong"], last["errors"]), (0, 0), last)
            for name in COUNTS:
                totals["tcp" if number % 2 else "unix"][name] += last[name]
        waited = self.served.assert_nothing_outstanding()
        self.sample_memory()
        print(f"\n{SECONDS:g} s, {CLIENTS} clients, {killed} killed; those that lived to the end:")
        for url, counts in totals.items():
            print(f"  {url:5}" + "".join(f" {name} {counts[name]}" for name in COUNTS))
        print(f"  nothing outstanding {waited:.2f} s after the last went")
        print(f"  RSS at its highest {self.peak[0] / 2**20:.1f} MiB, bound {self.peak[1] / 2**20:.1f} MiB")
        for name in ("copied", "in_place", "stored"):
            self.assertGreater(totals["unix"][name], 0, "the soak did not soak")
        for name in ("copied", "stored"):
            self.assertGreater(totals["tcp"][name], 0, "the soak did not soak")
        self.assertEqual(self.served.terminate(), 0, self.served.errors())


if __name__ == "__main__":
    unittest.main()
