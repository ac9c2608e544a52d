"""How long a step of a worker may wait for a cache that is slow, without an engine."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from reprise.vllm.groups import Group, Piece
from reprise.vllm.plan import Load, Plan, Save
from reprise.vllm.settings import Settings
from reprise.vllm.worker.side import WorkerSide

PLAN = Plan([Load(name, b"t" * 16, 1, [Piece(0, 0, [at])]) for at, name in enumerate("abc")],
            [Save(name, 0, b"k" * 16, 0, [at]) for at, name in enumerate("abc")], number=7)


class Worker(WorkerSide):
    """One group. `outcomes`: of each load or reservation that is tried."""

    def __init__(self, outcomes: list[bool | Exception], **settings: Any) -> None:
        super().__init__(SimpleNamespace(), Settings(**settings), None)
        self.outcomes = outcomes
        self.settled: list[float] = []
        self._groups = [Group(("0",), "FullAttentionSpec", 32)]
        self._shards = (SimpleNamespace(block_bytes=64),)  # type: ignore[assignment]
        self._layouts = [SimpleNamespace(  # type: ignore[list-item]
            store=lambda room, ids: (1, 1), stored=lambda: None, begin_step=lambda: None, close=lambda: None,
            settle=self.settled.append)]

    def _open(self, home: Any) -> Any:
        return None

    def _next(self, *_: Any) -> Any:
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    _load = _room = _next


def test_what_is_quick_is_stored_whatever_the_patience() -> None:
    worker = Worker([True, True, True], store_timeout=0.0)
    worker.save(PLAN)
    assert worker.take_saved(PLAN) == (frozenset(), 96)


def test_a_step_waits_for_room_in_vain_once() -> None:
    worker = Worker([TimeoutError("no room"), True, True], store_timeout=0.0)
    worker.save(PLAN)
    assert worker.outcomes == [True, True]
    assert worker.take_saved(PLAN)[0] == {0, 1, 2}
    worker = Worker([OSError("refused at once"), True, True], store_timeout=60.0)
    worker.save(PLAN)
    assert worker.take_saved(PLAN)[0] == {0}


def test_what_is_known_of_another_plan_is_not_taken_for_this_one() -> None:
    worker = Worker([True, True, True])
    worker.save(PLAN)
    later = Plan([], PLAN.saves[:2], number=8)
    assert worker.take_saved(later)[0] == {0, 1}


@pytest.mark.parametrize(("timeout", "tried"), [(0.0, 1), (60.0, 3)])
def test_a_step_waits_for_a_daemon_in_vain_once(timeout: float, tried: int) -> None:
    worker = Worker([OSError("no answer"), True, True], load_timeout=timeout)
    worker.load(PLAN)
    assert 3 - len(worker.outcomes) == tried
    assert worker.take_failed() == ({0, 1, 2} if tried == 1 else {0})
    worker.save(PLAN)  # Nothing, of a step of which a load has failed.
    assert worker.take_saved(PLAN)[0] == {0, 1, 2}


def test_what_is_to_be_flushed_is_in_the_cache_when_the_step_is_over() -> None:
    worker = Worker([True] * 6)
    worker.save(PLAN)
    assert not worker.settled
    worker.save(Plan([], PLAN.saves, number=8, settle=True))
    assert len(worker.settled) == 1
