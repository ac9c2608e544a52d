"""Clients that stand still in the middle of things (SIGSTOP) while others use the memory: no wrong byte for anybody."""

import unittest

import daemon

CAPACITY_BLOCKS = 64
RUN = 16  # blocks of the chain that is read or written
OTHERS = range(100, 124)  # chains of others: six times the memory


class Stopped(daemon.Case):
    def serve(self):
        served = self.daemon("--server-drain-timeout", "500ms", "--lease-ttl", "300ms", "--l1-policy", "lru",
                             "--l1-capacity", f"{CAPACITY_BLOCKS * daemon.BLOCK}B")
        self.other = self.worker(served.unix_url).connected()
        return served

    def expired(self):
        return self.served.stats()["totals"]["cache"]["leases_expired"]

    def use_all_memory(self):
        for chain in OTHERS:
            stored = self.other.ask(f"put {chain} 0 {RUN}")
            self.assertNotIn("error", stored)

    def assert_others_right(self):
        """Every block of the others that is still there is what it should be; how many there are."""
        seen = 0
        for chain in OTHERS:
            answer = self.other.ask(f"get {chain} 0 {RUN}")
            self.assertNotIn("error", answer)
            self.assertEqual(answer["wrong"], 0, f"WRONG BYTES of chain {chain}: {answer}")
            seen += answer["blocks"]
        self.assertGreater(seen, 0)
        return seen

    def await_no_lease(self, served):
        daemon.eventually(lambda: served.outstanding()["leases"] == 0, "the stopped reader's lease runs out")


class Reader(Stopped):
    def setUp(self):
        super().setUp()
        self.served = self.serve()
        self.assertEqual(self.other.ask(f"put 1 0 {RUN}")["accepted"], RUN)
        self.reader = self.worker(self.served.unix_url).connected()

    def overwrite(self):
        self.await_no_lease(self.served)
        self.use_all_memory()
        self.assertEqual(self.other.ask(f"match 1 {RUN}")["blocks"], 0, "the blocks were not overwritten")

    def test_stopped_mid_copy_past_its_lease(self):
        self.assertEqual(self.reader.ask(f"acquire a 1 {RUN}")["blocks"], RUN)
        self.assertEqual(self.reader.ask("read-halves a")["event"], "half")
        self.reader.stop()
        self.overwrite()
        self.reader.resume()
        copied = self.reader.ask("go")
        self.assertFalse(copied["valid"], f"a lease that ran out still counts as valid: {copied}")
        self.assertGreater(copied["wrong_after"], 0, "nothing was overwritten, so this has shown nothing")
        self.assertEqual(copied["wrong_before"], 0, copied)

    def test_stopped_inside_get(self):
        self.reader.send(f"get-stopped 1 {RUN}")
        self.assertEqual(self.reader.read(), {"event": "stopped"})
        self.reader.await_stopped()
        self.overwrite()
        self.reader.resume()
        answer = self.reader.read()
        self.assertNotIn("error", answer)
        self.assertEqual((answer["blocks"], answer["wrong"]), (0, 0), f"overwritten blocks were handed out: {answer}")
        self.assertIn(answer["reason"], ("expired", "miss"))

    def test_one_that_runs_keeps_its_lease(self):
        """The library renews; without this the tests above would show little."""
        self.assertEqual(self.reader.ask(f"acquire a 1 {RUN}")["blocks"], RUN)
        sleeper = self.worker(self.served.unix_url).connected()
        self.assertEqual(sleeper.ask(f"acquire b 1 {RUN}")["blocks"], RUN)
        sleeper.stop()
        for _ in range(3):  # the time to live, thrice
            before = self.expired()
            daemon.eventually(lambda before=before: self.expired() > before, "a stopped client's lease runs out")
            self.use_all_memory()
            read = self.reader.ask("read a")
            self.assertEqual(read, {"blocks": RUN, "wrong": 0, "valid": True})
            sleeper.resume()
            sleeper.ask("release b")
            self.assertEqual(sleeper.ask(f"acquire b 1 {RUN}")["blocks"], RUN)
            sleeper.stop()

    def test_killed_while_stopped(self):
        self.assertEqual(self.reader.ask(f"acquire a 1 {RUN}")["blocks"], RUN)
        self.reader.stop()
        self.reader.kill()
        self.await_no_lease(self.served)
        self.use_all_memory()
        self.assert_others_right()


class Writer(Stopped):
    def setUp(self):
        super().setUp()
        self.served = self.serve()
        self.writer = self.worker(self.served.unix_url).connected()

    def reserve_and_stop(self):
        self.assertEqual(self.writer.ask(f"reserve r 1 0 {RUN}")["writable"], RUN)
        self.assertEqual(self.writer.ask(f"fill r 0 {RUN // 2}")["filled"], RUN // 2)
        self.writer.stop()

    def wait_past_the_lease(self):
        """Some other client's lease, taken now, runs out meanwhile."""
        sleeper = self.worker(self.served.unix_url).connected()
        self.other.ask("put 2 0 1")
        self.assertEqual(sleeper.ask("acquire b 2 1")["blocks"], 1)
        sleeper.stop()
        self.await_no_lease(self.served)
        sleeper.kill()

    def test_its_reserved_memory_is_nobody_elses(self):
        self.reserve_and_stop()
        self.wait_past_the_lease()
        self.use_all_memory()
        self.assertEqual(self.served.outstanding()["reserved_bytes"], RUN * daemon.BLOCK,
                         "memory that a stopped process may still write to was given away")
        seen = self.assert_others_right()
        self.assertLessEqual(seen, CAPACITY_BLOCKS - RUN, "the others have memory that is reserved")
        self.writer.resume()
        self.assertEqual(self.writer.ask(f"fill r 0 {RUN}")["filled"], RUN)
        present = self.writer.ask(f"commit r {RUN}")["present"]
        self.assertEqual(present, RUN)
        self.assert_all_right(self.other.ask(f"get 1 0 {RUN}"), present)
        self.assert_others_right()
        self.assertEqual(self.served.outstanding()["reserved_bytes"], 0)

    def test_killed_its_memory_serves_again(self):
        self.reserve_and_stop()
        self.writer.kill()
        daemon.eventually(lambda: self.served.outstanding()["reserved_bytes"] == 0,
                          "a killed writer's memory comes back")
        self.use_all_memory()
        self.assertEqual(self.assert_others_right(), CAPACITY_BLOCKS)
        self.assertEqual(self.other.ask(f"match 1 {RUN}")["blocks"], 0, "half-written blocks can be found")

    def test_stopped_inside_put(self):
        self.writer.send(f"put-stopped 1 {RUN}")
        self.assertEqual(self.writer.read(), {"event": "stopped"})
        self.writer.await_stopped()
        self.wait_past_the_lease()
        self.use_all_memory()
        self.assert_others_right()
        self.writer.resume()
        stored = self.writer.read()
        self.assertNotIn("error", stored)
        self.assert_all_right(self.other.ask(f"get 1 0 {RUN}"), stored["accepted"])
        self.assert_others_right()

    def test_a_daemon_that_ends_does_not_wait_for_it(self):
        self.reserve_and_stop()
        self.assertEqual(self.served.terminate(), 0, self.served.errors())
        self.writer.resume()
        self.writer.ask(f"fill r 0 {RUN}")
        self.assertEqual(self.writer.ask(f"commit r {RUN}"), {"present": 0}, "success for work not done")


if __name__ == "__main__":
    unittest.main()
