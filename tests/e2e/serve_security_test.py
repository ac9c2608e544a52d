"""Who may come in, from where, and what they may see."""

import os
import shutil
import stat
import unittest

import daemon

SECRETS = {"a1": "0123456789abcdef0123456789abcdef", "b1": "fedcba9876543210fedcba9876543210"}
NOBODY = 65534


class Socket(daemon.Case):
    def test_only_its_owner_may_reach_it(self):
        served = self.daemon("--l1-capacity", "8MiB")
        self.assertEqual(stat.S_IMODE(served.socket.stat().st_mode), 0o600)

    def test_a_second_daemon_does_not_take_it(self):
        served = self.daemon("--l1-capacity", "8MiB")
        second = self.daemon("--l1-capacity", "8MiB", wait=False)
        self.assertNotEqual(second.wait(), 0)
        self.assertIn(str(served.socket), second.errors())
        self.assertEqual(self.peer(served.unix_raw, "open")[0]["answer"], "welcome")

    def open_as(self, served, user):
        """What raw_peer's `open` comes to as another user. It needs a program and a folder that user can reach."""
        program = self.folder / "raw_peer"
        if not program.exists():
            shutil.copy(daemon.PROGRAMS / "raw_peer", program)
            program.chmod(0o755)
            self.folder.chmod(0o755)
        process = self.owned(daemon.Process(program, served.unix_raw, "open", user=user, group=user, extra_groups=[],
                                            cwd="/"))
        return process.read()

    @unittest.skipUnless(os.geteuid() == 0, "only root can be somebody else: not shown here")
    def test_other_users(self):
        served = self.daemon("--l1-capacity", "8MiB")
        self.assertEqual(self.open_as(served, NOBODY)["answer"], "unreachable", "the file's mode keeps others out")
        served.socket.chmod(0o666)
        refused = self.open_as(served, NOBODY)
        self.assertEqual((refused["answer"], refused.get("code")), ("failed", "denied"), refused)
        print(f"\n  {refused['text']}")

    @unittest.skipUnless(os.geteuid() == 0, "only root can be somebody else: not shown here")
    def test_other_users_that_are_named(self):
        served = self.daemon("--l1-capacity", "8MiB", "--allow-uid", NOBODY)
        self.assertEqual(self.open_as(served, NOBODY)["answer"], "welcome")
        refused = self.open_as(served, 1)
        self.assertEqual((refused["answer"], refused.get("code")), ("failed", "denied"), refused)
        by_group = self.daemon("--l1-capacity", "8MiB", "--allow-gid", NOBODY, folder="group")
        self.assertEqual(self.open_as(by_group, NOBODY)["answer"], "welcome")


class Ports(daemon.Case):
    def refuses(self, *flags):
        served = self.daemon("--l1-capacity", "8MiB", *flags, admin=False, wait=False)
        self.assertNotEqual(served.wait(), 0, f"{flags}: it started")
        return served.errors()

    def test_beyond_loopback_only_with_protection_or_spelled_out(self):
        for port in ("tcp", "admin"):
            with self.subTest(port=port):
                text = self.refuses(f"--listen-{port}", "0.0.0.0:0")
                self.assertIn(f"--insecure-listen={port}", text)
        served = self.daemon("--l1-capacity", "8MiB", "--insecure-listen=tcp", tcp="0.0.0.0:0")
        self.assertEqual(self.peer(served.tcp_raw, "open")[0]["answer"], "welcome")
        # One port's word is not another's.
        self.assertIn("--insecure-listen=admin", self.refuses("--listen-admin", "0.0.0.0:0", "--insecure-listen=tcp"))

    def test_a_token_file_is_protection(self):
        served = self.daemon("--l1-capacity", "8MiB", "--auth-file", auth_file(self.folder), tcp="0.0.0.0:0")
        self.assertEqual(self.peer(served.tcp_raw, "open")[0]["code"], "denied")

    def test_a_token_file_that_others_can_read_is_refused(self):
        path = auth_file(self.folder)
        path.chmod(0o644)
        self.assertIn("auth.toml", self.refuses("--auth-file", path))


