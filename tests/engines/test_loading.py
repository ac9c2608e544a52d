"""Loads beside the steps without an engine: the worker's thread, and what the scheduler's half remembers."""

from __future__ import annotations

import copy
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from test_scheduler import BLOCK, Rig, request, saved

import reprise
from reprise.vllm.home import Home
from reprise.vllm.plan import Done, Load
from reprise.vllm.scheduler import side as scheduler
from reprise.vllm.settings import Settings
from reprise.vllm.worker import loading
from reprise.vllm.worker.loading import Loader

import harness


def load(name: str) -> Load:
    return Load(name, b"t" * 16, 1, [1], parked=True)


def ended(loader: Loader, count: int) -> dict[str, bool]:
    found: dict[str, bool] = {}
    harness.eventually(lambda: found.update({r.load.request_id: r.good for r in loader.take()}) or len(found) >= count,
                       "the loads end")
    return found


def test_each_load_is_told_once_whatever_becomes_of_it() -> None:
    def read(asked: Load, home: Home | None) -> bool:
        if asked.request_id == "raises":
            raise OSError("no daemon")
        return asked.request_id == "good"

    loader = Loader(read, 60.0)
    for name in ("good", "bad", "raises"):
        loader.submit(load(name), None)
    assert ended(loader, 3) == {"good": True, "bad": False, "raises": False}
    assert loader.close(harness.PATIENCE)
    assert loader.take() == []
    loader.submit(load("late"), None)
    assert ended(loader, 1) == {"late": False}


def test_a_load_without_a_thread_for_it_is_told_as_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    loader = Loader(lambda asked, home: True, 60.0)
    with monkeypatch.context() as limited:
        limited.setattr(threading.Thread, "start", start)
        loader.submit(load("a"), None)
    assert [(read.load.request_id, read.good) for read in loader.take()] == [("a", False)]
    loader.submit(load("b"), None)
    assert ended(loader, 1) == {"b": True}
    loader.close(harness.PATIENCE)


def test_a_load_is_not_told_before_the_thread_has_left_its_blocks() -> None:
    gate, inside = threading.Event(), threading.Event()
    loader = Loader(lambda asked, home: inside.set() or gate.wait(harness.PATIENCE), 60.0)
    loader.submit(load("a"), None)
    loader.submit(load("b"), None)
    assert inside.wait(harness.PATIENCE)
    assert not loader.close(0.0)  # It is still reading.
    assert [read.load.request_id for read in loader.take()] == ["b"]  # Which had not begun.
    gate.set()
    assert ended(loader, 1) == {"a": True}


def test_loads_do_not_wait_for_ever_and_not_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_MAX_WAITING", 2)
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    gate, inside = threading.Event(), threading.Event()
    calls: list[str] = []

    def read(asked: Load, home: Home | None) -> bool:
        calls.append(asked.request_id)
        inside.set()
        return gate.wait(60)

    loader = Loader(read, 5.0)
    loader.submit(load("a"), None)
    assert inside.wait(60)
    for name in ("b", "c", "d"):
        loader.submit(load(name), None)
    clock[0] += 6.0
    gate.set()
    pause = threading.Event()
    while len(loader._done) < 4:  # "a" took long, and "b" and "c" waited for it.
        pause.wait(0.01)
    assert {r.load.request_id: r.good for r in loader.take()} == {"a": True, "b": False, "c": False, "d": False}
    assert calls == ["a"]
    loader.close(60)


def parking(**more: Any) -> Rig:
    rig = Rig(park_above=0, **more)
    rig.lookup.blocks = 100
    return rig


def test_a_parked_request_gets_its_whole_prompt_and_its_lease_is_held_until_all_ranks_have_it() -> None:
    rig = parking(ranks=2)
    asked = request("a", 4 * BLOCK)
    assert rig.side.promise(asked, 0) == 4 * BLOCK
    assert rig.side.parks("a")
    rig.side.allocated(asked, ([1, 2, 3, 4],), 4 * BLOCK)
    plan = rig.step()
    assert [(entry.parked, entry.pieces[0].block_ids) for entry in plan.loads] == [(True, [1, 2, 3, 4])]
    (lease,) = rig.lookup.leases
    rig.over(())
    rig.step()
    rig.over(())
    assert lease.released == 0
    rig.side.arrived({"a"}, ())
    assert lease.released == 1
    rig.side.allocated(asked, ([1, 2, 3, 4],), 0)  # vLLM schedules it for its last token.
    plan = rig.step(("a", [1, 2, 3, 4], 127), a=1)
    assert plan.loads == []
    assert saved(plan) == [("a", 0, [1, 2, 3, 4])]


def test_what_is_small_comes_within_the_step() -> None:
    rig = Rig(park_above=2 * 64)  # A block of the rig has 64 bytes.
    rig.lookup.blocks = 2
    assert rig.start(request("a", 2 * BLOCK), [1, 2]) == BLOCK  # And then leaves a token.
    assert not rig.step(("a", [1, 2], 32), a=32).loads[0].parked
    rig.lookup.blocks = 3
    assert rig.side.promise(request("b", 3 * BLOCK), 0) == 3 * BLOCK
    assert rig.side.parks("b")
    rig.lookup.blocks = 1
    assert rig.side.promise(request("c", BLOCK), 0) == 0
    assert [lease.released for lease in rig.lookup.leases] == [0, 0, 1]


