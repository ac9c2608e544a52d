"""The programs of the demo: a daemon and servers, each with a log, ended by their process ids whatever happens."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

TOLD_EVERY = 15.0  # Seconds between signs of life.


class Failed(Exception):
    """The demo cannot go on; the text says why and where to look."""


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def free_port(wanted: int = 0) -> int:
    """`wanted` if nobody has it, else any free one of loopback."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return int(probe.getsockname()[1])
    raise Failed("no port of 127.0.0.1 is free")


def http_status(url: str) -> int:
    """Of a GET; 0 where nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


class Program:
    """A child in a session of its own, so that ctrl-C reaches the demo alone, which then ends its children in order."""

    def __init__(self, name: str, command: list[str], log: Path, **environment: str) -> None:
        self.name, self.log = name, log
        with log.open("ab") as out:
            self._child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                           cwd=log.parent, env={**os.environ, **environment}, start_new_session=True)

    def check(self) -> None:
        code = self._child.poll()
        if code is not None:
            end = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
            raise Failed(f"{self.name} ended with {code}; the end of {self.log}:\n{end}")

    def ask_to_end(self) -> None:
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """Ends it the way an operator would; after 15 seconds everything that it started, at once."""
        self.ask_to_end()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)  # What it left behind, and itself if it is still there.
        self._child.wait()


class Stage:
    """What runs. Leaving it ends everything."""

    def __init__(self) -> None:
        self._running: list[Program] = []

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):  # It ends already.
            signal.signal(each, signal.SIG_IGN)
        for program in self._running:
            program.ask_to_end()
        while self._running:
            self._running.pop().stop()

    def start(self, *arguments: Any, **environment: str) -> Program:
        self._running.append(Program(*arguments, **environment))
        return self._running[-1]

    def stop(self, program: Program) -> None:
        self._running.remove(program)
        program.stop()

    def wait(self, what: str, condition: Callable[[], bool], patience: float = 600) -> None:
        """Until `condition` holds; says how long it took, and fails where a program ended or `patience` is over."""
        began = told = time.monotonic()
        while not condition():
            for program in self._running:
                program.check()
            now = time.monotonic()
            if now - began > patience:
                raise Failed(f"{what}: not in {patience:.0f} s")
            if now - told > TOLD_EVERY:
                told = now
                say(f"  {what}: {now - began:.0f} s")
            time.sleep(0.1)
        if time.monotonic() - began > 2:
            say(f"{what}: {time.monotonic() - began:.0f} s")
