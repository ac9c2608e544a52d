"""The daemon dies, ends, starts again, is told to read its tokens again; clients go on meanwhile."""

import socket
import time
import unittest
import urllib.error

import daemon

BLOCKS = 32
SECRETS = {"a1": "0123456789abcdef0123456789abcdef", "b1": "fedcba9876543210fedcba9876543210"}


class WithDisk(daemon.Case):
    def serve(self, *flags, **kwargs):
        tier = f"disk:{self.folder / 'tier'}?capacity=256MiB&segment=8MiB"
        return self.daemon("--l1-capacity", "32MiB", "--l2-url", tier, *flags, **kwargs)


class Killed(WithDisk):
    def setUp(self):
        super().setUp()
        self.served = self.serve(tcp=True)

    def restart(self):
        address = self.served.tcp_address
        self.served.end()
        self.served = self.serve(tcp=address)

    def test_clients_go_on_and_find_everything_again(self):
        # Far longer than the test waits: a call that waited for its own time limit would be noticed.
        clients = {url: self.worker(url, "--timeout-ms", 600_000).connected()
                   for url in (self.served.unix_url, self.served.tcp_url)}
        first = clients[self.served.unix_url]
        self.assertEqual(first.ask(f"put 1 0 {BLOCKS}")["accepted"], BLOCKS)
        self.assertEqual(first.ask("flush"), {"flushed": True})
        self.assertEqual(first.ask(f"acquire a 1 {BLOCKS}")["blocks"], BLOCKS)
        self.served.kill()
        self.assertEqual(first.ask("read a"), {"blocks": BLOCKS, "wrong": 0, "valid": True},
                         "nobody overwrites a dead daemon's memory")
        print()
        for url, client in clients.items():
            self.check_away(url, client)
        started = time.monotonic()
        self.restart()
        for url, client in clients.items():
            client.connected()
            print(f"  {url.split(':')[0]}: answers again {time.monotonic() - started:.2f} s after the daemon's start")
        for client in clients.values():
            found = client.ask(f"get 1 0 {BLOCKS}")
            self.assert_all_right(found, BLOCKS)
            if client is first:
                self.assertEqual(found["from_l2"], BLOCKS, found)
        first.ask("release a")
        for client in clients.values():
            client.end()
        self.served.assert_nothing_outstanding()

    def check_away(self, url, client):
        took = []
        for command in (f"match 1 {BLOCKS}", f"get 1 0 {BLOCKS}", f"acquire b 1 {BLOCKS}", f"prefetch 1 {BLOCKS}"):
            start = time.monotonic()
            answer = client.ask(command)
            took.append(time.monotonic() - start)
            self.assertEqual((answer.get("blocks"), answer.get("reason")), (0, "unavailable"), f"{command}: {answer}")
        stored = client.ask("put 2 0 4")
        self.assertEqual((stored.get("accepted"), stored.get("reason")), (0, "unavailable"), stored)
        self.assertEqual(client.ask("reserve r 3 0 4"), {"writable": 0})
        print(f"  {url.split(':')[0]}: without a daemon, the first answer took {took[0] * 1e3:.2f} ms, the others at "
              f"most {max(took[1:]) * 1e3:.2f} ms")

    def test_traffic_during_deaths(self):
        soaks = [self.owned(daemon.Process(daemon.PROGRAMS / "cache_soak", seed, url))
                 for seed, url in enumerate((self.served.unix_url, self.served.tcp_url) * 2)]
        for soak in soaks:
            self.assertEqual(soak.read(), {"event": "started"}, soak.errors())
        for _ in range(2):
            time.sleep(0.7)
            self.served.kill()
            time.sleep(0.1)  # so that they notice
            self.restart()
        watcher = self.worker(self.served.unix_url).connected()
        watcher.end()
        daemon.eventually(lambda: self.served.outstanding()["sessions"] >= len(soaks), "all come back")
        time.sleep(0.5)
        for soak in soaks:
            soak.child.stdin.close()
            totals = soak.rest()
            self.assertEqual(len(totals), 1, totals)
            self.assertEqual((totals[0]["wrong"], totals[0]["errors"]), (0, 0), totals)
            self.assertGreater(totals[0]["unavailable"], 0, "it never noticed")
            self.assertGreater(totals[0]["checked"], 0)
        self.served.assert_nothing_outstanding()


