"""What is wrong with the way to the cache, or with its size: the engine starts without it and says so once, with the
remedy; with `strict` it does not start."""

from __future__ import annotations

import logging
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from vllm.distributed.kv_transfer.kv_connector.v1.base import KVConnectorBase_V1

import reprise
from reprise.vllm.connector import RepriseConnector
from reprise.vllm.home import PrivateServer, home_of, open_cache, reachable
from reprise.vllm.settings import Settings

import harness
from harness import Answer, Daemon, Engine, prompts_of

Baseline = Callable[..., list[Answer]]


def come_home(**extra: Any) -> Any:
    """What a connector does to find the cache, without the engine around it."""
    connector: Any = RepriseConnector.__new__(RepriseConnector)
    connector._settings, connector._server = Settings.read(extra), None
    return connector._come_home("nobody")


@contextmanager
def said() -> Iterator[list[str]]:
    """Errors in the log meanwhile."""
    lines: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("vllm.reprise")
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


def both_ways(remedy: str, error: type[Exception], **extra: Any) -> None:
    with said() as lines:
        assert come_home(**extra) is None
    assert len(lines) == 1
    assert "runs without the cache" in lines[0]
    assert remedy in lines[0]
    with said() as lines, pytest.raises(error, match=remedy):
        come_home(**extra, strict=True)
    assert lines == []


def test_a_wrong_token(tmp_path: Path) -> None:
    auth, right, wrong = (tmp_path / name for name in ("auth.toml", "right", "wrong"))
    auth.write_text('[[tenant]]\nname = "team"\ncapacity = "64MiB"\ntokens = ["a1:0123456789abcdef"]\n')
    right.write_text("a1:0123456789abcdef\n")
    wrong.write_text("a1:fedcba9876543210\n")
    for path in (auth, right, wrong):
        path.chmod(0o600)
    with Daemon(tmp_path, "--l1-capacity", "64MiB", "--auth-file", str(auth)) as daemon:
        both_ways("its secret is wrong", reprise.DeniedError, cache_url=daemon.url, attach_token_file=str(wrong))
        come_home(cache_url=daemon.url, attach_token_file=str(right), strict=True).close()


def test_a_daemon_of_another_version(tmp_path: Path) -> None:
    with later_version(tmp_path / "reprise.sock") as url:
        both_ways("install the same release", reprise.VersionError, cache_url=url)


def test_a_socket_that_is_none(tmp_path: Path) -> None:
    with said() as lines:
        come_home(cache_url=f"unix://{tmp_path}/nothing.sock", load_timeout=0.2)
    assert len(lines) == 1
    assert "nobody answers" in lines[0]
    assert f"`reprise serve --listen-unix {tmp_path}/nothing.sock`" in lines[0]
    (tmp_path / "file").write_text("")
    with said() as lines:
        come_home(cache_url=f"unix://{tmp_path}/file", load_timeout=0.2)
    assert len(lines) == 1


def test_a_server_that_refuses_its_settings() -> None:
    """The log of the engine has the server's own words."""
    both_ways("no-such-policy", reprise.ConfigError, l1_policy="no-such-policy")


def test_an_unknown_name() -> None:
    """Refused in any case: the engine would run without the cache, and nobody would look why."""
    with pytest.raises(reprise.ConfigError, match="did you mean '--l1-capacity'"):
        come_home(l1_capcity="1GiB")


def test_a_cache_node_that_is_away() -> None:
    """Memory in front of it serves."""
    settings = Settings.read({"l1_capacity": "64MiB", "l2_url": "tcp://127.0.0.1:9", "server_drain_timeout": "0ms"})
    server = PrivateServer(settings, "before-nobody")
    try:
        assert server.wait_ready(60)
        cache = open_cache(home_of(settings, "before-nobody"), 10)
        assert reachable(cache)
        cache.close()
    finally:
        server.stop()


def test_blocks_that_do_not_fit(model: Path, baseline: Baseline) -> None:
    """A whole engine, both ways. A block of it has 48 KiB."""
    prompts = prompts_of(300, 320)
    expected = baseline(prompts)
    extra = {"l1_capacity": "16KiB", "start_timeout": 60}
    with said() as lines, Engine(model, extra) as engine:
        assert engine.ask(prompts) == expected
        assert engine.ask(prompts) == expected
        assert engine.connector._server is None  # It would be there for nothing.
    assert len(lines) == 1
    assert "raise l1_capacity" in lines[0]
    with pytest.raises(ValueError, match="raise l1_capacity"), Engine(model, {**extra, "strict": True}):
        pass
    harness.clean_up()


def test_another_connector_around_it_that_ends_requests() -> None:
    """vLLM's own class, with the connector in its place but for the rest of it."""
    from vllm.distributed.kv_transfer.kv_connector.v1.multi_connector import MultiConnector

    def made(policy: str, strict: bool) -> None:
        class Inside:
            def __init__(self, config: Any, role: Any, kv_cache_config: Any) -> None:
                connector: Any = RepriseConnector.__new__(RepriseConnector)
                connector._settings = Settings(strict=strict)
                connector._look_around()
                raise StopIteration

        outside: Any = MultiConnector.__new__(MultiConnector)
        outside._get_connector_classes_and_configs = lambda config: [(Inside, config)]
        config = SimpleNamespace(kv_transfer_config=SimpleNamespace(kv_load_failure_policy=policy))
        with pytest.raises(StopIteration), mock.patch.object(KVConnectorBase_V1, "__init__"):
            outside.__init__(config, None, None)

    with said() as lines:
        made("fail", False)
    assert len(lines) == 1
    assert "recompute" in lines[0]
    with pytest.raises(reprise.ConfigError, match="recompute"):
        made("fail", True)
    with said() as lines:
        made("recompute", True)
    assert lines == []


@contextmanager
def later_version(path: Path) -> Iterator[str]:
    """A peer whose frames have version 2."""
    frame = struct.pack("<IBBHQIIQQ", 0x31525052, 2, 0, 2, 1, 0, 0xFFFFFFFF, 0, 0)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                with peer:
                    peer.recv(4096)
                    peer.sendall(frame)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"unix://{path}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(harness.PATIENCE)
