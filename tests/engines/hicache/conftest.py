"""What the tests of engines share: servers of this tree, ended by their process id."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest


class Daemon:
    """`python -m reprise serve` on a Unix socket in `folder`."""

    def __init__(self, folder, *flags):
        self.socket = folder / "s.sock"
        self.url = f"unix://{self.socket}"
        environment = {key: value for key, value in os.environ.items() if not key.startswith("REPRISE_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "reprise", "serve", "--listen-unix", str(self.socket), "--listen-admin", "",
             "--l1-capacity", "64MiB", *flags], cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()  # Where it listens is said once it does.
        assert self.socket.exists(), line

    def signal(self, number):
        self.process.send_signal(number)

    def end(self):
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        try:
            self.process.wait(30)
        finally:
            self.process.stderr.close()


@pytest.fixture
def daemon(tmp_path):
    started = Daemon(tmp_path)
    try:
        yield started
    finally:
        started.end()


@pytest.fixture
def daemons(tmp_path_factory):
    """Makes as many as are asked for, each in a folder of its own or in one that is given."""
    with contextlib.ExitStack() as stack:
        def make(*flags, folder=None):
            started = Daemon(folder or tmp_path_factory.mktemp("daemon"), *flags)
            stack.callback(started.end)
            return started
        yield make


@pytest.fixture
def open_backend():
    """Backends over a pool each, closed in the end. `more`: settings, or rank, ranks, model."""
    from reprise.sglang import RepriseHiCache

    from sglang_pools import SMALL, storage_config

    made = []

    def make(pool, *, mla=False, **more):
        config = {name: more.pop(name) for name in ("rank", "ranks", "model") if name in more}
        backend = RepriseHiCache(storage_config({**SMALL, **more}, mla=mla, layout=pool.layout, **config), {})
        backend.register_mem_pool_host(pool)
        backend.on_host_pools_registered()
        made.append(backend)
        return backend

    yield make
    for backend in made:
        backend.close()


@pytest.fixture
def open_controller():
    """SGLang's controllers with the backend attached, detached in the end."""
    from sglang_pools import SMALL, controller, dynamic

    made = []

    def make(pool, backend="dynamic", **settings):
        made.append(controller(pool, backend, dynamic(**{**SMALL, **settings})))
        return made[-1]

    yield make
    for control in made:
        control.detach_storage_backend()