def test_a_parked_load_that_failed_is_not_promised_again() -> None:
    rig = parking(ranks=2)
    asked = request("a", 100, "same")
    assert rig.start(asked, [1, 2, 3, 4]) == 96
    rig.step()
    rig.over(())
    rig.side.arrived((), {"a"})  # One rank failed, the other one reads on.
    assert rig.side.promise(request("b", 100, "same"), 0) == 0
    assert [lease.released for lease in rig.lookup.leases] == [0]
    rig.side.arrived({"a"}, ())
    assert [lease.released for lease in rig.lookup.leases] == [1]
    assert rig.start(asked, [1, 2, 3, 4]) == 0  # It would be loaded for ever.
    plan = rig.step(("a", [1, 2, 3, 4], 0), a=100)
    assert saved(plan) == [("a", 0, [1, 2, 3])]
    rig.over(())
    assert rig.side.promise(request("c", 100, "same"), 0) == 96


def test_an_aborted_request_is_read_to_its_end() -> None:
    rig = parking()
    rig.start(request("a", 100), [1, 2, 3, 4])
    rig.side.finished("a")
    assert [entry.request_id for entry in rig.step().loads] == ["a"]  # vLLM holds its blocks until it is reported.
    assert [lease.released for lease in rig.lookup.leases] == [0]
    rig.side.arrived({"a"}, ())
    rig.side.arrived({"a", "another connector's"}, ())
    assert [lease.released for lease in rig.lookup.leases] == [1]


def test_nothing_is_remembered_of_requests_that_are_over() -> None:
    rig = parking()
    for name in ("while it loads", "after it"):
        rig.start(request(name, 100), [1, 2, 3, 4])
        rig.step()
        rig.over(())
    rig.side.finished("while it loads")
    rig.side.arrived({"while it loads", "after it"}, ())
    rig.side.finished("after it")
    assert not rig.side._parked._back
    assert not rig.side._parked._loading


def test_what_was_read_before_a_reset_is_not_saved_after_it() -> None:
    rig = parking()
    asked = request("a", 100)
    rig.start(asked, [1, 2, 3, 4])
    rig.step()
    rig.side.reset()
    rig.side.arrived({"a"}, ())
    rig.side.allocated(asked, ([1, 2, 3, 4],), 0)
    assert saved(rig.step(("a", [1, 2, 3, 4], 96), a=4)) == []
    rig.lookup.blocks = 0
    assert rig.start(asked, [5, 6, 7, 8]) == 0  # Preempted: it begins anew.
    plan = rig.step(cached=(("a", [5, 6, 7, 8], 0),), resumed={"a"}, a=100)
    assert saved(plan) == [("a", 0, [5, 6, 7])]


def test_a_lease_is_not_kept_for_ranks_that_never_report(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = parking()
    rig.start(request("a", 100), [1, 2, 3, 4])
    rig.step()
    monkeypatch.setattr(scheduler, "_HOLD_FOR", -1.0)
    rig.step()
    assert [lease.released for lease in rig.lookup.leases] == [1]
    rig.side.arrived({"a"}, {"a"})
    assert [lease.released for lease in rig.lookup.leases] == [1]
    assert rig.side.promise(request("a", 100), 0) == 0


def test_close_gives_everything_back() -> None:
    rig = parking()
    rig.start(request("a", 100), [1, 2, 3, 4])
    rig.step()
    rig.start(request("b", 100), [5, 6, 7, 8])  # Not planned yet.
    rig.side.promise(request("c", 100), 0)
    rig.side.close()
    assert [lease.released for lease in rig.lookup.leases] == [1, 1, 1]


def test_ranks_that_report_in_different_steps() -> None:
    """Through vLLM's own aggregator."""
    from vllm.distributed.kv_transfer.kv_connector.utils import KVOutputAggregator
    from vllm.v1.outputs import EMPTY_MODEL_RUNNER_OUTPUT, KVConnectorOutput

    aggregator = KVOutputAggregator(2)

    def step(*ranks: KVConnectorOutput) -> KVConnectorOutput:
        outputs = []
        for rank in ranks:
            outputs.append(copy.copy(EMPTY_MODEL_RUNNER_OUTPUT))
            outputs[-1].kv_connector_output = rank
        merged = aggregator.aggregate(outputs)
        assert merged and merged.kv_connector_output
        return merged.kv_connector_output

    failed = KVConnectorOutput(finished_recving={"a"}, failed_recving={"a"}, invalid_block_ids={1},
                               kv_connector_worker_meta=Done(1, frozenset("a")))
    told = step(KVConnectorOutput(kv_connector_worker_meta=Done(1)), failed)
    assert told.kv_connector_worker_meta == Done(1, frozenset("a"))
    assert not told.finished_recving
    told = step(KVConnectorOutput(finished_recving={"a"}, kv_connector_worker_meta=Done(2)),
                KVConnectorOutput(kv_connector_worker_meta=Done(2)))
    assert told.finished_recving == told.failed_recving == {"a"}


def test_the_setting() -> None:
    assert Settings.read({}).async_bytes() == 64 << 20
    assert Settings.read({"async_load_above": 0}).async_bytes() == 0
    assert Settings.read({"async_load_above": "2 GiB"}).async_bytes() == 2 << 30
    assert Settings.read({"async_load_above": "never"}).async_bytes() is None
    with pytest.raises(reprise.ConfigError, match="async_load_above"):
        Settings.read({"async_load_above": "-1"})


@pytest.mark.parametrize(("batches", "above"), [(1, 64 << 20), (2, 0)])
def test_nothing_is_loaded_within_steps_that_overlap(batches: int, above: int) -> None:
    from reprise.vllm.connector import _park_above

    config = SimpleNamespace(max_concurrent_batches=batches)
    assert _park_above(config, Settings.read({})) == above
    assert _park_above(config, Settings.read({"async_load_above": "never"})) == (above if above == 0 else None)
