"""The scheduler's half alone: steps told to it by hand, a cache that answers as told."""

from __future__ import annotations

import hashlib
import time
from types import SimpleNamespace
from typing import Any

import pytest

from reprise import _native
from reprise.vllm.groups import Group, Groups
from reprise.vllm.home import Home
from reprise.vllm.identity import Shard, host
from reprise.vllm.reports.sources import Sources
from reprise.vllm.scheduler import side as scheduler
from reprise.vllm.scheduler.lookup import PENDING
from reprise.vllm.scheduler.ranks import shards_in_order
from reprise.vllm.scheduler.side import SchedulerSide
from reprise.vllm.scheduler.tables import BlockTables
from reprise.vllm.settings import Settings

BLOCK = 32


class FakeLease:
    def __init__(self, blocks: int, ranks: int) -> None:
        self.match = SimpleNamespace(blocks=blocks, reason=_native.Reason.NONE)
        self.token = b"t" * 16
        self.valid = True
        self.released = 0
        self._length = blocks * ranks

    def __len__(self) -> int:
        return self._length

    def release(self) -> None:
        self.released += 1


class FakeLookup:
    """Has `blocks` of whatever is asked for."""

    def __init__(self, ranks: int) -> None:
        self.blocks = 0
        self.bytes = 1 << 20
        self.pending = False
        self.asked: list[int] = []
        self.leases: list[FakeLease] = []
        self.sources = Sources()
        self._ranks = ranks

    def ask(self, request_id: str, chains: Any, worth: Any) -> Any:
        self.asked.append(len(chains[0]))
        if self.pending:
            return PENDING
        blocks = min(self.blocks, len(chains[0]))
        if blocks:
            self.leases.append(FakeLease(blocks, self._ranks))
            return self.leases[-1]
        return None

    def capacity(self) -> int:
        return self.bytes

    def forget(self, request_id: str) -> None:
        pass

    def close(self) -> None:
        pass


