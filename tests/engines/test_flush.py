"""Waiting for what was stored to reach the tier behind memory: bounded, and seldom where it takes too long."""

from __future__ import annotations

from typing import Any

import pytest

from reprise.vllm.scheduler import flush
from reprise.vllm.scheduler.flush import Flusher


class Cache:
    """Answers as it is told."""

    def __init__(self, *answers: bool | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[float] = []

    def flush(self, *, timeout: float) -> bool:
        self.asked.append(timeout)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Clock:
    """Stands still until it is moved."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(flush, "time", made)
    return made


def flusher(*answers: bool | Exception) -> tuple[Flusher, Any]:
    cache: Any = Cache(*answers)
    return Flusher(cache, 1.5), cache


def test_it_is_waited_for_each_time(clock: Clock) -> None:
    one, cache = flusher(True, True)
    assert one.flush() and one.flush()
    assert cache.asked == [1.5, 1.5]


@pytest.mark.parametrize("trouble", [False, RuntimeError("it is away")])
def test_a_tier_that_does_not_keep_up_is_asked_less_and_less(clock: Clock, trouble: bool | Exception) -> None:
    one, cache = flusher(trouble, trouble, True, trouble, True)
    assert not one.flush()
    for pause in (5.0, 10.0):
        clock.now += pause - 0.1
        asked = len(cache.asked)
        assert not one.flush()  # Not even asked.
        assert len(cache.asked) == asked
        clock.now += 0.2
        assert one.flush() == (pause == 10.0)
    assert not one.flush()
    clock.now += 5.1  # As at the beginning.
    assert one.flush()


def test_a_pause_has_an_end(clock: Clock) -> None:
    one, cache = flusher(*[False] * 12)
    for _ in range(12):
        assert not one.flush()
        clock.now += 60.0
    assert len(cache.asked) == 12
