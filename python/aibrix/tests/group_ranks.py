"""What the ranks of test_group.py do, a process each.

    python group_ranks.py FOLDER

Plays all scenarios. FOLDER/SCENARIO.RANK has a rank's answers as JSON, FOLDER/codes how each rank ended.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist
from rig import (
    NTOKENS,
    as_hashes,
    as_tokens,
    blocks_of,
    check_handle,
    content,
    data_of,
    environment,
    gib,
    own_handle,
    put_prompt,
    spec_of,
)

from aibrix_kvcache import GroupAwareKVCacheManager, KVCacheConfig, ModelSpec
from aibrix_kvcache.tiers import Answer

Answers = list[object]
FORMS = {"tokens": as_tokens, "hashes": as_hashes}
WORLD = 4
IDLE = 2
DIED = 17
LIMIT = 60


class Reductions:
    """Counts calls of all_reduce."""

    def __init__(self) -> None:
        self.count = 0
        self._original = dist.all_reduce
        dist.all_reduce = self

    def __call__(self, *args: object, **kwargs: object) -> object:
        self.count += 1
        return self._original(*args, **kwargs)


def read(cache: GroupAwareKVCacheManager, tokens: list[int], prefix: int, form, how: str) -> tuple[str, int]:
    """One call, all bytes checked."""
    names = blocks_of(tokens, prefix)
    if how == "acquire":
        status = cache.acquire(*form(tokens, prefix))
        if not status.is_ok():
            return status.error_code.name, 0
        count, handle = status.get()
        assert count == len(handle) * NTOKENS
        check_handle(handle, names)
        handle.release()
        return "OK", count
    tensors, handle = own_handle(cache.block_spec, max(1, len(names)))
    status = cache.get(*form(tokens, prefix), handle)
    handle.release()
    for tensor, name in zip(tensors[: status.get(default=0) // NTOKENS], names, strict=False):
        assert data_of(tensor) == content(name)
    return status.error_code.name, status.get(default=0)


def agree(cache: GroupAwareKVCacheManager, rank: int) -> Answers:
    """Every rank stores the same prompts and loses blocks of its own choice; then all ask the same."""
    mine, common = random.Random(100 + rank), random.Random(7)
    reductions = Reductions()
    answers: Answers = []
    calls = 0
    for number in range(20):
        for name, form in FORMS.items():
            tokens = [common.randrange(1 << 20) for _ in range(common.randrange(4, 60))]
            prefix = NTOKENS * common.randrange(0, 3) if len(tokens) > 12 else 0
            put_prompt(cache, tokens, 0, form)
            before = reductions.count
            for block in range(len(tokens) // NTOKENS):
                if mine.random() < 0.04:
                    lost = tokens[: (block + 1) * NTOKENS]
                    cache.delete(*form(lost, block * NTOKENS))
            for how in ("acquire", "get"):
                local = cache.exists(*form(tokens, prefix)).get(default=0)
                assert reductions.count == before, "only acquire and get are agreed on"
                code, count = read(cache, tokens, prefix, form, how)
                assert count <= local
                calls += 1
                before += 1
                assert reductions.count == before, f"{reductions.count} reductions in {calls} calls"
                answers.append([number, name, how, code, count, local])
    return answers


def fail_once(cache: GroupAwareKVCacheManager, rank: int) -> Answers:
    """The cache of rank 1 fails in the second call of each kind, and in no other; at last it refuses a handle."""
    tokens = list(range(40))
    put_prompt(cache, tokens)
    answers: Answers = []
    for how, inner in (("acquire", "acquire"), ("get", "copy_out")):
        for turn in range(3):
            tiers = cache._tiers
            original: Callable[..., Answer] = getattr(tiers, inner)
            if rank == 1 and turn == 1:

                def failing(*args: object) -> Answer:
                    raise OSError("the memory is on fire")

                setattr(tiers, inner, failing)
            answers.append([how, *read(cache, tokens, 0, as_tokens, how)])
            setattr(tiers, inner, original)
    _, handle = own_handle(cache.block_spec, 10)
    if rank == 1:
        handle.release()
    answers.append(["refused", cache.get(*as_tokens(tokens, 0), handle).error_code.name])
    return answers


def die(cache: GroupAwareKVCacheManager, rank: int) -> Answers:
    """One rank dies after the first call."""
    tokens = list(range(40))
    put_prompt(cache, tokens)
    answers: Answers = [read(cache, tokens, 0, as_tokens, "acquire")]
    if rank == IDLE:
        os._exit(DIED)
    for how in ("acquire", "get", "acquire"):
        began = time.monotonic()
        answer = read(cache, tokens, 0, as_tokens, how)
        answers.append([*answer, time.monotonic() - began])
    assert acquired_alone(cache, tokens) == 40
    return answers


def stall(cache: GroupAwareKVCacheManager, rank: int) -> Answers:
    """One rank lives and does not call: the others must not wait for ever."""
    tokens = list(range(40))
    put_prompt(cache, tokens)
    answers: Answers = [read(cache, tokens, 0, as_tokens, "acquire")]
    if rank != IDLE:
        for how in ("acquire", "get"):
            began = time.monotonic()
            answer = read(cache, tokens, 0, as_tokens, how)
            answers.append([*answer, time.monotonic() - began])
    cache.exists(None, tokens)
    return answers


def acquired_alone(cache: GroupAwareKVCacheManager, tokens: list[int]) -> int:
    """What this rank still has by itself: calls without agreement go on."""
    return cache.exists(None, tokens).get(default=0)


SCENARIOS = {"agree": (agree, 60.0), "fail_once": (fail_once, 60.0), "die": (die, 3.0), "stall": (stall, 3.0)}


def play(name: str, rank: int, store: Path) -> None:
    """One rank of one scenario: its answers are in a file at the end."""
    scenario, seconds = SCENARIOS[name]
    meeting = dist.FileStore(str(store / f"{name}.meeting"), WORLD)
    dist.init_process_group("gloo", store=meeting, rank=rank, world_size=WORLD, timeout=timedelta(seconds=60))
    with environment(L1_CACHE_CAPACITY_GB=gib(1 << 20), GROUP_TIMEOUT_S=seconds):
        cache = GroupAwareKVCacheManager(KVCacheConfig(spec_of(), ModelSpec(1024)), dist.group.WORLD)
        answers = scenario(cache, rank)
        leases = cache._tiers.cache.stats().leases
        assert leases == 0, f"{leases} leases are left"
        cache.close()
    if name == "stall" and rank == IDLE:  # The others must find a rank that lives and does not call.
        deadline = time.monotonic() + LIMIT
        while not all(answers_of(store, name, other).exists() for other in range(WORLD) if other != IDLE):
            assert time.monotonic() < deadline, "the other ranks did not end"
            time.sleep(0.05)
    unfinished = store / f"{name}.{rank}.unfinished"
    unfinished.write_text(json.dumps(answers))
    unfinished.rename(answers_of(store, name, rank))
    os._exit(0)  # Ranks of a broken group must not wait for each other when they end.


def answers_of(store: Path, name: str, rank: int) -> Path:
    return store / f"{name}.{rank}"


def main(store: Path) -> None:
    """All scenarios in turn. The ranks are forks of a process that has loaded everything and opened nothing."""
    codes = {}
    for name in SCENARIOS:
        context = multiprocessing.get_context("fork")
        ranks = [context.Process(target=play, args=(name, rank, store)) for rank in range(WORLD)]
        for process in ranks:
            process.start()
        deadline = time.monotonic() + LIMIT
        for process in ranks:
            process.join(max(0.0, deadline - time.monotonic()))
        codes[name] = [process.exitcode for process in ranks]
        for process in ranks:
            process.kill()
            process.join()
    (store / "codes").write_text(json.dumps(codes))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