def auth_file(folder):
    """Two tenants of 8 MiB each, the second of few operations."""
    path = folder / "auth.toml"
    path.touch(mode=0o600)
    path.write_text("".join(f'[[tenant]]\nname = "{name}"\ncapacity = "8MiB"\ntokens = ["{key}:{SECRETS[key]}"]\n{more}'
                            for name, key, more in (("a", "a1", ""), ("b", "b1", ""))))
    return path


class Tenants(daemon.Case):
    def setUp(self):
        super().setUp()
        self.served = self.daemon("--l1-capacity", "8MiB", "--auth-file", auth_file(self.folder), tcp=True)

    def client(self, key_id, url, flavour):
        token = self.folder / f"{key_id}.token"
        token.touch(mode=0o600)
        token.write_text(f"{key_id}:{SECRETS[key_id]}\n")
        return self.worker(url, "--attach-token-file", token, "--flavour", flavour).connected()

    def test_they_do_not_see_each_other(self):
        for url in (self.served.unix_url, self.served.tcp_url):
            with self.subTest(url=url):
                a, b = self.client("a1", url, 1), self.client("b1", url, 2)
                a.ask("erase 1 8"), b.ask("erase 1 8")
                self.assertEqual(a.ask("put 1 0 8")["accepted"], 8)
                self.assertEqual(b.ask("match 1 8")["blocks"], 0, "one tenant sees another's blocks")
                self.assertEqual(b.ask("put 1 0 8")["accepted"], 8)
                for each in (a, b):
                    self.assert_all_right(each.ask("get 1 0 8"), 8)
                self.assertEqual(b.ask("erase 1 8")["erased"], 8)
                self.assert_all_right(a.ask("get 1 0 8"), 8)

    def test_a_lease_is_joined_by_its_own_tenant_alone(self):
        a, again, b = (self.client(key, self.served.unix_url, 1) for key in ("a1", "a1", "b1"))
        a.ask("put 1 0 8")
        a.ask("acquire l 1 8")
        token = a.ask("token l")["token"]
        self.assertEqual(b.ask(f"attach l {token} 1 8").get("error"), "denied")
        self.assertEqual(again.ask(f"attach l {token} 1 8").get("blocks"), 8)
        a.kill()
        self.assertEqual(again.ask("read l"), {"blocks": 8, "wrong": 0, "valid": True})

    def test_each_keeps_to_its_bytes(self):
        a, b = self.client("a1", self.served.unix_url, 1), self.client("b1", self.served.unix_url, 2)
        self.assertEqual(b.ask("put 1 0 32")["accepted"], 32)
        for chain in range(10, 30):
            a.ask(f"put {chain} 0 32")
        tenants = {tenant["name"]: tenant["cache"]["l1"] for tenant in self.served.stats()["tenants"]}
        self.assertLessEqual(tenants["a"]["used_bytes"], 8 << 20)
        self.assert_all_right(b.ask("get 1 0 32"), 32)


class Tls(daemon.Case):
    def test_the_client_library_over_it(self):
        daemon.certificates(self.folder)
        served = self.daemon("--l1-capacity", "8MiB", "--tls-cert", self.folder / "server.pem", "--tls-key",
                             self.folder / "server.key", "--tls-client-ca", self.folder / "authority.pem", tcp=True)
        ours = ["--attach-tls-ca", self.folder / "authority.pem"]
        shown = ["--attach-tls-cert", self.folder / "server.pem", "--attach-tls-key", self.folder / "server.key"]
        worker = self.worker(served.tcp_url, *ours, *shown).connected()
        self.assertEqual(worker.ask("put 1 0 8")["accepted"], 8)
        self.assert_all_right(worker.ask("get 1 0 8"), 8)
        for flags in (["--tls-ca", self.folder / "authority.pem"], []):
            answers = self.peer(served.tcp_raw, "open", flags=flags)
            self.assertIn(answers[0]["answer"], ("closed", "reset", "unreachable"), "without a certificate")


if __name__ == "__main__":
    unittest.main()
