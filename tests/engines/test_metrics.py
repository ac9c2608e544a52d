"""What an operator sees of the connector: vLLM's own metrics by tier, those of the drop-in, and profiles."""

from __future__ import annotations

import logging
import math
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reprise.vllm import drop_in, profiling
from reprise.vllm.gains import Gains
from reprise.vllm.plan import Plan
from reprise.vllm.settings import Settings
from reprise.vllm.worker import WorkerSide

from harness import BLOCK, PATIENT, Engine, eventually, ideal, prompts_of

BLOCK_BYTES = 3 * 2 * 2 * 32 * 4 * BLOCK  # Of one rank.


def samples(engine: Engine, name: str) -> dict[tuple[str, ...], Any]:
    """By the values of the labels that are not vLLM's own: a value, or (count, sum) of a histogram."""
    found = {}
    for metric in engine.llm.get_metrics():
        if metric.name == f"vllm:{name}":
            labels = tuple(metric.labels[k] for k in sorted(metric.labels) if k not in ("model_name", "engine"))
            found[labels] = metric.value if hasattr(metric, "value") else (metric.count, metric.sum)
    return found


def gains_of(engine: Engine) -> Gains:
    """What the log would say, without it saying so once a minute."""
    gains: Gains = engine.connector._scheduler.gains
    gains._said_at = math.inf
    return gains


