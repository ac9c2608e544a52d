"""Starts `reprise serve`, and processes that use or abuse it. Environment: REPRISE_PROGRAMS (folder of the built
programs of tests/e2e/programs), set by CTest; REPRISE_SANITIZED, set by hand for a binary with sanitizers, whose memory
says nothing; the rest as for harness.py."""

import json
import os
import pathlib
import re
import select
import signal
import subprocess
import threading
import time
import urllib.request

import harness

PROGRAMS = pathlib.Path(os.environ.get("REPRISE_PROGRAMS",
                                       pathlib.Path(harness.BINARY).parent / "tests/e2e/programs"))
SANITIZED = "REPRISE_SANITIZED" in os.environ
PATIENCE = 60  # seconds until a test gives up on something that should happen soon
BLOCK = 65536  # what cache_worker uses unless told otherwise

LISTENING = {
    "unix": re.compile(r"listening on unix (\S+)"),
    "tcp": re.compile(r"listening on tcp (\S+)"),
    "admin": re.compile(r"admin on (http://\S+)"),
}


def eventually(condition, what, patience=PATIENCE):
    """Waits for a condition to hold and returns its value; otherwise says what it waited for and what it last saw."""
    end = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {patience} s in vain: {what}; last seen: {value!r}")
        time.sleep(0.02)


def memory(pid):
    """Resident bytes of a process: all of them, and those that are its own alone."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    kib = {name: int(value) for name, value in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.M)}
    return {"all": kib["VmRSS"] * 1024, "anonymous": kib["RssAnon"] * 1024}


class Case(harness.Case):
    def daemon(self, *flags, **kwargs):
        """`folder`: where its socket is, below the test's own."""
        folder = self.folder / kwargs.pop("folder", "")
        folder.mkdir(exist_ok=True)
        return self.owned(Daemon(folder, *flags, **kwargs))

    def worker(self, url, *flags, **kwargs):
        return self.owned(Worker(url, *flags, **kwargs))

    def owned(self, process):
        self.addCleanup(process.end)
        return process

    def peer(self, target, *steps, flags=()):
        """Runs raw_peer to its end; its answers. Those of `wait` and of connecting come like any other's."""
        done = subprocess.run([PROGRAMS / "raw_peer", *map(str, flags), target, *steps], capture_output=True, text=True,
                              timeout=300, check=False, env=harness.CLEAN)
        self.assertIn(done.returncode, (0, 1), f"raw_peer {steps}: {done.stderr}")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def assert_memory(self, used, bound, what):
        if not SANITIZED:
            self.assertLessEqual(used, bound, f"{what}: {used / 2**20:.1f} MiB, bound {bound / 2**20:.1f} MiB")

    def assert_all_right(self, answer, blocks):
        self.assertNotIn("error", answer)
        self.assertEqual(answer["wrong"], 0, f"WRONG BYTES: {answer}")
        self.assertEqual(answer["blocks"], blocks, answer)


class Process:
    """A child with pipes: lines in, lines out. Errors of every kind end up in what `errors` says."""

    def __init__(self, *command, **kwargs):
        self.command = [str(word) for word in command]
        kwargs.setdefault("env", harness.CLEAN)
        self.child = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, **kwargs)
        self.pid = self.child.pid
        self.pending = b""
        self.error_lines = []
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()

    def _listen(self):
        for line in self.child.stderr:
            self.error_lines.append(line.decode(errors="replace").rstrip())

    def errors(self):
        return "\n".join(self.error_lines)

    def send(self, line):
        self.child.stdin.write(line.encode() + b"\n")
        self.child.stdin.flush()

    def read(self, patience=PATIENCE):
        """The next line, as JSON; None at the end of the output."""
        end = time.monotonic() + patience
        while b"\n" not in self.pending:
            ready, _, _ = select.select([self.child.stdout], [], [], max(0, end - time.monotonic()))
            if not ready:
                raise AssertionError(f"no answer within {patience} s from {self.command}\n{self.errors()}")
            piece = os.read(self.child.stdout.fileno(), 65536)
            if not piece:
                return None
            self.pending += piece
        line, self.pending = self.pending.split(b"\n", 1)
        return json.loads(line)

    def rest(self):
        """All lines until the output ends."""
        lines = []
        while (line := self.read()) is not None:
            lines.append(line)
        return lines

    def signal(self, number):
        self.child.send_signal(number)

    def stop(self):
        """SIGSTOP, and waits until it stands still."""
        self.signal(signal.SIGSTOP)
        self.await_stopped()

    def await_stopped(self):
        stat = pathlib.Path(f"/proc/{self.pid}/stat")
        eventually(lambda: stat.read_text().rsplit(")", 1)[1].split()[0] == "T", f"{self.command} stops")

    def resume(self):
        self.signal(signal.SIGCONT)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.child.wait()

    def wait(self, patience=PATIENCE):
        """The exit status."""
        try:
            return self.child.wait(patience)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.command} did not end within {patience} s\n{self.errors()}") from None

    def end(self):
        if self.child.poll() is None:
            self.kill()
        self.listener.join(PATIENCE)
        for pipe in (self.child.stdin, self.child.stdout, self.child.stderr):
            try:
                pipe.close()
            except BrokenPipeError:
                pass  # what it did not read of its commands