class Drained(WithDisk):
    def test_what_was_put_is_on_disk(self):
        served = self.serve()
        writer = self.worker(served.unix_url).connected()
        for chain in range(4):
            self.assertEqual(writer.ask(f"put {chain} 0 64")["accepted"], 64)
        self.assertEqual(served.terminate(), 0, served.errors())
        again = self.serve()
        reader = self.worker(again.unix_url).connected()
        for chain in range(4):
            self.assert_all_right(reader.ask(f"get {chain} 0 64"), 64)

    def test_waits_for_leases_and_takes_nobody_new(self):
        served = self.serve("--server-drain-timeout", "1h")
        reader = self.worker(served.unix_url).connected()
        reader.ask("put 1 0 8")
        self.assertEqual(reader.ask("acquire a 1 8")["blocks"], 8)
        served.signal(15)
        daemon.eventually(lambda: not self.is_ready(served), "/readyz says no")
        answers = self.peer(served.unix_raw, "open")
        self.assertIn(answers[0]["answer"], ("unreachable", "goodbye", "closed", "reset"),
                      "a new session while draining")
        self.assertIsNone(served.child.poll(), "it did not wait for the lease")
        self.assertEqual(reader.ask("read a"), {"blocks": 8, "wrong": 0, "valid": True})
        reader.ask("release a")
        self.assertEqual(served.wait(), 0, served.errors())
        self.assertFalse(served.socket.exists(), "the socket's file is left behind")

    def is_ready(self, served):
        try:
            return served.get("/readyz") is not None
        except (urllib.error.URLError, ConnectionError):
            return False
        except ValueError:
            return True  # an answer that is no JSON

    def test_but_not_for_ever(self):
        served = self.serve("--server-drain-timeout", "300ms")
        reader = self.worker(served.unix_url).connected()
        reader.ask("put 1 0 8")
        self.assertEqual(reader.ask("acquire a 1 8")["blocks"], 8)
        self.assertEqual(served.terminate(), 0, served.errors())
        read = reader.ask("read a")
        self.assertTrue(read["wrong"] == 0 or not read["valid"], read)

    def test_systemd_is_told(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
            path = self.folder / "notify"
            ear.bind(str(path))
            ear.settimeout(daemon.PATIENCE)
            served = self.serve(environment={"NOTIFY_SOCKET": str(path)})
            self.assertIn("READY=1", ear.recv(4096).decode().splitlines())
            self.assertEqual(served.terminate(), 0)
            self.assertIn("STOPPING=1", ear.recv(4096).decode().splitlines())


class Reloaded(daemon.Case):
    def write(self, *ids):
        tokens = ", ".join(f'"{each}:{SECRETS[each]}"' for each in ids)
        self.auth.write_text(f'[[tenant]]\nname = "team"\ncapacity = "8MiB"\ntokens = [{tokens}]\n')

    def enters(self, key_id):
        flags = ["--token", f"{key_id}:{SECRETS[key_id]}"]
        return self.peer(self.served.tcp_raw, "open", flags=flags)[0]["answer"] == "welcome"

    def test_tokens_on_sighup(self):
        self.auth = self.folder / "auth.toml"
        self.auth.touch(mode=0o600)
        self.write("a1")
        self.served = self.daemon("--l1-capacity", "8MiB", "--auth-file", self.auth, tcp=True)
        self.assertEqual((self.enters("a1"), self.enters("b1")), (True, False))
        inside = self.owned(daemon.Process(daemon.PROGRAMS / "raw_peer", "--token", f"a1:{SECRETS['a1']}",
                                           self.served.tcp_raw, "open", "wait=60"))
        self.assertEqual(inside.read()["answer"], "welcome")
        self.write("b1")
        self.assertEqual((self.enters("a1"), self.enters("b1")), (True, False), "nobody has said to read it again")
        self.served.signal(1)
        daemon.eventually(lambda: self.enters("b1"), "the new token is known")
        self.assertFalse(self.enters("a1"), "a token that was taken out still opens")
        goodbye, end = inside.rest()
        self.assertEqual((goodbye["answer"], end["answer"]), ("goodbye", "closed"), "who came in by it is still there")
        self.assertIn("token", goodbye["text"])
        self.auth.write_text("[[tenant]\nnonsense")
        known = len(self.served.error_lines)
        self.served.signal(1)
        daemon.eventually(lambda: "auth.toml" in "\n".join(self.served.error_lines[known:]), "it says what is wrong")
        self.assertTrue(self.enters("b1"), "a broken file has locked everybody out")


if __name__ == "__main__":
    unittest.main()
