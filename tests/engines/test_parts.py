"""The connector's parts without an engine: layouts of KV tensors, settings, the private server's life."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

import reprise
from reprise.vllm.home import PrivateServer, home_of, open_cache, socket_dir
from reprise.vllm.layouts import UnknownLayout, layout_of
from reprise.vllm.settings import Settings

from harness import eventually
from kv_tables import BLOCKS, LAYOUTS, filled, of_blocks


@pytest.mark.parametrize("name", LAYOUTS)
def test_blocks_come_back_as_they_were(name: str) -> None:
    tensors, dim = LAYOUTS[name]
    tensors = [t.view(torch.uint8) if t.dtype == torch.float8_e4m3fn else t for t in tensors]
    caches = {f"model.layers.{i}.attn": t for i, t in enumerate(tensors)}
    layout = layout_of(caches, list(caches), BLOCKS)
    before = [t.clone() for t in tensors]
    blocks = bytearray(3 * layout.pieces.block_bytes)
    assert len(blocks) == 3 * sum(t[0].nbytes if dim == 0 else t[:, 0].nbytes for t in tensors) * (
        tensors[0].shape[dim] // BLOCKS)
    assert layout.pieces.gather([4, 0, 3], blocks) == 3
    for tensor in tensors:
        tensor.zero_()
    layout.pieces.scatter([1, 2, 5], blocks)
    ratio = tensors[0].shape[dim] // BLOCKS

    def rows(ids: list[int]) -> list[int]:
        return [i * ratio + k for i in ids for k in range(ratio)]

    for tensor, was in zip(tensors, before, strict=True):
        assert torch.equal(of_blocks(tensor, dim, rows([1, 2, 5])), of_blocks(was, dim, rows([4, 0, 3])))
        assert not of_blocks(tensor, dim, rows([0, 3, 4])).any()
        tensor.copy_(was)


def test_layouts_have_different_names() -> None:
    names = set()
    for tensors, _ in LAYOUTS.values():
        caches = {str(i): t for i, t in enumerate(tensors)}
        names.add(layout_of(caches, list(caches), BLOCKS).name)
    # Three have the same bytes in a block as another one, only at other distances.
    assert len(names) == len(LAYOUTS) - 3


def test_permuted_dimensions_cost_no_pieces() -> None:
    tensors, _ = LAYOUTS["heads before tokens"]
    caches = {str(i): t for i, t in enumerate(tensors)}
    assert layout_of(caches, list(caches), BLOCKS).pieces.num_pieces == len(tensors)


@pytest.mark.parametrize("tensor", [filled(7, 5, 4), [filled(BLOCKS, 4)], None, filled(3, BLOCKS, 4, 4)])
def test_an_unknown_layout_is_named(tensor: object) -> None:
    with pytest.raises(UnknownLayout, match="model.layers.0.attn"):
        layout_of({"model.layers.0.attn": tensor}, ["model.layers.0.attn"], BLOCKS)


def test_settings() -> None:
    read = Settings.read({"l1_capacity": "1GiB", "l2.url": "disk:/x", "l1-huge-pages": False, "strict": "true",
                          "lookup_timeout": 1, "attach_connections": 2})
    assert read.strict and read.lookup_timeout == 1.0
    flags = read.server_flags()
    assert flags == ["--l1-capacity", "1GiB", "--l2-url", "disk:/x", "--l1-huge-pages", "false"]
    assert read.attach_options() == {"attach_connections": "2"}
    with pytest.raises(reprise.ConfigError, match="did you mean 'l1_capacity'"):
        Settings.read({"capacity": "1GiB"})
    with pytest.raises(reprise.ConfigError, match="unix:"):
        Settings.read({"cache_url": "http://x"})
    with pytest.raises(reprise.ConfigError, match="daemon's affair"):
        Settings.read({"cache_url": "unix:///x", "l1_capacity": "1GiB"})
    with pytest.raises(reprise.ConfigError, match="between 0 and 3600"):
        Settings.read({"load_timeout": -1})


def test_the_private_server_is_started_again_and_stopped() -> None:
    settings = Settings.read({"l1_capacity": "16MiB"})
    server = PrivateServer(settings, "an-engine")
    try:
        assert server.wait_ready(60)
        assert oct(socket_dir("an-engine").stat().st_mode & 0o777) == "0o700"
        first = server.pid
        with open_cache(home_of(settings, "an-engine"), 10.0) as cache:
            assert cache.stats().l1.capacity_bytes == 16 << 20
            assert first is not None
            os.kill(first, 9)
            eventually(lambda: server.pid not in (None, first), "it is started again")
            eventually(lambda: cache.stats().l1.capacity_bytes == 16 << 20, "it is found again")
    finally:
        server.stop()
    assert not socket_dir("an-engine").exists()
    assert server.pid is None or not Path(f"/proc/{server.pid}").exists()


def test_a_server_is_not_ready_before_it_listens(tmp_path: Path) -> None:
    server = PrivateServer.__new__(PrivateServer)
    server._dir, server._failed = tmp_path, threading.Event()
    with socket.socket(socket.AF_UNIX) as there:
        there.bind(str(tmp_path / "reprise.sock"))
        assert not server.wait_ready(0)
        there.listen()
        assert server.wait_ready(60)


def test_the_private_server_ends_with_its_parent() -> None:
    program = ("import sys, time; from reprise.vllm.home import PrivateServer; "
               "from reprise.vllm.settings import Settings; "
               "s = PrivateServer(Settings.read({'l1_capacity': '16MiB'}), 'orphan'); "
               "assert s.wait_ready(60); print(s.pid, flush=True); time.sleep(600)")
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert parent.stdout
    pid = int(parent.stdout.readline())
    assert Path(f"/proc/{pid}").exists()
    parent.kill()
    parent.wait(60)
    eventually(lambda: not _running(pid), "the server ends")


def test_a_folder_left_behind_is_removed() -> None:
    left = socket_dir("killed")
    left.mkdir(mode=0o700, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as once:
        once.bind(str(left / "reprise.sock"))
    os.utime(left / "reprise.sock", (1, 1))
    alive = PrivateServer(Settings.read({"l1_capacity": "16MiB"}), "alive")
    try:
        assert alive.wait_ready(60)
        assert not left.exists()
        other = PrivateServer(Settings.read({"l1_capacity": "16MiB"}), "other")
        assert other.wait_ready(60)
        other.stop()
        assert socket_dir("alive").exists()
    finally:
        alive.stop()


def test_options_that_cannot_work_fail_at_once() -> None:
    settings = Settings.read({"l1_policy": "none-such"})
    server = PrivateServer(settings, "broken")
    try:
        assert not server.wait_ready(60)
        assert server.failed
    finally:
        server.stop()
    assert home_of(settings, "broken").url.startswith("unix:///")


def _running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_the_private_server_is_not_interrupted_with_the_engine() -> None:
    program = ("import os, signal; from reprise.vllm.home import PrivateServer; "
               "from reprise.vllm.settings import Settings; "
               "s = PrivateServer(Settings.read({'l1_capacity': '16MiB'}), 'interrupted'); "
               "assert s.wait_ready(60); signal.signal(signal.SIGINT, signal.SIG_IGN); first = s.pid; "
               "os.killpg(0, signal.SIGINT); s._child_ended = s._keeper.join(1.0); "
               "print(first == s.pid and os.getpgid(first) != os.getpgid(0)); s.stop()")
    parent = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, timeout=120,
                            start_new_session=True)
    assert parent.stdout.split() == [b"True"]


def test_a_folder_that_cannot_be_made_is_a_failure_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    server = PrivateServer(Settings.read({"l1_capacity": "16MiB"}), "nowhere")
    assert not server.wait_ready(60)
    assert server.failed
    server.stop()


def test_empty_folders_of_engines_that_were_killed_are_removed(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left, starting = socket_dir("killed"), socket_dir("starting")
    for folder in (left, starting):
        folder.mkdir(mode=0o700)
    os.utime(left, (1, 1))
    server = PrivateServer(Settings.read({"l1_policy": "none-such"}), "broken")
    server.stop()
    assert not left.exists()
    assert starting.exists()


def test_a_server_that_is_not_ready_in_time_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from reprise.vllm.connector import RepriseConnector

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    connector = RepriseConnector.__new__(RepriseConnector)
    connector._settings = Settings.read({"l1_capacity": "16MiB", "start_timeout": 0})
    connector._server = None
    assert connector._come_home("slow") is None
    assert connector._server is None
    assert not socket_dir("slow").exists()
