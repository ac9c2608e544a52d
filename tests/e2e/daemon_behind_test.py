"""Engines with memory of their own and one daemon behind them: they share what they put, and live through its death."""

import time
import unittest

import daemon

BLOCKS = 32
L1 = "1MiB"  # 16 blocks: half of what a test puts


class Behind(daemon.Case):
    def setUp(self):
        super().setUp()
        self.served = self.daemon("--l1-capacity", "32MiB", tcp=True)
        self.urls = (self.served.unix_url, self.served.tcp_url)

    def engine(self, url, *flags, ingest="ALL"):
        return self.worker("embedded:", "--l1-capacity", L1, "--l2-url", url, "--l2-ingest", ingest,
                           "--l2-timeout", "10s", "--l2-eject-for", "100ms", *flags)

    def restart(self):
        address = self.served.tcp_address
        self.served.end()
        self.served = self.daemon("--l1-capacity", "32MiB", tcp=address)

    def put(self, worker, chain):
        stored = worker.ask(f"put {chain} 0 {BLOCKS}")
        self.assertEqual((stored.get("declined"), stored.get("accepted", 0) + stored.get("present", 0)), (0, BLOCKS))
        self.assertEqual(worker.ask("flush"), {"flushed": True})

    def test_all_is_shared_and_a_death_costs_only_memory(self):
        one, two = (self.engine(url) for url in self.urls)
        self.put(one, 1)
        found = two.ask(f"get 1 0 {BLOCKS}")
        self.assert_all_right(found, BLOCKS)
        self.assertEqual(found["from_l2"], BLOCKS, found)
        for url in self.urls:
            direct = self.worker(url).connected()
            self.assert_all_right(direct.ask(f"get 1 0 {BLOCKS}"), BLOCKS)
            direct.end()

        self.served.kill()
        for worker in (one, two):
            start = time.monotonic()
            gone = worker.ask(f"match 77 {BLOCKS}")
            self.assertEqual((gone["blocks"], gone["reason"]), (0, "unavailable"), gone)
            print(f"\n  without the daemon, a miss took {(time.monotonic() - start) * 1e3:.2f} ms", end="")
            stored = worker.ask("put 2 0 8")
            self.assertEqual(stored["declined"], 0, stored)
            self.assert_all_right(worker.ask("get 2 0 8"), 8)
        print()
        self.restart()
        for worker in (one, two):
            worker.connected()
        self.put(two, 3)
        self.assert_all_right(one.ask(f"get 3 0 {BLOCKS}"), BLOCKS)

    def test_hot_goes_there_and_what_is_used_once_does_not(self):
        one, two = (self.engine(url, ingest="HOT") for url in self.urls)
        self.assertEqual(one.ask("put 1 0 4")["accepted"], 4)
        self.assertEqual(one.ask("put 2 0 4")["accepted"], 4)
        for _ in range(3):
            self.assert_all_right(one.ask("get 1 0 4"), 4)
        self.assertEqual(one.ask("flush"), {"flushed": True})
        self.assert_all_right(two.ask("get 1 0 4"), 4)
        self.assertEqual(two.ask("match 2 4")["blocks"], 0)

    def test_a_daemon_that_stands_still_costs_the_wait_for_l2(self):
        one = self.engine(self.served.tcp_url, "--l2-timeout", "200ms")
        self.assertEqual(one.ask("put 1 0 4")["accepted"], 4)
        self.assertEqual(one.ask("flush"), {"flushed": True})
        self.served.stop()
        late = one.ask("match 77 4")
        self.assertEqual(late["blocks"], 0, late)
        self.assertIn(late["reason"], ("timeout", "unavailable"))
        self.assert_all_right(one.ask("get 1 0 4"), 4)
        self.served.resume()
        one.connected()
        self.put(one, 5)
        self.assert_all_right(self.engine(self.served.unix_url).ask(f"get 5 0 {BLOCKS}"), BLOCKS)

    def test_check_asks_it(self):
        for url in self.urls:
            said = self.run_cli("check", "--l1-capacity", L1, "--l2-url", url, "--listen-admin", "").stdout
            self.assertIn("a server answers, with 32.0 MiB", said)
        said = self.run_cli("check", "--l1-capacity", L1, "--l2-url", "unix:///nowhere/at/all").stdout
        self.assertIn("no server answers", said)
        for url in self.urls:
            said = self.run_cli("check", "--l2-url", url, "--listen-tcp", "127.0.0.1:0", expect=1).stdout
            self.assertIn("takes no other server", said)
        said = self.run_cli("check", "--l2-url", self.served.unix_url, "--listen-unix", "/x.sock", expect=1).stdout
        self.assertIn("by tcp://host:port alone", said)

    def test_a_daemon_of_this_host_in_front_of_it(self):
        front = self.daemon("--l1-capacity", L1, "--l2-url", self.served.tcp_url, folder="front")
        self.put(self.worker(front.unix_url), 9)
        self.assertEqual(self.worker(front.unix_url).ask("flush"), {"flushed": True})
        self.assert_all_right(self.engine(self.served.unix_url).ask(f"get 9 0 {BLOCKS}"), BLOCKS)
        front.kill()
        again = self.daemon("--l1-capacity", L1, "--l2-url", self.served.tcp_url, folder="again")
        self.assert_all_right(self.worker(again.unix_url).ask(f"get 9 0 {BLOCKS}"), BLOCKS)
        self.served.stop()
        self.assertEqual(self.worker(again.unix_url).ask("match 77 4")["blocks"], 0)
        self.assert_all_right(self.worker(again.unix_url).ask("get 9 0 1"), 1)
        self.served.resume()
        refused = self.run_cli("serve", "--listen-unix", str(self.folder / "x.sock"), "--listen-tcp", "127.0.0.1:0",
                               "--listen-admin", "", "--l2-url", self.served.tcp_url, expect=2)
        self.assertIn("takes no other server", refused.stderr)


if __name__ == "__main__":
    unittest.main()