def request(name: str, tokens: int, seed: str = "") -> Any:
    hashes = [hashlib.sha256(f"{seed or name}{i}".encode()).digest() for i in range(tokens // BLOCK)]
    return SimpleNamespace(request_id=name, num_tokens=tokens, num_prompt_tokens=tokens, block_hashes=hashes,
                           prompt_embeds=None, lora_request=None, skip_reading_prefix_cache=False)


class Rig:
    def __init__(self, ranks: int = 1, overlapping: bool = False, algorithm: str = "sha256",
                 saves: bool = True, park_above: int | None = None) -> None:
        self.lookup = FakeLookup(ranks)
        self._running: list[int] = []
        groups = [Group(("0",), "FullAttentionSpec", BLOCK)]
        tables = BlockTables(groups, BLOCK, algorithm, trust=False, decode=False)
        lookup: Any = self.lookup
        self.side = SchedulerSide(Settings(), lookup, Home("unix:///x"), Groups(groups), tables, scope="",
                                  overlapping=overlapping, saves=saves, park_above=park_above)
        shards = [[Shard(model="m", revision="r", dtype="d", layout="l", block_tokens=BLOCK, block_bytes=64,
                         layers=(0, 1), heads=(i, i + 1), host=host())] for i in range(ranks)]
        self.told = self.side.set_shards(shards, ranks)
        assert bool(self.told) == (algorithm != "sha256")

    def start(self, asked: Any, ids: list[int], computed: int = 0) -> int:
        external = self.side.promise(asked, computed)
        assert external is not None
        self.side.allocated(asked, (ids,), external)
        return external

    def promised(self, asked: Any) -> int | None:
        return self.side.promise(asked, 0)

    def step(self, *new: tuple[str, list[int], int], cached: tuple[tuple[str, list[int], int], ...] = (),
             resumed: set[str] | None = None, loads: bool = False, **tokens: int) -> Any:
        """`new`, `cached`: (request, block ids, computed tokens); `tokens`: how many the step computes of each."""
        plan = self.side.plan(SimpleNamespace(
            scheduled_new_reqs=[SimpleNamespace(req_id=r, block_ids=(ids,), num_computed_tokens=n)
                                for r, ids, n in new],
            scheduled_cached_reqs=SimpleNamespace(
                req_ids=[r for r, _, _ in cached], resumed_req_ids=resumed or set(),
                new_block_ids=[(ids,) if ids else None for _, ids, _ in cached],
                num_computed_tokens=[n for _, _, n in cached]),
            num_scheduled_tokens=tokens, total_num_scheduled_tokens=sum(tokens.values()), has_sync_kv_loads=loads))
        self._running.append(plan.number)
        return plan

    def over(self, invalid: Any, unsaved: Any = ()) -> None:
        """The oldest step is reported."""
        self.side.outcome(self._running.pop(0), invalid, unsaved)


def saved(plan: Any) -> list[tuple[str, int, list[int]]]:
    return [(save.request_id, save.first, save.block_ids) for save in plan.saves]


def test_blocks_are_saved_as_they_complete() -> None:
    rig = Rig()
    assert rig.start(request("a", 150), [7, 3, 9, 4, 5]) == 0
    assert saved(rig.step(("a", [7, 3, 9], 0), a=70)) == [("a", 0, [7, 3])]
    rig.over(())
    assert saved(rig.step(cached=(("a", [4, 5], 70),), a=80)) == [("a", 2, [9, 4])]  # The fifth is not complete.
    rig.over(())
    assert saved(rig.step(cached=(("a", [], 150),), a=40)) == []  # Generated tokens are not asked for.


def test_a_preempted_request_has_other_blocks() -> None:
    rig = Rig()
    rig.start(request("a", 100), [1, 2, 3, 4])
    rig.step(("a", [1, 2, 3, 4], 0), a=70)
    rig.over(())
    rig.start(request("a", 100), [8, 9, 10, 11])
    plan = rig.step(cached=(("a", [8, 9, 10, 11], 0),), resumed={"a"}, a=100)
    assert saved(plan) == [("a", 0, [8, 9, 10])]


def test_a_promise_leaves_a_token_and_is_held_until_the_step_is_over() -> None:
    rig = Rig()
    rig.lookup.blocks = 100
    assert rig.start(request("a", 4 * BLOCK), [1, 2, 3, 4]) == 3 * BLOCK
    (lease,) = rig.lookup.leases
    plan = rig.step(("a", [1, 2, 3, 4], 96), a=32)
    assert [load.pieces[0].block_ids for load in plan.loads] == [[1, 2, 3]]
    assert lease.released == 0
    rig.over(())
    assert lease.released == 1


def test_what_the_engine_has_itself_is_not_asked_for() -> None:
    rig = Rig()
    rig.lookup.blocks = 100
    assert rig.start(request("a", 170), [1, 2, 3, 4, 5, 6], computed=64) == 3 * BLOCK
    assert rig.lookup.asked == [3]
    plan = rig.step(("a", [1, 2, 3, 4, 5, 6], 160), a=10)
    assert plan.loads[0].pieces[0].block_ids == [3, 4, 5]


def test_a_request_that_asks_again_has_its_promise() -> None:
    rig = Rig()
    rig.lookup.blocks = 2
    asked = request("a", 100)
    assert [rig.promised(asked) for _ in range(5)] == [64] * 5
    assert len(rig.lookup.leases) == 1
    rig.lookup.leases[0].valid = False
    assert rig.promised(asked) == 64
    assert len(rig.lookup.leases) == 2
    rig.side.finished("a")
    assert [lease.released for lease in rig.lookup.leases] == [1, 1]


def test_a_request_is_put_off_while_its_blocks_are_fetched() -> None:
    rig = Rig()
    rig.lookup.pending = True
    assert rig.promised(request("a", 100)) is None


@pytest.mark.parametrize("full", [False, True])
def test_a_key_that_failed_is_not_promised_until_it_is_saved_anew(full: bool) -> None:
    rig = Rig()
    rig.lookup.blocks = 100
    rig.start(request("a", 100, "same"), [1, 2, 3, 4])
    rig.step(("a", [1, 2, 3, 4], 96), a=4)
    rig.over({2})
    assert rig.promised(request("b", 100, "same")) == 1 * BLOCK
    rig.side.finished("b")
    plan = rig.step(cached=(("a", [], 32),), a=68)  # vLLM computes from the block that failed on.
    assert saved(plan) == [("a", 0, [1, 2, 3])]
    rig.over((), unsaved={0} if full else ())
    assert rig.promised(request("c", 100, "same")) == (1 if full else 3) * BLOCK


@pytest.mark.parametrize(("ranks", "overlapping"), [(2, False), (1, True)])
def test_nothing_is_saved_before_it_is_known_whether_all_ranks_loaded(ranks: int, overlapping: bool) -> None:
    rig = Rig(ranks, overlapping)
    rig.lookup.blocks = 2
    rig.start(request("a", 200), [1, 2, 3, 4, 5, 6, 7])
    assert saved(rig.step(("a", [1, 2, 3, 4, 5, 6, 7], 64), a=64)) == []
    if overlapping:
        assert saved(rig.step(cached=(("a", [], 128),), a=32)) == []
        rig.over(())
    rig.over(())
    plan = rig.step(cached=(("a", [], 160),), a=32)
    assert saved(plan) == [("a", 0, [1, 2, 3, 4, 5, 6])]


def test_a_rank_that_cannot_is_named() -> None:
    rig = Rig()
    good = Shard(host=host())
    assert rig.side.set_shards([[good], [good.broken("rank 1: odd")]], 2) == "rank 1: odd"
    assert "1 of 2 ranks" in rig.side.set_shards([[good]], 2)
    assert "another host" in rig.side.set_shards([[Shard(host="elsewhere")]], 1)


def test_blocks_that_do_not_fit_are_a_problem_with_a_remedy() -> None:
    rig = Rig(ranks=2)
    shards = rig.side._ranks.shards
    rig.lookup.bytes = 127  # A block of a rank has 64.
    assert "raise l1_capacity" in rig.side.set_shards(shards, 2)
    rig.lookup.bytes = 0  # Nobody answers yet.
    assert rig.side.set_shards(shards, 2) == ""
    groups = [Group(("0",), "FullAttentionSpec", BLOCK)]
    assert "hash block of 24" in BlockTables(groups, 24, "sha256", trust=False, decode=False).problem()


def test_what_another_connector_told_is_not_taken_for_ours() -> None:
    (shard,) = shards_in_order({(0, 0): object()})  # As vLLM's MultiConnector may do.
    assert "another connector" in Rig().side.set_shards([shard], 1)


def test_after_a_reset_blocks_have_other_names() -> None:
    rig = Rig()
    before = rig.step().scope
    assert rig.side.reset()
    after = rig.step().scope
    assert before != after
    assert Shard("m", "r", "d", "l", 1, 1, (0, 1), (0, 1)).namespace(before).id != Shard(
        "m", "r", "d", "l", 1, 1, (0, 1), (0, 1)).namespace(after).id


def test_steps_that_are_not_reported_do_not_shift_the_others() -> None:
    rig = Rig()
    rig.lookup.blocks = 100
    for _ in range(5):
        rig.step()  # Nothing to compute: vLLM does not report those.
    rig.start(request("a", 100, "same"), [1, 2, 3, 4])
    number = rig.step(("a", [1, 2, 3, 4], 96), a=4).number
    rig.side.outcome(number, {2})
    assert [lease.released for lease in rig.lookup.leases] == [1]
    assert rig.promised(request("b", 100, "same")) == 1 * BLOCK


def test_hashes_that_are_not_trusted_are_a_problem_and_not_an_exception() -> None:
    rig = Rig(algorithm="xxhash")
    assert "trust_hashes" in rig.told
    rig.lookup.blocks = 100
    assert rig.start(request("a", 100), [1, 2, 3, 4]) == 0
    assert saved(rig.step(("a", [1, 2, 3, 4], 0), a=100)) == []


def test_what_is_raised_inside_does_not_reach_the_engine() -> None:
    rig = Rig()
    rig.lookup.blocks = 100
    odd = request("a", 200)
    odd.block_hashes[0] = 7
    assert rig.start(odd, [1, 2, 3, 4, 5, 6, 7]) == 0
    rig.start(request("b", 200), [11, 12, 13, 14, 15, 16, 17])
    plan = rig.step(("a", [1, 2, 3, 4, 5, 6, 7], 0), ("b", [11, 12, 13, 14, 15, 16, 17], 192), a=200, b=8)
    assert [load.pieces[0].block_ids for load in plan.loads] == [[11, 12, 13, 14, 15, 16]]  # It was promised.
    assert plan.saves == []
    rig.over(())
    assert rig.step(cached=(("b", [18], 200),), b=1).saves == []  # Its table is not complete.


def test_a_step_that_takes_long_keeps_its_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "_HOLD_FOR", -1.0)
    rig = Rig(overlapping=True)
    rig.lookup.blocks = 2
    rig.start(request("a", 200, "same"), [1, 2, 3, 4, 5, 6, 7])
    rig.step(("a", [1, 2, 3, 4, 5, 6, 7], 64), a=64)
    assert saved(rig.step(cached=(("a", [], 128),), a=32)) == []  # Whether it loaded is not known yet.
    assert [lease.released for lease in rig.lookup.leases] == [1]
    rig.over({1})
    assert rig.promised(request("b", 100, "same")) == 0


def test_what_was_computed_before_a_reset_is_not_saved_after_it() -> None:
    rig = Rig()
    rig.start(request("a", 200), [1, 2, 3, 4, 5, 6, 7])
    rig.step(("a", [1, 2, 3, 4, 5, 6, 7], 0), a=100)
    rig.over(())
    rig.side.reset()
    assert saved(rig.step(cached=(("a", [], 100),), a=50)) == []
    rig.over(())
    rig.start(request("a", 200), [8, 9, 10, 11, 12, 13, 14])
    plan = rig.step(cached=(("a", [8, 9, 10, 11, 12, 13, 14], 0),), resumed={"a"}, a=200)
    assert saved(plan) == [("a", 0, [8, 9, 10, 11, 12, 13])]


def test_what_vllm_kept_over_a_reset_is_not_saved_under_new_names() -> None:
    rig = Rig()
    rig.side.reset(kept=True)
    rig.start(request("a", 200), [1, 2, 3, 4, 5, 6, 7], computed=64)  # Two blocks of vLLM's own.
    rig.start(request("b", 100), [8, 9, 10, 11])
    plan = rig.step(("a", [1, 2, 3, 4, 5, 6, 7], 64), ("b", [8, 9, 10, 11], 0), a=136, b=100)
    assert saved(plan) == [("b", 0, [8, 9, 10])]
    rig.over(())
    rig.side.reset()
    rig.start(request("c", 200), [1, 2, 3, 4, 5, 6, 7], computed=64)
    plan = rig.step(("c", [1, 2, 3, 4, 5, 6, 7], 64), c=136)
    assert saved(plan) == [("c", 0, [1, 2, 3, 4, 5, 6])]


def test_nothing_is_saved_of_a_step_in_which_another_connector_may_load_beside_ours() -> None:
    rig = Rig()
    rig.side.beside_others = True
    rig.lookup.blocks = 2
    rig.start(request("a", 200), [1, 2, 3, 4, 5, 6, 7])
    assert saved(rig.step(("a", [1, 2, 3, 4, 5, 6, 7], 64), a=64, loads=True)) == []
    rig.over(())
    assert saved(rig.step(cached=(("a", [], 128),), a=32)) == [("a", 0, [1, 2, 3, 4, 5])]


def test_nothing_is_saved_of_a_step_in_which_another_connector_loads() -> None:
    rig = Rig()
    rig.start(request("a", 200), [1, 2, 3, 4, 5, 6, 7])
    assert saved(rig.step(("a", [1, 2, 3, 4, 5, 6, 7], 64), a=64, loads=True)) == []
    assert saved(rig.step(cached=(("a", [], 128),), a=32)) == []  # Planned before it is known how the load ended.
    rig.over({2})
    rig.over(())
    assert saved(rig.step(cached=(("a", [], 32),), a=64)) == [("a", 0, [1, 2, 3])]


@pytest.mark.parametrize("saves", [False, True])
def test_a_key_that_failed_is_asked_for_again_later(monkeypatch: pytest.MonkeyPatch, saves: bool) -> None:
    rig = Rig(saves=saves)
    rig.lookup.blocks = 100
    rig.start(request("a", 100, "same"), [1, 2, 3, 4])
    rig.step(("a", [1, 2, 3, 4], 96), a=4)
    rig.over({1})
    assert rig.promised(request("b", 100, "same")) == 0
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 3600)
    assert rig.promised(request("b", 100, "same")) == 3 * BLOCK


