"""Four ranks over gloo whose caches are not equal: one answer for all of them, whatever happens to one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from group_ranks import DIED, IDLE, WORLD, answers_of

RANKS = Path(__file__).with_name("group_ranks.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """All scenarios, played."""
    store = tmp_path_factory.mktemp("group")
    env = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    with open(store / "log", "w") as log:
        subprocess.run([sys.executable, RANKS, store], stdout=log, stderr=log, env=env, timeout=400, check=True)
    return store


@pytest.fixture
def play(folder):
    """What each rank of a scenario answered, None for one that was to die."""

    def answers(scenario: str, dying: int | None = None) -> list[list]:
        codes = json.loads((folder / "codes").read_text())[scenario]
        expected = [DIED if rank == dying else 0 for rank in range(WORLD)]
        assert codes == expected, f"ranks ended with {codes}: {(folder / 'log').read_text()}"
        return [
            None if rank == dying else json.loads(answers_of(folder, scenario, rank).read_text())
            for rank in range(WORLD)
        ]

    return answers


def test_unequal_caches_give_one_answer(play):
    ranks = play("agree")
    shorter = 0
    for answers in zip(*ranks, strict=True):
        assert len({tuple(answer[:5]) for answer in answers}) == 1, answers
        least = min(answer[5] for answer in answers)
        assert answers[0][3:5] == (["OK", least] if least else ["NOT_FOUND", 0]), answers
        shorter += any(answer[5] > least for answer in answers)
    assert shorter > 20, "the caches were hardly ever unequal"


def test_a_cache_that_fails_in_one_call(play):
    for rank, answers in enumerate(play("fail_once")):
        found = ["OK", 40]
        *answers, refused = answers
        assert [answer[1:] for answer in answers] == [found, ["ERROR", 0], found] * 2, f"rank {rank}: {answers}"
        assert refused == ["refused", "INVALID" if rank == 1 else "ERROR"], "a rank waited for one that refused"


def test_a_rank_that_dies(play):
    for rank, answers in enumerate(play("die", dying=IDLE)):
        if rank == IDLE:
            continue
        first, *later = answers
        assert first == ["OK", 40]
        assert [answer[:2] for answer in later] == [["ERROR", 0]] * 3, f"rank {rank}: {answers}"
        assert later[1][2] < 1 and later[2][2] < 1, "a broken group is known and not waited for again"


def test_a_rank_that_does_not_call(play):
    for rank, answers in enumerate(play("stall")):
        assert answers[0] == ["OK", 40]
        if rank != IDLE:
            assert [answer[:2] for answer in answers[1:]] == [["ERROR", 0]] * 2, f"rank {rank}: {answers}"
            assert answers[1][2] > 1, "the group's timeout was not waited for"
            assert answers[2][2] < 1
