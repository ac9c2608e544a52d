"""Where the cache is: a private server of the scheduler's process, or a daemon that is there already.

The scheduler side owns a `PrivateServer` and tells the workers where it is. Any thread may call anything.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .. import _native
from .._errors import ConfigError
from .settings import Settings

logger = logging.getLogger("vllm.reprise")

_RESTARTS = 5  # Of a server that ended by itself; after that the engine goes on without.


@dataclass(frozen=True)
class Home:
    """Where the cache is."""

    url: str
    options: tuple[tuple[str, str], ...] = ()
    """Of `Cache.open`."""


def socket_dir(engine_id: str) -> Path:
    """The private folder of an engine."""
    name = hashlib.sha256(engine_id.encode()).hexdigest()[:24]
    return Path(tempfile.gettempdir()) / f"reprise-{os.getuid()}-{name}"


def home_of(settings: Settings, engine_id: str) -> Home:
    """Where scheduler and workers attach."""
    url = settings.cache_url or f"unix://{socket_dir(engine_id)}/reprise.sock"
    return Home(url, tuple(settings.attach_options().items()))


def open_cache(home: Home, wait: float) -> _native.Cache:
    """Attaches; waits for the server for `wait` seconds at most, then returns a cache that finds it later."""
    options: dict[str, float | str] = {"attach_timeout": wait, **dict(home.options)}
    return _native.Cache.open(home.url, **options)


def reachable(cache: _native.Cache) -> bool:
    """Whether somebody answers, be it that the tier behind hangs or is away."""
    ns = _native.Namespace(model="none", revision="none", dtype="none", layout="none", block_tokens=1, block_bytes=1,
                           layers=range(0, 1), heads=range(0, 1), salt="")
    answer = cache.match(_native.Chain(ns, bytes(16)), timeout=5.0)
    if answer.reason in (_native.Reason.TIMEOUT, _native.Reason.UNAVAILABLE):
        return bool(cache.stats().l1.capacity_bytes)
    return True


class PrivateServer:
    """`reprise serve` as a child that ends with this process, started anew a few times if it ends by itself."""

    def __init__(self, settings: Settings, engine_id: str) -> None:
        self._dir = socket_dir(engine_id)
        self._flags = settings.server_flags()
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._failed = threading.Event()
        self._said: deque[str] = deque(maxlen=8)  # Its last lines: a log that is gathered elsewhere often lacks stderr.
        self.refusal = ""
        """Why it did not start, in its own words, where it refused what it was given."""
        _remove_left_behind(self._dir.parent)
        # The child is tied to the thread that starts it, so that one lives as long as the server is wanted.
        self._keeper = threading.Thread(target=self._keep, name="reprise-home", daemon=True)
        self._keeper.start()

    @property
    def failed(self) -> bool:
        """It does not run and is not started any more: what it said about it is on stderr."""
        return self._failed.is_set()

    @property
    def misspelt(self) -> bool:
        """It refused words that it does not know: nothing on this machine would make them right."""
        return self.refusal.startswith("reprise serve: ")

    @property
    def pid(self) -> int | None:
        """Process id of the running server."""
        with self._lock:
            return self._child.pid if self._child else None

    def wait_ready(self, seconds: float) -> bool:
        """True once it listens; False when it has failed or the time is up."""
        deadline = time.monotonic() + seconds
        path = self._dir / "reprise.sock"
        while not _listens(path):
            if self._failed.wait(0.02) or time.monotonic() > deadline:
                return False
        return True

    def stop(self, seconds: float = 12.0) -> None:
        """Ends the server, which writes to L2 what it holds; by force if that takes longer than `seconds`."""
        self._stopping.set()
        with self._lock:
            child = self._child
        if child:
            child.terminate()
            try:
                child.wait(seconds)
            except subprocess.TimeoutExpired:
                child.kill()
        self._keeper.join(5.0)
        shutil.rmtree(self._dir, ignore_errors=True)

    def _keep(self) -> None:
        try:
            self._restart()
        except Exception as error:
            logger.error("Reprise: the private cache server cannot be started: %s", error)
            self._failed.set()

    def _restart(self) -> None:
        for attempt in range(_RESTARTS + 1):
            began = time.monotonic()
            code = self._run()
            if self._stopping.is_set():
                return
            refused = code > 0 and time.monotonic() - began < 1.0  # What it was given cannot work.
            if refused and attempt == 0:
                self.refusal = " ".join(line for line in self._said if "--help" not in line)[:500]
                break  # Whoever waits for it says so.
            logger.error("Reprise: the private cache server ended with code %s", code)
            if refused:
                break
            self._stopping.wait(0.2 * 2**attempt)
            if self._stopping.is_set():
                return
        self._failed.set()

    def _run(self) -> int:
        with self._lock:
            if self._stopping.is_set():
                return 0
            _make_private(self._dir)
            (self._dir / "reprise.sock").unlink(missing_ok=True)
            # A session of its own: Ctrl-C is for the engine, which ends the server when it has no more need of it.
            self._child = child = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                                   env=_environment(), start_new_session=True)
        self._said.clear()
        teller = threading.Thread(target=_repeat, args=(child.stderr, self._said), name="reprise-says", daemon=True)
        teller.start()
        code = child.wait()
        teller.join(1.0)
        return code

    def _command(self) -> list[str]:
        binary = Path(_native.__file__).parent / "bin" / "reprise"
        guard = Path(__file__).parent / "_guard.py"
        server = [str(binary), "serve", "--listen-unix", str(self._dir / "reprise.sock"), "--listen-admin", ""]
        return [sys.executable, "-I", "-S", str(guard), str(os.getpid()), *server, *self._flags]


def _repeat(told: IO[bytes], last: deque[str]) -> None:
    """What a server says goes on to this process's stderr; the last lines are kept."""
    for line in told:
        with contextlib.suppress(OSError):
            os.write(2, line)
        last.append(line.decode(errors="replace").strip())


def _environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}  # An engine preloads libraries for itself.


def _listens(path: Path) -> bool:
    """A socket is there a moment before anybody listens at it."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(0.2)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _remove_left_behind(parent: Path) -> None:
    """Folders of engines that were killed: empty ones, and those with an old socket at which nobody listens."""
    for folder in parent.glob(f"reprise-{os.getuid()}-*"):
        try:
            if time.time() - folder.stat().st_mtime > 60.0:  # A server that starts has no socket yet.
                folder.rmdir()
        except OSError:
            continue  # Not empty.
    for path in parent.glob(f"reprise-{os.getuid()}-*/reprise.sock"):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(0.2)
            try:
                old = time.time() - path.stat().st_mtime > 60.0  # A server that starts does not listen at once.
                probe.connect(str(path))
            except ConnectionRefusedError:
                if old:
                    shutil.rmtree(path.parent, ignore_errors=True)
            except OSError:
                continue


def _make_private(path: Path) -> None:
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise ConfigError(f"{path} is not a folder of this user: remove it, or set TMPDIR") from None
        path.chmod(0o700)