def test_hits_are_those_of_the_tier(model: Path, tmp_path: Path) -> None:
    """The first time blocks come from disk, then from memory."""
    extra = {"l1_capacity": "256MiB", "l2_url": f"disk:{tmp_path}/disk?capacity=1GiB", **PATIENT}
    prompts = prompts_of(300, 500)
    with Engine(model, extra) as engine:
        engine.ask(prompts)
    with Engine(model, extra) as engine:
        gains = gains_of(engine)
        assert sum(a.cached for a in engine.ask(prompts)) == ideal(prompts)
        source = "prompt_tokens_cached_by_source"
        assert samples(engine, source)["disk",] == ideal(prompts)
        assert samples(engine, source)["host",] == 0
        engine.ask(prompts)
        told = samples(engine, source)
        assert (told["disk",], told["host",]) == (ideal(prompts), ideal(prompts))
        assert told["external_unspecified",] == 0
        assert (gains.found, gains.behind, gains.slow_tier) == (2 * ideal(prompts), ideal(prompts), "disk")
        assert gains.saved == 0  # What is stored again is there already.
        blocks = sum(len(p) // BLOCK for p in prompts)

        def used() -> float:
            engine.ask(prompts_of(20), tokens=1)
            return samples(engine, "reprise_used_bytes").get(("l1",), 0)

        eventually(lambda: used() >= blocks * BLOCK_BYTES, "it is said how full the memory is")
        assert samples(engine, "reprise_capacity_bytes")["l1",] == 256 << 20
        assert not samples(engine, "kv_cache_ol_num_ops")  # Those are the drop-in's.


@pytest.fixture
def pyroscope(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An agent that takes long to start."""
    tags: list[tuple[str, str]] = []

    class Tags:
        def __init__(self, given: dict[str, str]) -> None:
            tags.append((threading.current_thread().name, given["func"]))

        def __enter__(self) -> None:
            pass

        def __exit__(self, *_: object) -> None:
            pass

    agent = SimpleNamespace(configured=[], may_start=threading.Event(), tags=tags, tag_wrapper=Tags)

    def configure(**given: Any) -> None:
        agent.configured.append(given)
        agent.may_start.wait(120)

    agent.configure = configure
    monkeypatch.setitem(sys.modules, "pyroscope", agent)
    monkeypatch.setattr(profiling, "_agent", profiling._Agent())
    yield agent
    agent.may_start.set()


def test_the_drop_ins_metrics_and_profiles(model: Path, monkeypatch: pytest.MonkeyPatch, pyroscope: Any) -> None:
    """Of one rank: each prompt is one lookup, each step that completes blocks one put."""
    for name, value in {"L1_CACHE_CAPACITY_GB": "0.25", "L2_CACHE_NAMESPACE": "team", "PROFILING_ENABLED": "1",
                        "PROFILING_SERVER_ADDRESS": "http://profiles:4040"}.items():
        monkeypatch.setenv(drop_in.PREFIX + name, value)
    prompts = prompts_of(300, 500)
    with Engine(model, PATIENT, name="AIBrixOffloadingConnectorV1Type3", module=None) as engine:
        gains = gains_of(engine)
        engine.ask(prompts)  # The agent has not started: nobody waits for it.
        (configured,) = pyroscope.configured
        assert configured["server_address"] == "http://profiles:4040"
        assert configured["tags"] == {"namespace": "team"}
        assert not pyroscope.tags
        pyroscope.may_start.set()
        eventually(lambda: profiling._agent.pyroscope, "the agent has started")
        engine.ask(prompts)
        assert {func for _, func in pyroscope.tags} >= {"load", "save", "plan"}
        check_drop_in(engine, prompts, ranks=1)
        assert gains.saved == sum(len(p) // BLOCK * BLOCK for p in prompts)


def check_drop_in(engine: Engine, prompts: list[list[int]], ranks: int) -> None:
    """After all prompts were asked twice."""
    asked, found = 2 * sum(map(len, prompts)), ideal(prompts)
    stored = 2 * sum(len(p) // BLOCK * BLOCK for p in prompts)
    cache, connector = "kv_cache_ol_", "ol_connector_"
    assert samples(engine, f"{cache}num_ops")["cachemgr", "acquire"] == 2 * len(prompts)
    assert samples(engine, f"{cache}iteration_tokens")["cachemgr", "acquire"] == (2 * len(prompts), asked)
    assert samples(engine, f"{cache}iteration_fetched_tokens")["l1cache", "acquire"] == (2 * len(prompts), found)
    assert samples(engine, f"{cache}num_tokens_hit")["cachemgr",] == found
    assert samples(engine, f"{cache}num_tokens_miss")["cachemgr",] == asked - found
    puts = samples(engine, f"{cache}iteration_tokens")["cachemgr", "put"]
    assert puts == (2 * len(prompts) * ranks, stored * ranks)  # Each rank stores its own part of them.
    assert samples(engine, f"{connector}iteration_received_tokens")["recv",] == (len(prompts) * ranks, found * ranks)
    assert samples(engine, f"{connector}iteration_sent_tokens")["send",][1] == stored // 2 * ranks
    assert samples(engine, f"{cache}iteration_op_lat_ms")["cachemgr", "put"][1] > 0
    assert not samples(engine, f"{cache}num_errors")


def test_each_rank_counts_once(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lookups are made once for all ranks; what the ranks do adds up."""
    monkeypatch.setenv(drop_in.PREFIX + "L1_CACHE_CAPACITY_GB", "0.25")
    prompts = prompts_of(300, 500)
    with Engine(model, PATIENT, name="AIBrixOffloadingConnector", module=None, tensor_parallel_size=2) as engine:
        gains = gains_of(engine)
        for _ in range(2):
            engine.ask(prompts)
        check_drop_in(engine, prompts, ranks=2)
        assert gains.saved == sum(len(p) // BLOCK * BLOCK for p in prompts)


def test_a_worker_is_told_where_profiles_go(pyroscope: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the plan of a step, for its environment need not be the scheduler's."""
    monkeypatch.delenv(drop_in.PREFIX + "PROFILING_ENABLED", raising=False)
    side = WorkerSide(SimpleNamespace(), Settings(), None)
    side.load(Plan())
    side.load(Plan(profiling=("http://profiles:4040", "team")))
    side.load(Plan(profiling=("http://profiles:4040", "team")))
    eventually(lambda: pyroscope.configured, "the agent is started")
    assert [c["server_address"] for c in pyroscope.configured] == ["http://profiles:4040"]
    side.close()


def test_no_agent_is_no_problem(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """It is said once, and the engine goes on."""
    monkeypatch.setitem(sys.modules, "pyroscope", None)
    monkeypatch.setattr(profiling, "_agent", profiling._Agent())
    with caplog.at_level(logging.WARNING, logger="vllm.reprise"):
        for _ in range(2):
            profiling.start("http://profiles:4040", "team")
        eventually(lambda: "pip install pyroscope-io" in caplog.text, "it is said")
    with profiling.span("load"):
        pass
    assert caplog.text.count("pip install") == 1
