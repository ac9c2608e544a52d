"""What the daemon says to those who speak the protocol wrongly: a code and a text, and whether the connection stays."""

import unittest

import daemon

SECRET = "0123456789abcdef0123456789abcdef"
IN_STEP = ("unknown-message", "unknown-handle", "unknown-rule", "wrong-transport", "huge-block", "no-table")
IN_STEP_UNIX = ("unknown-reservation", "unknown-token")
IN_STEP_TCP = ("put-contradicts", "get-too-much")
OUT_OF_STEP = {
    "garbage": "invalid",
    "wrong-version": "version",
    "wrong-checksum": "invalid",
    f"body-length={(24 << 20) + 1}": "invalid",
    "body-length=4294967295": "invalid",
    f"payload-length={(1 << 30) + 1}": "invalid",
    f"payload-length={1 << 63}": "invalid",
}


class Refusals(daemon.Case):
    def setUp(self):
        super().setUp()
        self.served = self.daemon("--l1-capacity", "16MiB", tcp=True)
        self.targets = (self.served.unix_raw, self.served.tcp_raw)

    def assert_refused(self, answer, code, closing):
        self.assertEqual(answer["answer"], "failed", answer)
        self.assertEqual((answer["code"], answer["closing"]), (code, closing), answer)
        self.assertGreater(len(answer["text"]), 10, "a refusal that explains nothing")

    def assert_closed(self, answers):
        self.assertIn(answers[-1]["answer"], ("closed", "reset"), answers)

    def test_what_is_wrong_but_in_step_leaves_the_connection_open(self):
        for target, more in zip(self.targets, (IN_STEP_UNIX, IN_STEP_TCP), strict=True):
            for step in IN_STEP + more:
                with self.subTest(target=target, step=step):
                    opened, _, refused, pong = self.peer(target, "open", "namespace", step, "ping")
                    self.assertEqual(opened["answer"], "welcome")
                    # A token that opens nothing is denied, whoever sent it.
                    self.assert_refused(refused, "denied" if step == "unknown-token" else "invalid", False)
                    self.assertEqual(pong["answer"], "pong", pong)
                    print(f"  {step}: {refused['text']}")

    def test_all_of_it_on_one_connection(self):
        for target, more in zip(self.targets, (IN_STEP_UNIX, IN_STEP_TCP), strict=True):
            answers = self.peer(target, "open", "namespace", *IN_STEP, *more, "ping")
            self.assertEqual(answers[-1]["answer"], "pong", answers)

    def test_a_lease_nobody_has_is_no_trouble(self):
        opened, _, after = self.peer(self.served.unix_raw, "open", "unknown-lease", "ping")
        self.assertEqual(opened["answer"], "welcome")
        if after["answer"] == "failed":  # One-way messages may be refused, too; the ping is answered after.
            self.assert_refused(after, "invalid", False)
        else:
            self.assertEqual(after["answer"], "pong")

    def test_what_is_out_of_step_is_told_why_and_closed(self):
        for target in self.targets:
            for step, code in OUT_OF_STEP.items():
                for opening in (["open"], []):
                    with self.subTest(target=target, step=step, opening=opening):
                        answers = self.peer(target, *opening, step, "wait=20")
                        refused = answers[len(opening)]
                        self.assert_refused(refused, code, True)
                        self.assert_closed(answers)
                        print(f"  {step}: {refused['text']}")

    def test_versions(self):
        for target in self.targets:
            refused, end = self.peer(target, "hello=9", "wait=20")
            self.assert_refused(refused, "version", True)
            self.assert_closed([end])
            self.assertEqual(self.peer(target, "hello=1")[0]["answer"], "hello reply")

    def test_nothing_but_a_handshake_before_the_session_is_open(self):
        for target in self.targets:
            for step in ("unknown-handle", "ping"):
                answers = self.peer(target, step, "wait=20")
                self.assertEqual((answers[0]["answer"], answers[0]["code"]), ("failed", "invalid"), answers)
            answers = self.peer(target, "body-length=4097", "wait=20")
            self.assert_refused(answers[0], "invalid", True)
            self.assert_closed(answers)

    def test_afterwards_it_serves_as_before(self):
        for target in self.targets:
            for step in (*IN_STEP, *OUT_OF_STEP):
                self.peer(target, "open", step)
        for url in (self.served.unix_url, self.served.tcp_url):
            worker = self.worker(url).connected()
            worker.ask("put 1 0 4")
            self.assert_all_right(worker.ask("get 1 0 4"), 4)
            worker.kill()
        self.served.assert_nothing_outstanding()


class Tokens(daemon.Case):
    def setUp(self):
        super().setUp()
        self.auth = self.folder / "auth.toml"
        self.auth.touch(mode=0o600)
        self.auth.write_text(f'[[tenant]]\nname = "a"\ncapacity = "8MiB"\ntokens = ["a1:{SECRET}"]\n')
        self.served = self.daemon("--l1-capacity", "16MiB", "--auth-file", self.auth, tcp=True)

    def test_wrong_unknown_and_right(self):
        texts = set()
        for token in (f"a1:{SECRET[::-1]}", f"zz:{SECRET}"):
            refused, end = self.peer(self.served.tcp_raw, "open", "wait=20", flags=["--token", token])
            self.assertEqual((refused["answer"], refused["code"], refused["closing"]), ("failed", "denied", True),
                             refused)
            self.assertIn(end["answer"], ("closed", "reset"))
            texts.add(refused["text"].replace(token.split(":")[0], "ID"))
        self.assertEqual(len(texts), 1, "the answer tells which tokens exist")
        print(f"  wrong token: {texts.pop()}")
        opened, pong = self.peer(self.served.tcp_raw, "open", "ping", flags=["--token", f"a1:{SECRET}"])
        self.assertEqual((opened["answer"], pong["answer"]), ("welcome", "pong"))

    def test_none_where_one_is_needed(self):
        answers = self.peer(self.served.tcp_raw, "open", "wait=20")
        self.assertEqual((answers[0]["answer"], answers[0]["code"]), ("failed", "denied"), answers)

    def test_the_client_library_says_what_is_wrong(self):
        token = self.folder / "token"
        token.touch(mode=0o600)
        token.write_text(f"a1:{SECRET[::-1]}\n")
        process = self.owned(daemon.Process(daemon.PROGRAMS / "cache_worker", self.served.tcp_url,
                                            "--attach-token-file", token))
        first = process.read()
        print(f"  the client library, wrong token: {first}")
        if "open" in first:  # Opened without a connection: calls say that the cache is away, and never hang.
            process.send("match 1 1")
            answer = process.read()
            self.assertTrue(answer.get("reason") == "unavailable" or answer.get("error") == "denied", answer)
        else:
            self.assertEqual(first["error"], "denied", first)


if __name__ == "__main__":
    unittest.main()
