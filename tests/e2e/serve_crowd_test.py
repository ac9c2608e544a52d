"""Many idle connections, and peers that are slow, silent or mean, beside one that behaves. Prints what was measured."""

import time
import unittest

import daemon

IDLE_BUDGET = 20480  # bytes of memory for each plain connection


class Idle(daemon.Case):
    def hold(self, target, count, *flags):
        process = self.owned(daemon.Process(daemon.PROGRAMS / "raw_peer", *flags, target, f"many={count}"))
        return process, process.read()

    def measure(self, served, target, count, *flags):
        """Bytes of the daemon's memory for each of `count` connections with open sessions."""
        first, _ = self.hold(target, 10, *flags)  # What the first ones cost once and for all.
        first.end()
        served.assert_nothing_outstanding()
        before = daemon.memory(served.pid)["all"]
        crowd, held = self.hold(target, count, *flags)
        self.assertEqual(held, {"open": count, "refused": 0, "unreachable": 0, "text": ""})
        self.assertEqual(served.outstanding()["sessions"], count)
        after = daemon.memory(served.pid)["all"]
        self.assert_all_right(self.exchange(served), 4)
        crowd.end()
        served.assert_nothing_outstanding()
        return (after - before) / count

    def exchange(self, served):
        worker = self.worker(served.unix_url).connected()
        worker.ask("put 1 0 4")
        answer = worker.ask("get 1 0 4")
        worker.end()
        return answer

    def test_a_thousand(self):
        served = self.daemon("--l1-capacity", "16MiB", "--l1-populate", "false", tcp=True)
        self.exchange(served)
        each = self.measure(served, served.tcp_raw, 1000)
        print(f"\n  1000 idle TCP connections: {each / 1024:.1f} KiB each (at most {IDLE_BUDGET // 1024})")
        self.assert_memory(each, IDLE_BUDGET, "an idle connection")

    def test_over_tls(self):
        daemon.certificates(self.folder)
        served = self.daemon("--l1-capacity", "16MiB", "--l1-populate", "false",
                             "--tls-cert", self.folder / "server.pem",
                             "--tls-key", self.folder / "server.key", tcp=True)
        self.exchange(served)
        each = self.measure(served, served.tcp_raw, 200, "--tls-ca", self.folder / "authority.pem")
        print(f"\n  200 idle TLS connections: {each / 1024:.1f} KiB each")

    def test_more_than_it_takes(self):
        served = self.daemon("--l1-capacity", "16MiB", "--server-max-connections", "20", tcp=True)
        crowd, held = self.hold(served.tcp_raw, 100)
        self.assertGreater(held["open"], 0, held)
        self.assertLessEqual(held["open"], 20, held)
        self.assertEqual(held["open"] + held["refused"] + held["unreachable"], 100, held)
        self.assertIn("connections", held["text"], "who is refused is told why")
        self.assertLessEqual(served.outstanding()["connections"], 20)
        crowd.end()
        served.assert_nothing_outstanding()
        self.assert_all_right(self.exchange(served), 4)


# Steps of raw_peer; {n} is a number of its own. The daemon ends all of these connections by itself.
MEAN = {
    "silence": ["wait=60"],
    "half a header": ["half-header", "wait=60"],
    "half a header, later": ["open", "half-header", "wait=60"],
    "half a body": ["open", "half-body", "wait=60"],
    "half a payload": ["open", "namespace", "half-payload", "wait=60"],
    "garbage": ["garbage", "wait=60"],
    "4 GiB of body": ["open", "body-length=4294967295", "wait=60"],
    "a huge payload": ["open", f"payload-length={1 << 62}", "wait=60"],
    "a wrong checksum": ["open", "wrong-checksum", "wait=60"],
    "a byte a second, from the start": ["trickle-hello=60"],
    "a byte a second, later": ["open", "trickle-ping=60"],
    "reads a byte a second": ["open", "namespace", "put={n}", "get={n}", "slow-get=600"],
}
READER = "reads a byte a second"


class Mean(daemon.Case):
    def setUp(self):
        super().setUp()
        self.served = self.daemon("--l1-capacity", "64MiB", "--lease-ttl", "1s", "--server-handshake-timeout", "1s",
                                  "--server-progress-timeout", "1s", "--server-max-connections", "200", tcp=True)
        self.good = self.worker(self.served.unix_url).connected()
        self.assertEqual(self.good.ask("put 1 0 32")["accepted"], 32)

    def latency(self, seconds, label):
        seen = self.good.ask(f"latency {seconds * 1000} 1 32")
        self.assertEqual(seen.get("short"), 0, f"the good client was not served: {seen}")
        print(f"  {label}: acquire and release of 32 blocks, p50 {seen['p50']:.0f} us, p99 {seen['p99']:.0f} us, "
              f"{seen['calls']} calls")

    def test_they_harm_nobody_and_go(self):
        print()
        self.latency(1, "alone")
        before = daemon.memory(self.served.pid)["all"]
        peers = []
        for target in (self.served.unix_raw, self.served.tcp_raw):
            for name, steps in MEAN.items():
                if target == self.served.unix_raw and ("payload" in name or name == READER):
                    continue  # Blocks do not travel over a Unix socket.
                for _ in range(2):
                    own = [step.format(n=len(peers)) for step in steps]
                    command = [daemon.PROGRAMS / "raw_peer", "--receive-buffer", "65536", target, *own]
                    peers.append((name, self.owned(daemon.Process(*command))))
        daemon.eventually(lambda: self.served.stats()["server"]["connections_accepted"] > len(peers), "all have come")
        flood = [self.owned(daemon.Process(daemon.PROGRAMS / "raw_peer", self.served.tcp_raw, "many=300"))
                 for _ in range(2)]
        self.latency(2, f"beside {len(peers)} mean peers and a flood of 600")
        during = daemon.memory(self.served.pid)["all"]
        bound = self.served.memory_bound(self.served.stats())
        print(f"  RSS {before / 2**20:.1f} MiB before, {during / 2**20:.1f} MiB with them, "
              f"bound {bound / 2**20:.1f} MiB")
        self.assert_memory(during, bound, "RSS")
        for process in flood:
            process.end()
        start = time.monotonic()
        try:
            daemon.eventually(lambda: not self.mean_sessions(), "the daemon closes them all")
        except AssertionError as error:
            raise AssertionError(f"{error}; still open: {self.mean_sessions()}") from None
        print(f"  the last of them closed {time.monotonic() - start:.1f} s later")
        for name, process in peers:
            with self.subTest(peer=name):
                self.check_end(name, process)
        self.latency(1, "after")
        self.good.end()
        self.served.assert_nothing_outstanding()

    def mean_sessions(self):
        return [each for each in self.served.get("/v1/sessions")
                if each["client"] == "raw peer" or each["state"] != "open"]

    def check_end(self, name, process):
        if name == READER:  # It will read for minutes what is on its own side of the wire.
            self.assertIsNone(process.child.poll(), "it ended by itself, which shows nothing")
            got = [process.read() for _ in range(4)][-1]
            self.assertEqual(got.get("payload"), 64 * daemon.BLOCK, f"there was nothing to read slowly: {got}")
            return process.end()
        last = process.rest()[-1]
        self.assertIn(last["answer"], ("closed", "reset", "failed", "goodbye"), f"{name}: still open: {last}")


if __name__ == "__main__":
    unittest.main()
