"""Loads beside the steps, in real engines: answers are those of an engine without connector, bit for bit, and whatever
happens while a request is parked, it is answered and its blocks are nobody else's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import harness
from harness import BLOCK, PATIENT, Answer, Engine, fail_loads, hold_loads, prompts_of, worker

Baseline = Callable[..., list[Answer]]
ALWAYS = {"l1_capacity": "256MiB", "strict": True, "async_load_above": "0", **PATIENT}
LENGTHS = (300, 320, 33, 32, 500, 700)  # Two are whole blocks: all of them comes, and the last token is computed.


ALL = prompts_of(*LENGTHS)
SHARED = prompts_of(300, 310, 352, 420, prefix=256)


def whole(prompts: list[list[int]]) -> int:
    """Tokens of whole blocks: an asynchronous load may bring the last one."""
    return sum(len(p) // BLOCK * BLOCK for p in prompts)


def check(answers: list[Answer], expected: list[Answer], prompts: list[list[int]]) -> None:
    assert answers == expected
    assert sum(a.cached for a in answers) >= 0.98 * whole(prompts)


@pytest.fixture(scope="module")
def engine(model: Path, baseline: Baseline) -> Iterator[Engine]:
    """Prompts are computed in chunks, and all that is found is read beside the steps."""
    baseline([*ALL, *SHARED])  # There is one engine at a time in a process.
    with Engine(model, ALWAYS, max_num_batched_tokens=96) as engine:
        yield engine
        engine.begin(ALL)  # It is ended while requests are parked.
        engine.step()


@pytest.fixture(autouse=True)
def _nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "engine" in request.fixturenames:
        engine = request.getfixturevalue("engine")
        assert engine.connector._scheduler._parked._loading == {}
        harness.eventually(lambda: engine.leases == 0, "all leases are given back")
        engine.forget(connector=True)


def test_everything_comes_beside_the_steps(engine: Engine, baseline: Baseline) -> None:
    expected = baseline(ALL)
    assert engine.ask(ALL, at_once=True) == expected
    check(engine.ask(ALL), expected, ALL)
    check(engine.ask(ALL, at_once=True), expected, ALL)
    assert engine.metric("reprise_failed_blocks") == 0


def test_shared_prefixes(engine: Engine, baseline: Baseline) -> None:
    expected = baseline(SHARED)
    assert engine.ask(SHARED) == expected
    check(engine.ask(SHARED), expected, SHARED)
    assert engine.ask(SHARED, at_once=True) == expected


def test_a_load_that_fails_is_computed(engine: Engine, baseline: Baseline) -> None:
    expected = baseline(ALL)
    engine.ask(ALL)
    with fail_loads() as calls:
        engine.begin(ALL)
        assert engine.finish() == expected
        assert 0 < len(calls) <= len(ALL)  # Not again and again.
        count = len(calls)
        assert engine.ask(ALL, at_once=True) == expected
        assert len(calls) <= 2 * count
    assert engine.ask(ALL) == expected
    check(engine.ask(ALL, at_once=True), expected, ALL)


def test_nobody_computes_on_a_load_that_failed_whose_request_is_gone(engine: Engine, baseline: Baseline) -> None:
    expected = baseline(SHARED)
    engine.ask(SHARED[:1])
    with fail_loads() as calls:
        names = engine.begin(SHARED)
        harness.eventually(lambda: engine.step() or calls, "the load is made")
        engine.abort(names[:1])
        assert engine.finish() == expected[1:]
    assert engine.ask(SHARED) == expected  # Nor was any of it stored.


def test_whoever_is_aborted_keeps_its_blocks_until_they_are_read(engine: Engine, baseline: Baseline) -> None:
    expected = baseline(ALL)
    engine.ask(ALL)
    engine.forget()
    free = free_blocks(engine)
    with hold_loads() as gate:
        names = engine.begin(ALL)
        parked = engine.connector._scheduler._parked._loading
        harness.eventually(lambda: engine.step() or len(parked) == len(ALL), "all are parked")
        held = free - free_blocks(engine)
        assert held >= whole(ALL) // BLOCK
        engine.abort(names[1:])
        for _ in range(5):
            engine.step()
        assert free - free_blocks(engine) == held  # The worker may write to them.
        assert not engine.llm.reset_prefix_cache()
        gate.set()
        (answer,) = engine.finish()
    assert answer == expected[0]
    harness.eventually(lambda: engine.step() or free_blocks(engine) == free, "the blocks are free")
    check(engine.ask(ALL), expected, ALL)


def test_a_reset_while_requests_are_parked(engine: Engine, baseline: Baseline) -> None:
    expected = baseline(ALL)
    engine.ask(ALL)
    with hold_loads() as gate:
        engine.begin(ALL)
        for _ in range(3):
            engine.step()
        assert not engine.llm.reset_prefix_cache(reset_connector=True)  # vLLM's own: blocks are in use.
        gate.set()
        assert engine.finish() == expected
    engine.forget()
    again = engine.ask(ALL)
    assert again == expected
    assert sum(a.cached for a in again) == 0  # Nothing of before was found or stored anew.


def test_loads_that_are_not_made_in_time(engine: Engine, baseline: Baseline, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = baseline(ALL)
    engine.ask(ALL)
    with monkeypatch.context() as slow:
        slow.setattr(worker()._loader, "_patience", -1.0)
        assert engine.ask(ALL, at_once=True) == expected
    assert engine.ask(ALL) == expected
    check(engine.ask(ALL), expected, ALL)


def free_blocks(engine: Engine) -> int:
    manager: Any = engine.llm.llm_engine.engine_core.engine_core.scheduler.kv_cache_manager
    count: int = manager.block_pool.get_num_free_blocks()
    return count
