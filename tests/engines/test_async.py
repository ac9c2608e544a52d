"""Loads beside the steps, in real engines: answers are those of an engine without connector, bit for bit, and whatever
happens while a request is parked, it is answered and its blocks are nobody else's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import harness
from harness import BLOCK, PATIENT, Answer, Engine, prompts_of

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
