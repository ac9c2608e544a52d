"""RepriseConnector in real engines: the answers are those of an engine without it, bit for bit, and most of each
prompt comes from the cache."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import harness
from harness import PATIENT, Answer, Daemon, Engine, ideal, prompts_of

Baseline = Callable[..., list[Answer]]
PRIVATE = {"l1_capacity": "256MiB", "strict": True, **PATIENT}
LENGTHS = (300, 320, 33, 32, 500)  # Two are whole blocks.


def hits(answers: list[Answer]) -> int:
    return sum(answer.cached for answer in answers)


def check(answers: list[Answer], expected: list[Answer], prompts: list[list[int]]) -> None:
    assert answers == expected
    assert hits(answers) >= 0.98 * ideal(prompts)


def test_everything_stored(model: Path, baseline: Baseline) -> None:
    prompts = prompts_of(*LENGTHS)
    expected = baseline(prompts)
    with Engine(model, PRIVATE) as engine:
        assert engine.connector.requires_kv_delivery is False
        first = engine.ask(prompts)
        assert first == expected
        assert hits(first) == 0
        check(engine.ask(prompts), expected, prompts)
        assert engine.metric("external_prefix_cache_hits") == ideal(prompts)
        assert engine.metric("reprise_loaded_blocks") == ideal(prompts) // harness.BLOCK
        assert engine.metric("reprise_loaded_bytes") == ideal(prompts) * 3 * 2 * 2 * 32 * 4
        assert engine.metric("reprise_saved_blocks") == sum(len(p) // harness.BLOCK for p in prompts)
        engine.forget(connector=True)
        again = engine.ask(prompts)
        assert again == expected
        assert hits(again) == 0  # What was stored before the reset is not found any more.


def test_shared_prefixes(model: Path, baseline: Baseline) -> None:
    prompts = prompts_of(300, 310, 352, 420, prefix=256)
    expected = baseline(prompts)
    with Engine(model, PRIVATE) as engine:
        first = engine.ask(prompts)
        assert first == expected
        assert [a.cached for a in first] == [0, 256, 256, 256]
        check(engine.ask(prompts), expected, prompts)
        together = engine.ask(prompts, at_once=True)
        assert together == expected


def test_chunked_prefill(model: Path, baseline: Baseline) -> None:
    prompts = prompts_of(*LENGTHS, 700)
    expected = baseline(prompts)
    with Engine(model, PRIVATE, max_num_batched_tokens=96) as engine:
        assert engine.ask(prompts, at_once=True) == expected
        check(engine.ask(prompts), expected, prompts)
        check(engine.ask(prompts, at_once=True), expected, prompts)


def test_preemption(model: Path, baseline: Baseline) -> None:
    prompts = prompts_of(250, 260, 270, 280, seed=11)
    expected = baseline(prompts, 150)
    with Engine(model, PRIVATE, num_gpu_blocks_override=40) as engine:
        for _ in range(2):
            assert engine.ask(prompts, tokens=150, at_once=True) == expected
        assert engine.metric("num_preemptions") > 0
        check(engine.ask(prompts, tokens=150), expected, prompts)
        engine.park(0)
        before = engine.metric("num_preemptions")
        assert engine.ask(prompts, tokens=150, at_once=True) == expected
        assert engine.metric("num_preemptions") > before
        check(engine.ask(prompts, tokens=150), expected, prompts)
        assert engine.leases == 0


def test_aborted_requests_leave_nothing(model: Path, baseline: Baseline) -> None:
    prompts = prompts_of(300, 320, 500, 310, 420, 200)
    expected = baseline(prompts)
    with Engine(model, PRIVATE, max_num_seqs=2) as engine:
        engine.ask(prompts)
        for above in (None, 0):
            engine.park(above)
            names = engine.begin(prompts)
            engine.step()
            engine.abort(names[::2])
            engine.step()
            engine.abort(names[1::2])
            assert engine.finish() == []
            harness.eventually(lambda: engine.step() or engine.leases == 0, "all leases are given back")
        check(engine.ask(prompts), expected, prompts)


def test_two_engines_on_one_daemon_and_its_disk(model: Path, baseline: Baseline, tmp_path: Path,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ["--l1-capacity", "256MiB", "--l2-url", f"disk:{tmp_path}/disk?capacity=1GiB"]
    prompts = prompts_of(*LENGTHS)
    expected = baseline(prompts)
    with Daemon(tmp_path, *flags) as daemon:
        extra = {"cache_url": daemon.url, "strict": True, **PATIENT}
        with Engine(model, extra) as engine:
            elsewhere = harness.elsewhere(model, daemon.url, *LENGTHS)
            assert elsewhere == expected
            assert hits(elsewhere) == 0
            check(engine.ask(prompts), expected, prompts)
        daemon.stop()
    with Daemon(tmp_path, *flags) as daemon, Engine(model, extra) as engine:
        put_off = watch_answers(engine, monkeypatch)
        check(engine.ask(prompts), expected, prompts)
        assert None in put_off  # The scheduler went on while the disk was read.
        daemon.stop()
    flipped = flip_bytes(tmp_path / "disk")
    assert flipped > 0
    with Daemon(tmp_path, *flags) as daemon, Engine(model, extra) as engine:
        damaged = engine.ask(prompts)
        assert damaged == expected
        assert hits(damaged) < ideal(prompts)  # Found to be wrong, and computed instead.
        check(engine.ask(prompts), expected, prompts)


def test_tensor_parallel(model: Path, baseline: Baseline) -> None:
    prompts = prompts_of(*LENGTHS)
    with Engine(model, None, tensor_parallel_size=2) as engine:
        expected = engine.ask(prompts)  # Sums in another order than those of one rank: not the same last bits.
    assert [answer.tokens for answer in expected] == [answer.tokens for answer in baseline(prompts)]
    with Engine(model, PRIVATE, tensor_parallel_size=2) as engine:
        first = engine.ask(prompts)
        assert first == expected
        assert hits(first) == 0
        check(engine.ask(prompts), expected, prompts)
        engine.park(0)
        check(engine.ask(prompts), expected, prompts)
        check(engine.ask(prompts, at_once=True), expected, prompts)
        assert engine.leases == 0


@pytest.mark.parametrize("park_above", ["never", "0"])
def test_the_server_goes_away(model: Path, baseline: Baseline, park_above: str) -> None:
    prompts = prompts_of(300, 320, 500, 310, 420, 200)
    expected = baseline(prompts)
    extra = {"l1_capacity": "256MiB", "lookup_timeout": 0.2, "load_timeout": 0.5, "store_timeout": 0.2,
             "async_load_above": park_above}
    with Engine(model, extra) as engine:
        for what in (signal.SIGSTOP, signal.SIGKILL):
            harness.eventually(
                lambda: engine.ask(prompts) == expected and hits(engine.ask(prompts)) >= ideal(prompts), "it is used")
            pid = engine.connector._server.pid
            with harness.hold_loads() if park_above == "0" else nullcontext(threading.Event()) as gate:
                # Some requests are promised blocks by now that are not read yet.
                answers = during(engine, prompts, 2, partial(os.kill, pid, what), gate.set)
            assert answers == expected
            assert engine.ask(prompts[:3]) == expected[:3]
            if what == signal.SIGSTOP:
                os.kill(pid, signal.SIGCONT)
        harness.eventually(lambda: engine.ask(prompts) == expected and hits(engine.ask(prompts)) >= ideal(prompts),
                           "it is used again")
        harness.eventually(lambda: engine.step() or engine.leases == 0, "all leases are given back")


def test_a_load_that_fails_is_computed(model: Path, baseline: Baseline) -> None:
    prompts = prompts_of(*LENGTHS)
    expected = baseline(prompts)
    with Engine(model, PRIVATE) as engine:
        engine.ask([prompt[:200] for prompt in prompts])  # What comes behind is computed in the step that loads this.
        with harness.fail_loads() as calls:
            assert engine.ask(prompts) == expected
            assert 0 < len(calls) <= len(prompts)
            assert engine.ask(prompts) == expected
            assert len(calls) <= 2 * len(prompts)
        check(engine.ask(prompts), expected, prompts)  # Nothing of those steps was stored.
        check(engine.ask(prompts, at_once=True), expected, prompts)


def test_nobody_computes_on_a_load_that_failed_whose_request_is_gone(model: Path, baseline: Baseline) -> None:
    prompts = prompts_of(300, 310, prefix=256)
    expected = baseline(prompts)
    with Engine(model, PRIVATE) as engine:
        engine.ask(prompts[:1])
        with harness.fail_loads() as calls:
            names = engine.begin(prompts)
            engine.step()
            assert len(calls) == 1
            engine.abort(names[:1])
            assert engine.finish() == expected[1:]
        engine.forget(connector=True)
        engine.ask(prompts[:1])
        with harness.fail_loads():
            names = engine.begin(prompts[:1])
            engine.step()
            engine.abort(names)
        engine.step()
        assert engine._generate(prompts[:1], 12) == expected[:1]  # vLLM's own cache has nothing of it.
        assert engine.ask(prompts) == expected  # Nor was any of it stored.


def test_a_daemon_that_is_not_there(model: Path, baseline: Baseline, tmp_path: Path) -> None:
    prompts = prompts_of(300, 320)
    expected = baseline(prompts)
    extra = {"cache_url": f"unix://{tmp_path}/reprise.sock", "load_timeout": 0.5}
    with pytest.raises(ConnectionError, match="nobody answers"), Engine(model, {**extra, "strict": True}):
        pass
    harness.clean_up()
    with Engine(model, extra) as engine:
        assert engine.ask(prompts) == expected
        with Daemon(tmp_path, "--l1-capacity", "64MiB"):  # It comes later.
            harness.eventually(lambda: engine.ask(prompts) == expected and hits(engine.ask(prompts)) == ideal(prompts),
                               "the daemon is used")


def test_wrong_bytes_would_be_seen(model: Path, baseline: Baseline, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other tests have teeth: one byte that is wrong changes what comes out."""
    from reprise.vllm.worker.side import WorkerSide

    prompts = prompts_of(*LENGTHS)
    expected = baseline(prompts)

    def flipped(self: Any, load: Any, cache: Any) -> bool:
        pieces = self._layouts[0].pieces
        with cache.attach(load.token) as lease:
            for i, block_id in enumerate(load.pieces[0].block_ids):
                wrong = bytearray(lease[i])
                wrong[7] ^= 0x40  # The exponent of one number.
                pieces.scatter([block_id], [wrong])
        return True

    with Engine(model, PRIVATE) as engine:
        engine.ask(prompts)
        monkeypatch.setattr(WorkerSide, "_load", flipped)
        assert engine.ask(prompts) != expected


def during(engine: Engine, prompts: list[list[int]], after: int, *do: Callable[[], None]) -> list[Answer]:
    """Answers to prompts given all at once, with something done after so many steps."""
    engine.begin(prompts)
    early: dict[str, Answer] = {}
    for _ in range(after):
        early.update(engine.step())
    assert early == {}
    for action in do:
        action()
    return engine.finish()


def watch_answers(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """What the scheduler is told from now on."""
    told: list[int | None] = []
    ask = engine.connector.get_num_new_matched_tokens

    def asked(request: Any, computed: int) -> tuple[int | None, bool]:
        answer: tuple[int | None, bool] = ask(request, computed)
        told.append(answer[0])
        return answer

    monkeypatch.setattr(engine.connector, "get_num_new_matched_tokens", asked)
    return told


def flip_bytes(folder: Path) -> int:
    """Changes bytes all over the files of a disk tier; how many."""
    count = 0
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_size > 1 << 16:
            with path.open("r+b") as file:
                size = path.stat().st_size
                for at in range(8192 + 100, size, 50000):
                    file.seek(at)
                    byte = file.read(1)
                    if byte and byte != b"\0":
                        file.seek(at)
                        file.write(bytes([byte[0] ^ 0x40]))
                        count += 1
    return count
