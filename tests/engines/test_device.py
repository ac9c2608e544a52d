"""KV tensors on a device, without one: the staged path on a device of the tests that works late and in odd orders."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from reprise.vllm.layouts import UnknownLayout, layout_of
from reprise.vllm.staging.views import BlockViews

import gpu_check
from harness import eventually
from kv_tables import BLOCKS, TABLE, TABLE_OF_DIMS, fresh, memory, named
from late_device import LateDevice
from staged_play import Play, direct_layout, play, staged_layout


@pytest.mark.parametrize("name", TABLE)
def test_a_staged_block_has_the_bytes_of_one_that_was_copied(name: str) -> None:
    tensors = fresh(TABLE[name])
    direct_name, direct = direct_layout(tensors)
    layout, staged = staged_layout(LateDevice(), tensors)
    assert (layout.name, staged.block_bytes, staged.num_blocks) == (direct_name, direct.block_bytes, BLOCKS)
    wanted = bytearray(3 * direct.block_bytes)
    direct.gather([4, 0, 3], wanted)
    rows = torch.zeros((4, direct.block_bytes), dtype=torch.uint8)
    staged._views.gather(torch.tensor([4, 0, 3]), rows[:3])
    assert rows[:3].numpy().tobytes() == wanted and not rows[3].any()
    others, expected = fresh(TABLE[name], 1), fresh(TABLE[name], 1)
    staged_layout(LateDevice(), others)[1]._views.scatter(torch.tensor([1, 5, 2]), rows[:3])
    direct_layout(expected)[1].scatter([1, 5, 2], wanted)
    assert memory(others) == memory(expected)
    staged.close()


def test_layers_at_equal_distances_are_one_kernel() -> None:
    counts = {name: len(BlockViews(tensors, [dim] * len(tensors))) for name, (tensors, dim) in TABLE_OF_DIMS.items()}
    assert counts["packed, layer first"] == counts["packed, blocks first"] == counts["heads outermost"] == 1
    assert counts["MLA"] == 3 and counts["at unequal distances"] == 3 and counts["backwards"] == 4


@pytest.mark.parametrize("favourite", ["", "engine", "save", "load"])
@pytest.mark.parametrize("name", ["packed, layer first", "K and V apart", "fp8 with scales"])
def test_whatever_the_order_no_byte_is_wrong(name: str, favourite: str) -> None:
    assert [play(name, seed, favourite=favourite) for seed in range(3)] == [0, 0, 0]


@pytest.mark.parametrize("name", TABLE)
def test_whatever_the_layout_no_byte_is_wrong(name: str) -> None:
    assert [play(name, seed) for seed in range(3, 6)] == [0, 0, 0]


@pytest.mark.parametrize("how", [
    {"missing": (("save", "engine"),), "favourite": "save"},  # Saved before it was computed.
    {"missing": (("engine", "save"),), "favourite": "engine"},  # Overwritten before it was gathered.
    {"missing": (("load", "engine"),), "favourite": "load"},  # Loaded into blocks that were in use.
    {"missing": (("engine", "load"),), "favourite": "engine"},  # Read before it was loaded.
    {"lies": ("save",), "favourite": "engine"},  # Committed before it was copied.
    {"lies": ("load",), "favourite": "engine"},  # A slot filled anew before it was copied.
], ids=str)
def test_without_any_one_of_the_waits_bytes_are_wrong(how: dict[str, Any]) -> None:
    assert any(play("packed, layer first", seed, **how) for seed in range(8))


@pytest.fixture
def game() -> Iterator[Play]:
    with Play("packed, layer first", LateDevice(), 7) as made:
        yield made


def test_what_the_cache_has_is_not_copied_again(game: Play) -> None:
    ids = [5, 1, 4, 2, 0]
    what = game.write(ids)
    chain = game.chain(5)
    game.cache.put(chain, [what[:game.size]])
    assert game.staged.store(game.cache.reserve(chain), ids) == (4, 0)
    game.chains.append((chain, what))
    assert game.mistakes() == 0
    assert game.staged.store(game.cache.reserve(chain), ids) == (0, 5)
    assert game.staged.stored().blocks == 4


def test_where_no_slot_is_free_fewer_blocks_are_stored(game: Play) -> None:
    game.device.stopped = True
    game.write([0, 1, 2, 3, 4, 5])
    first, second = game.store([0, 1, 2, 3]), game.store([4, 5, 0, 1])
    assert (first, second, game.store([2])) == (4, 2, 0)
    game.device.stopped = False
    assert game.mistakes() == 0
    assert [game.cache.match(chain).blocks for chain, _ in game.chains] == [4, 2]
    assert game.store([0, 1, 2, 3, 4, 5]) == 6
    assert game.mistakes() == 0


@pytest.mark.parametrize("after", range(8))
def test_a_save_that_the_device_refuses_is_not_stored(game: Play, after: int) -> None:
    game.write([0, 1, 2, 3, 4, 5])
    game.device.fail("save", after)  # Ids of two slots, their gather, two copies; and of one slot.
    with pytest.raises(RuntimeError, match="no more memory"):
        game.store([0, 1, 2, 3, 4, 5])
    game.write([0, 1])
    assert game.mistakes() == 0
    assert game.store([0, 1, 2, 3, 4, 5]) == 6  # All slots are back.
    assert game.mistakes() == 0


@pytest.mark.parametrize("favourite", ["engine", "load"])
def test_what_is_left_of_a_load_that_failed_does_not_come_later(favourite: str) -> None:
    with Play("packed, layer first", LateDevice(favourite), 7) as game:
        game.store([0, 1, 2, 3, 4, 5])
        game.there(game.chains[0][0], 6)
        game.device.fail("load", 5)  # The second scatter.
        with game.cache.acquire(game.chains[0][0]) as lease, pytest.raises(RuntimeError, match="no more memory"):
            game.staged.scatter_from(lease, 0, [5, 4, 3, 2, 1, 0])
        game.write([0, 1, 2, 3, 4, 5])  # The engine computes it after all.
        game.read([0, 1, 2, 3, 4, 5])
        assert game.mistakes() == 0
        assert game.load(*game.chains[0], [1, 0, 3, 2, 5, 4])
        assert game.mistakes() == 0


def test_another_thread_returns_when_the_blocks_are_there(game: Play) -> None:
    game.store([0, 1, 2, 3, 4])
    game.there(game.chains[0][0], 5)
    game.write([5, 4, 3, 2, 1, 0])
    game.staged.begin_step()
    found = bytearray(5 * game.size)

    def load() -> None:
        if game.load(*game.chains[0], [3, 5, 1, 0, 2]):
            game.kernels.gather([3, 5, 1, 0, 2], found)

    thread = threading.Thread(target=load)
    thread.start()
    thread.join(60)
    assert found == game.chains[0][1]
    assert game.mistakes() == 0


def test_threads_load_at_once(game: Play) -> None:
    game.store([0, 1])
    game.store([2, 3])
    for chain, _ in game.chains:
        game.there(chain, 2)
    for _ in range(20):
        threads = [threading.Thread(target=game.load, args=(*game.chains[i], [2 * i + 1, 2 * i])) for i in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert game.mistakes() == 0


def test_a_lease_that_ran_out_gives_nothing(game: Play) -> None:
    game.store([0, 1, 2, 3])
    game.there(game.chains[0][0], 4)
    lease = game.cache.acquire(game.chains[0][0])
    assert lease.renew(0.001)
    eventually(lambda: not lease.valid, "the lease runs out")
    assert not game.staged.scatter_from(lease, 0, [3, 2, 1, 0])
    assert game.mistakes() == 0


def test_settling_waits_for_what_is_under_way(game: Play) -> None:
    assert game.staged.settle(0)
    game.device.stopped = True
    game.write([0, 1, 2, 3])
    game.store([0, 1, 2, 3])
    assert not game.staged.settle(time.monotonic() + 0.01)
    game.device.stopped = False
    assert game.staged.settle(time.monotonic() + 60)
    assert game.cache.match(game.chains[0][0]).blocks == 4
    assert game.mistakes() == 0


def test_closing_stores_what_is_under_way_and_nothing_more(game: Play) -> None:
    game.write([0, 1, 2, 3])
    assert game.store([0, 1, 2, 3]) == 4
    game.staged.close(60)
    assert game.cache.match(game.chains[0][0]).blocks == 4
    assert game.store([4]) == 0
    with game.cache.acquire(game.chains[0][0]) as lease:
        assert not game.staged.scatter_from(lease, 0, [0, 1, 2, 3])
    assert game.mistakes() == 0


def test_closing_does_not_wait_for_a_device_that_hangs(game: Play) -> None:
    game.write([0, 1, 2, 3])
    assert game.store([0, 1, 2, 3]) == 4
    chain, _ = game.chains.pop()
    game.device.stopped = True
    game.staged.close(0.05)
    assert isinstance(game.staged.stored().problems[0], TimeoutError)
    assert game.cache.match(chain).blocks == 0
    assert game.cache.reserve(chain)[0] is not None  # It was given back.


def test_a_device_that_fails_stores_nothing_and_gives_nothing(game: Play) -> None:
    game.write([0, 1, 2, 3, 4, 5])
    assert game.store([0, 1]) == 2
    game.there(game.chains[0][0], 2)
    game.device.broken = True
    assert game.store([2, 3, 4, 5]) == 4
    chain, _ = game.chains.pop()
    assert game.staged.settle(time.monotonic() + 60)
    assert "has failed" in str(game.staged.stored().problems[0])
    assert game.cache.match(chain).blocks == 0
    with pytest.raises(RuntimeError, match="has failed"):
        game.store([0, 1])
    with game.cache.acquire(game.chains[0][0]) as lease, pytest.raises(RuntimeError, match="has failed"):
        for _ in range(3):  # The first slots were never used.
            game.staged.scatter_from(lease, 0, [4, 5])
    game.device.broken = False


def test_ids_that_there_are_not_reach_no_device(game: Play) -> None:
    for ids in ([0, BLOCKS], [-1, 0]):
        with pytest.raises(ValueError, match="there are 6 blocks"):
            game.staged.store(game.cache.reserve(game.chain(2)), ids)
    game.store([0, 1])
    game.there(game.chains[0][0], 2)
    with game.cache.acquire(game.chains[0][0]) as lease, pytest.raises(ValueError, match="there are 6 blocks"):
        game.staged.scatter_from(lease, 0, [0, BLOCKS])
    with pytest.raises(ValueError, match="1 block ids for a reservation of 2"):
        game.staged.store(game.cache.reserve(game.chain(2)), [0])
    assert game.mistakes() == 0


def test_tensors_of_an_engine_in_inference_mode_can_be_loaded_by_any_thread() -> None:
    with torch.inference_mode():
        tensors = [torch.zeros(BLOCKS, 8) for _ in range(2)]
        staged = staged_layout(LateDevice(), tensors)[1]
    rows = torch.full((1, 64), 7, dtype=torch.uint8)
    staged._views.scatter(torch.tensor([3]), rows)
    assert bytes(tensors[1][3].numpy().tobytes()) == b"\7" * 32
    staged.close()


def test_devices_that_are_not_known_are_refused_by_name() -> None:
    elsewhere = torch.zeros((BLOCKS, 4), device="meta")
    with pytest.raises(UnknownLayout, match=r"layers.0.attn.*on 'meta': KV is copied from memory of the CPU and"):
        layout_of(named([elsewhere]), list(named([elsewhere])), BLOCKS)


class Nowhere(gpu_check.Place):
    """The checks of a real device, without one."""

    name, rounds, gather_bytes = "cpu", 6, 8 << 20

    def device(self) -> Any:
        self.late = LateDevice()
        return self.late

    def engine(self, work: Any) -> None:
        self.late.engine.run(work)

    def finish(self) -> None:
        self.late.finish()


def test_the_checks_of_a_real_device_run(capsys: pytest.CaptureFixture[str]) -> None:
    for check in (gpu_check.check_layouts, gpu_check.check_order, gpu_check.check_speed):
        check(Nowhere())
    assert "4 blocks of 2 MiB" in capsys.readouterr().out
    if not torch.cuda.is_available():
        assert gpu_check.main() == 0
        assert "skipped: torch sees no GPU here" in capsys.readouterr().out
