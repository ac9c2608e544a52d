"""Models with sliding windows, alone and among layers of full attention, in real engines: answers are those of an
engine without connector, bit for bit, and of each group comes what the next token needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import harness
import tiny_model
from harness import PATIENT, Answer, Daemon, Engine, prompts_of

WINDOW = 100


@dataclass(frozen=True)
class Kind:
    """Of a model: block sizes of its KV groups, and what of a prompt can be had."""

    layers: str
    groups: tuple[int, ...]
    unit: int = 32
    full: int = 0
    """Blocks of full attention in a unit."""
    windows: int = 0
    """Groups with a window, and the blocks of each that a window needs."""
    window: int = 4

    def whole(self, prompt: list[int]) -> int:
        """Tokens of a prompt that can come from the cache."""
        return (len(prompt) - 1) // self.unit * self.unit

    def needed(self, prompt: list[int]) -> int:
        """Blocks that are needed to go on after them."""
        units = self.whole(prompt) // self.unit
        return units * self.full + self.windows * min(units, self.window)


KINDS = {"mixed": Kind("ssfssf", (32, 32, 32), full=1, windows=2), "alone": Kind("sss", (32,), windows=1),
         "gemma": Kind("", (64, 64, 32), unit=64, full=2, windows=2, window=2)}
PRIVATE = {"l1_capacity": "256MiB", "strict": True, **PATIENT}
CHUNKS = {"max_num_batched_tokens": 256}  # Longer than the window: blocks leave it in the step after they were written.
ALL = prompts_of(300, 320, 33, 32, 500, 700)
SHARED = prompts_of(700, 310, 352, 420, prefix=256)
LONG = prompts_of(270, 280, seed=11)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("windows")
    return {name: tiny_model.make(folder / name, windows=kind.layers, window=WINDOW) if kind.layers
            else tiny_model.make_gemma(folder / name, WINDOW) for name, kind in KINDS.items()}


@pytest.fixture(scope="module")
def expected(models: dict[str, Path]) -> dict[str, dict[str, list[Answer]]]:
    """What engines without connector answer."""
    told = {}
    for kind, model in models.items():
        with Engine(model, None, **CHUNKS) as engine:
            told[kind] = {"all": engine.ask(ALL), "shared": engine.ask(SHARED)}
            if kind == "mixed":
                told[kind]["long"] = engine.ask(LONG, tokens=400)
    return told


@pytest.fixture(scope="class", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="class")
def engine(models: dict[str, Path], expected: Any, kind: str) -> Iterator[Engine]:
    with Engine(models[kind], PRIVATE, **CHUNKS) as engine:
        groups = engine.llm.llm_engine.engine_core.engine_core.scheduler.kv_cache_config.kv_cache_groups
        assert tuple(group.kv_cache_spec.block_size for group in groups) == KINDS[kind].groups
        yield engine


@pytest.fixture(autouse=True)
def _nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "engine" in request.fixturenames:
        engine = request.getfixturevalue("engine")
        harness.eventually(lambda: engine.leases == 0, "all leases are given back")
        engine.forget(connector=True)


def hits(answers: list[Answer]) -> int:
    return sum(answer.cached for answer in answers)


def check(answers: list[Answer], expected: list[Answer], prompts: list[list[int]], kind: str = "mixed") -> None:
    assert answers == expected
    assert hits(answers) >= 0.98 * sum(map(KINDS[kind].whole, prompts))


class TestInOneEngine:
    """With all that happened before in it."""

    def test_everything_stored(self, engine: Engine, expected: Any, kind: str) -> None:
        first = engine.ask(ALL)
        assert first == expected[kind]["all"]
        assert hits(first) == 0
        before = engine.metric("reprise_loaded_blocks")
        check(engine.ask(ALL), expected[kind]["all"], ALL, kind)
        # Of windows no more than they need.
        assert engine.metric("reprise_loaded_blocks") - before == sum(map(KINDS[kind].needed, ALL))
        check(engine.ask(ALL, at_once=True), expected[kind]["all"], ALL, kind)
        assert engine.metric("reprise_failed_blocks") == 0

    def test_a_prefix_whose_windows_are_long_gone(self, engine: Engine, expected: Any, kind: str) -> None:
        first = engine.ask(SHARED)
        assert first == expected[kind]["shared"]
        assert [a.cached for a in first] == [0, 256, 256, 256]
        check(engine.ask(SHARED), expected[kind]["shared"], SHARED, kind)
        check(engine.ask(SHARED, at_once=True), expected[kind]["shared"], SHARED, kind)

    @pytest.mark.parametrize("have", [40, 200, 450])  # Less than a window, and more.
    def test_what_the_engine_has_itself_is_gone_on_from(self, engine: Engine, expected: Any, kind: str,
                                                        have: int) -> None:
        prompt, unit = ALL[4], KINDS[kind].unit
        engine.ask([prompt])
        engine.ask([prompt[:have]])
        before = engine.metric("external_prefix_cache_hits")
        (answer,) = engine._generate([prompt], 12)  # Without forgetting.
        assert answer == expected[kind]["all"][4]
        assert answer.cached == KINDS[kind].whole(prompt)
        assert engine.metric("external_prefix_cache_hits") - before == answer.cached - have // unit * unit

    def test_a_window_is_stored_without_what_was_before_it(self, engine: Engine, expected: Any, kind: str) -> None:
        prompt = ALL[4]
        engine.ask([prompt[:450]])
        engine.connector.reset_cache()  # The cache has nothing any more, the engine has it all.
        (answer,) = engine._generate([prompt], 12)
        assert answer == expected[kind]["all"][4]
        assert answer.cached == 448
        check(engine.ask([prompt]), [answer], [prompt], kind)

    def test_a_load_that_fails_begins_anew(self, engine: Engine, expected: Any, kind: str,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
        from reprise.vllm.worker.side import WorkerSide

        engine.ask(ALL)
        with monkeypatch.context() as broken:
            calls: list[Any] = []
            broken.setattr(WorkerSide, "_load", lambda self, load, cache: bool(calls.append(load)))
            assert engine.ask(ALL) == expected[kind]["all"]
            assert 0 < len(calls) <= len(ALL)
        assert engine.ask(ALL, at_once=True) == expected[kind]["all"]
        check(engine.ask(ALL), expected[kind]["all"], ALL, kind)

    def test_aborted_requests_leave_nothing(self, engine: Engine, expected: Any, kind: str) -> None:
        engine.ask(ALL)
        engine.forget()
        core = engine.llm.llm_engine
        names = [core.add_request(str(i), {"prompt_token_ids": p}, harness.sampling(12)) or str(i)
                 for i, p in enumerate(ALL)]
        core.step()
        core.abort_request(names[::2])
        core.step()
        core.abort_request(names[1::2])
        while core.has_unfinished_requests():
            core.step()
        harness.eventually(lambda: engine.leases == 0, "all leases are given back")
        check(engine.ask(ALL), expected[kind]["all"], ALL, kind)

    def test_wrong_bytes_would_be_seen(self, engine: Engine, expected: Any, kind: str,
                                       monkeypatch: pytest.MonkeyPatch) -> None:
        """One byte of any group that is wrong changes what comes out."""
        from reprise.vllm.worker.side import WorkerSide

        load = WorkerSide._load
        engine.ask(ALL)
        for group in range(len(KINDS[kind].groups)):
            def flipped(self: Any, what: Any, cache: Any, group: int = group) -> bool:
                good = load(self, what, cache)
                flip(self._layouts[group].pieces, next(p.block_ids for p in what.pieces if p.group == group))
                return good

            with monkeypatch.context() as broken:
                broken.setattr(WorkerSide, "_load", flipped)
                assert engine.ask(ALL) != expected[kind]["all"]
            check(engine.ask(ALL), expected[kind]["all"], ALL, kind)


def flip(pieces: Any, block_ids: list[int]) -> None:
    """One byte of each block."""
    for block_id in block_ids:
        block = bytearray(pieces.block_bytes)
        pieces.gather([block_id], block)
        block[7] ^= 0x40  # The exponent of one number.
        pieces.scatter([block_id], block)


def test_preemption(models: dict[str, Path], expected: Any) -> None:
    # There is room for both prompts and not for both answers: 22 blocks of full attention and 10 of windows each.
    # Not of windows alone: vLLM knows at the start how many blocks those will have, and preempts nobody.
    with Engine(models["mixed"], PRIVATE, num_gpu_blocks_override=61, max_num_batched_tokens=96) as engine:
        for _ in range(2):
            assert engine.ask(LONG, tokens=400, at_once=True) == expected["mixed"]["long"]
        assert engine.metric("num_preemptions") > 0
        check(engine.ask(LONG, tokens=400), expected["mixed"]["long"], LONG)
        assert engine.leases == 0


def test_another_engine_on_one_daemon(models: dict[str, Path], expected: Any, tmp_path: Path) -> None:
    with Daemon(tmp_path, "--l1-capacity", "256MiB") as daemon:
        extra = {"cache_url": daemon.url, "strict": True, **PATIENT}
        with Engine(models["mixed"], extra, **CHUNKS) as engine:
            engine.ask(ALL)
        with Engine(models["mixed"], extra) as engine:
            check(engine.ask(ALL), expected["mixed"]["all"], ALL)
        whole = {"disable_hybrid_kv_cache_manager": True}  # One group of full attention: other blocks.
        with Engine(models["mixed"], extra, **whole, **CHUNKS) as engine:
            answers = engine.ask(ALL)
            assert hits(answers) == 0
            assert answers == expected["mixed"]["all"]
            check(engine.ask(ALL), expected["mixed"]["all"], ALL)


def test_pipeline_parallel(models: dict[str, Path], expected: Any) -> None:
    # vLLM's pipelines on CPUs need a run to warm up, which it leaves out where nothing is compiled.
    compiled = {"enforce_eager": False, "compilation_config": {"mode": 2, "backend": "eager"}}
    with Engine(models["mixed"], PRIVATE, pipeline_parallel_size=2, **compiled, **CHUNKS) as engine:
        first = engine.ask(ALL)
        assert [a.tokens for a in first] == [a.tokens for a in expected["mixed"]["all"]]
        assert hits(first) == 0
        check(engine.ask(ALL), first, ALL)
        check(engine.ask(ALL, at_once=True), first, ALL)
        assert engine.metric("reprise_failed_blocks") == 0