def test_announced_blocks_are_looked_for_in_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(ranks=2)
    asked: list[Any] = []

    def presence(namespaces: Any, keys: Any) -> list[bool]:
        asked.extend(ns.heads for ns in namespaces)
        return [True] * len(keys)

    monkeypatch.setattr(rig.lookup, "presence", presence, raising=False)
    assert rig.side.there(0, [b"k" * 16]) == [True]
    assert asked == [range(1), range(1, 2)]
    rig.side.close()
    assert rig.side.there(0, [b"k" * 16]) == [None]


def test_after_a_load_that_failed_vllm_forgets_it_and_what_was_computed_from_it() -> None:
    rig = Rig()
    gone: list[set[int]] = []
    rig.side.evict = gone.append
    rig.lookup.blocks = 2
    rig.start(request("a", 200), [1, 2, 3, 4, 5, 6, 7], 32)
    rig.start(request("b", 100), [11, 12, 13, 14])
    rig.step(("a", [1, 2, 3, 4, 5, 6, 7], 96), ("b", [11, 12, 13, 14], 64), a=64, b=36)
    rig.side.finished("a")  # Aborted while the step ran.
    rig.over({2, 3})
    assert gone == [{2, 3, 4, 5, 6, 7}]


def test_whoever_shares_blocks_with_a_load_within_a_step_waits_for_the_next_one() -> None:
    rig = Rig()
    rig.lookup.blocks = 2
    rig.start(request("a", 200, "same"), [1, 2, 3, 4, 5, 6, 7])
    shares, other = request("b", 200, "same"), request("c", 200)
    assert rig.side.promise(shares, 64) is None
    assert rig.side.promise(shares, 32) is None
    assert rig.side.promise(shares, 0) == rig.side.promise(other, 64) == 2 * BLOCK
    rig.step(("a", [1, 2, 3, 4, 5, 6, 7], 64), a=64)
    rig.over(())
    assert rig.side.promise(shares, 64) == 2 * BLOCK