class Worker(Process):
    """tests/e2e/programs/cache_worker: obeys commands; worker.cc lists them."""

    def __init__(self, url, *flags, **kwargs):
        super().__init__(PROGRAMS / "cache_worker", url, *flags, **kwargs)
        self.opened = self.read()
        if self.opened is None or "open" not in self.opened:
            text = f"{self.command}: {self.opened}\n{self.errors()}"
            self.end()
            raise AssertionError(text)

    def ask(self, command, patience=PATIENCE):
        self.send(command)
        answer = self.read(patience)
        if answer is None:
            raise AssertionError(f"{self.command} ended ({self.child.wait()}) at: {command}\n{self.errors()}")
        return answer

    def connected(self):
        """Waits until the cache behind it answers."""
        eventually(lambda: self.ask("match 999999 1").get("reason") == "miss", f"{self.command} reaches its cache")
        return self


class Daemon(Process):
    """`reprise serve` in a folder: socket reprise.sock, and where asked for, TCP and admin ports of its own choosing.
    `tcp`: True, or an address."""

    def __init__(self, folder, *flags, unix=True, tcp=False, admin=True, wait=True, environment=None, **kwargs):
        self.socket = pathlib.Path(folder) / "reprise.sock"
        listen = ["--listen-unix", self.socket] if unix else []
        listen += ["--listen-tcp", tcp if isinstance(tcp, str) else "127.0.0.1:0"] if tcp else []
        listen += ["--listen-admin", "127.0.0.1:0" if admin else ""]
        super().__init__(harness.BINARY, "serve", *listen, *flags, env={**harness.CLEAN, **(environment or {})},
                         **kwargs)
        self.unix_url, self.unix_raw = f"unix://{self.socket}", f"unix:{self.socket}"
        if not wait:
            return
        try:
            if unix:
                self.listening("unix")
            if tcp:
                self.tcp_address = self.listening("tcp").replace("0.0.0.0", "127.0.0.1")
                self.tcp_url, self.tcp_raw = f"tcp://{self.tcp_address}", f"tcp:{self.tcp_address}"
            if admin:
                self.admin_url = self.listening("admin").rstrip("/")
        except AssertionError:
            self.end()
            raise

    def listening(self, kind):
        """The address it says it listens on."""
        def look():
            found = LISTENING[kind].search(self.errors())
            if not found and self.child.poll() is not None:
                raise AssertionError(f"{self.command} ended with {self.child.returncode}\n{self.errors()}")
            return found
        return eventually(look, f"{kind} listens; it said:\n{self.errors()}").group(1)

    def get(self, path):
        if self.child.poll() is not None:
            raise AssertionError(f"the daemon has ended with {self.child.returncode}\n{self.errors()}")
        with urllib.request.urlopen(self.admin_url + path, timeout=PATIENCE) as answer:
            return json.loads(answer.read())

    def stats(self):
        return self.get("/v1/stats")

    def outstanding(self):
        """What clients hold, all tenants together."""
        stats = self.stats()
        totals = stats["totals"]
        return {"sessions": totals["sessions"], "connections": stats["server"]["connections"],
                "leases": totals["leases"], "leased_blocks": totals["cache"]["leased_blocks"],
                "reserved_bytes": totals["reserved_bytes"]}

    def assert_nothing_outstanding(self, patience=PATIENCE):
        """Waits until no client holds anything; how long that took."""
        start = time.monotonic()
        seen = {}

        def nothing():
            seen.update(self.outstanding())
            return not any(seen.values())
        try:
            eventually(nothing, "leases, reservations and sessions of ended clients go", patience)
        except AssertionError as error:
            raise AssertionError(f"{error}; still there: {seen}") from None
        return time.monotonic() - start

    def memory_bound(self, stats, queue=0):
        """What the daemon may hold: payload, what waits for L2 (l2.queue-bytes), metadata, tables, 20 KiB a connection,
        and 64 MiB for the program."""
        cache = stats["totals"]["cache"]
        return (cache["l1"]["capacity_bytes"] + queue + cache["metadata_bytes"] + cache["fixed_bytes"]
                + 20480 * stats["server"]["connections"] + (64 << 20))

    def terminate(self, patience=PATIENCE):
        """SIGTERM; the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait(patience)


def certificates(folder):
    """authority.pem, server.pem and server.key, for 127.0.0.1 and localhost."""
    subprocess.run([PROGRAMS / "make_certificates", folder], check=True, timeout=PATIENCE, env=harness.CLEAN)
