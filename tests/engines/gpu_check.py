"""Checks of KV on a real device: `tests/engines/run_gpu` runs it. It needs a GPU, and torch for it.

Bytes of all layouts against those of the same tensors on the CPU; order against a stream that is kept busy; speed
beside plain copies of page-locked memory; and, where vLLM for GPUs is installed, an engine's answers. Prints one line
for each, and ends with 1 if any is wrong. Speeds are printed and not judged.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import reprise
from reprise.vllm.worker import layouts
from reprise.vllm.worker.layouts import Staging
from reprise.vllm.worker.staging import StagedKv
from reprise.vllm.worker.staging.device import Device

sys.path.insert(0, str(Path(__file__).parent))

from kv_tables import BLOCKS, TABLE, Tensors, fresh, memory, named

IDS = [4, 0, 3, 5, 1]


class Place:
    """Where the tensors are. The tests put another one in its place, so that what is here runs without a GPU."""

    name = "cuda"
    rounds = 100
    gather_bytes = 1 << 30

    def device(self) -> Device:
        from reprise.vllm.worker.staging.cuda import CudaDevice

        return CudaDevice(torch.device(self.name, torch.cuda.current_device()))

    def engine(self, work: Callable[[], object]) -> None:
        """What an engine does on its stream, after it has been busy for a while."""
        torch.cuda._sleep(2_000_000)  # Cycles: about a millisecond.
        work()

    def finish(self) -> None:
        """Waits until everything is done."""
        torch.cuda.synchronize()


class Cached:
    """Staged tensors and a cache of their own."""

    def __init__(self, place: Place, tensors: Tensors, staging: Staging, blocks: int = BLOCKS,
                 capacity: str = "64MiB") -> None:
        self.place = place
        device = place.device()
        kept, layouts._device_of = layouts._device_of, lambda _: device
        try:
            layout = layouts.layout_of(named(tensors), list(named(tensors)), blocks, staging)
        finally:
            layouts._device_of = kept
        assert layout.staged
        self.name, self.staged = layout.name, layout.staged
        self.cache = reprise.Cache.open(l1_capacity=capacity)
        self.ns = reprise.Namespace(model="m", revision="r", dtype="d", layout=layout.name, block_tokens=16,
                                    block_bytes=self.staged.block_bytes, layers=range(0, 1), heads=range(0, 1), salt="")

    def __enter__(self) -> Cached:
        return self

    def __exit__(self, *_: object) -> None:
        self.place.finish()
        self.staged.close()
        self.cache.close()

    def chain(self, blocks: int) -> reprise.Chain:
        return reprise.Chain(self.ns, random.randbytes(16 * blocks))

    def store(self, chain: reprise.Chain, ids: list[int]) -> int:
        taken, _ = self.staged.store(self.cache.reserve(chain), ids)
        return taken

    def load(self, chain: reprise.Chain, ids: list[int]) -> None:
        with self.cache.acquire(chain) as lease:
            if not self.staged.scatter_from(lease, 0, ids):
                raise AssertionError("a load failed")

    def settle(self) -> None:
        if not self.staged.settle(time.monotonic() + 60):
            raise AssertionError("what was stored is not there after a minute")


def small(tensors: Tensors) -> Staging:
    """So that five blocks take three slots."""
    size = layouts.layout_of(named(tensors), list(named(tensors)), BLOCKS).pieces.block_bytes
    return Staging(pinned_bytes=6 * size, step_blocks=6, slot_bytes=2 * size)


def check_layouts(place: Place) -> None:
    """The bytes that are stored, the name of the layout, and what a load writes are those of the CPU."""
    for name, model in TABLE.items():
        here, there = fresh(model), fresh(model, device=place.name)
        direct = layouts.layout_of(named(here), list(named(here)), BLOCKS)
        pieces: Any = direct.pieces
        with Cached(place, there, small(here)) as cached:
            assert cached.name == direct.name, name
            chain = cached.chain(len(IDS))
            assert cached.store(chain, IDS) == len(IDS)
            cached.settle()
            stored = [bytearray(pieces.block_bytes) for _ in IDS]
            wanted = [bytearray(pieces.block_bytes) for _ in IDS]
            assert cached.cache.get(chain, stored).blocks == len(IDS)
            pieces.gather(IDS, wanted)
            assert stored == wanted, f"{name}: stored"
            cached.load(chain, [1, 2, 0, 4, 3])
            place.finish()
            pieces.scatter([1, 2, 0, 4, 3], wanted)
            assert memory(there) == memory(here), f"{name}: loaded"


def check_order(place: Place) -> None:
    """Saves and loads between steps of an engine that is busy: each sees what it should, and nothing of later."""
    tensors = fresh(TABLE["packed, layer first"], device=place.name)
    with Cached(place, tensors, small(fresh(TABLE["packed, layer first"]))) as cached:
        seen: list[tuple[int, torch.Tensor]] = []
        for value in range(1, place.rounds + 1):
            chain = cached.chain(2)
            place.engine(lambda value=value: _fill(tensors, [0, 1], value))  # type: ignore[misc]
            assert cached.store(chain, [0, 1]) == 2
            place.engine(lambda: _fill(tensors, [0, 1, 2, 3], 255))
            cached.settle()
            if value % 2:
                cached.load(chain, [2, 3])
            else:
                _elsewhere(lambda chain=chain: cached.load(chain, [2, 3]))  # type: ignore[misc]
            copy = torch.zeros_like(tensors[-1][2:4])
            seen.append((value, copy))
            place.engine(lambda copy=copy: copy.copy_(tensors[-1][2:4]))  # type: ignore[misc]
            place.engine(lambda: _fill(tensors, [2, 3], 254))
        place.finish()
        for value, copy in seen:
            assert bool((copy.cpu().view(torch.uint8) == value).all()), f"round {value}"


def _fill(tensors: Tensors, ids: list[int], value: int) -> None:
    for tensor in tensors:
        for number in ids:
            tensor[number].view(torch.uint8).fill_(value)


def _elsewhere(work: Callable[[], None]) -> None:
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(120)
    if failed or thread.is_alive():
        raise AssertionError(f"a load of another thread: {failed or 'it hangs'}")


def check_speed(place: Place) -> None:
    """A gibibyte of blocks of 2 MiB in 32 layers, both ways, beside plain copies of page-locked memory."""
    blocks = place.gather_bytes // (2 << 20)
    tensors = [torch.zeros((blocks, 2, 16, 8, 128), dtype=torch.bfloat16, device=place.name) for _ in range(32)]
    with Cached(place, tensors, Staging(step_blocks=blocks), blocks, f"{blocks * 4 + 64}MiB") as cached:
        ids = random.sample(range(blocks), blocks)
        plain = _plain(cached.staged, place)
        chain = cached.chain(blocks)
        place.finish()
        began = time.perf_counter()
        taken = cached.store(chain, ids)
        place.finish()
        copied = time.perf_counter() - began
        cached.settle()
        stored = time.perf_counter() - began
        assert taken == blocks, f"{taken} of {blocks} blocks found a slot"
        began = time.perf_counter()
        cached.load(chain, ids)
        place.finish()
        loaded = time.perf_counter() - began
    rate = place.gather_bytes / 1e9
    sys.stdout.write(f"  {blocks} blocks of 2 MiB, GB/s: out {rate / copied:.1f} (plain {plain[0]:.1f}), until it is "
                     f"stored {rate / stored:.1f}; in {rate / loaded:.1f} (plain {plain[1]:.1f})\n")


def _plain(staged: StagedKv, place: Place) -> tuple[float, float]:
    """GB/s of copies of whole slots, out and in."""
    slot, rows = staged._load_slots._free[0].blocks, staged._load_rows
    rates = []
    for to, source in ((slot, rows), (rows, slot)):
        to.copy_(source, non_blocking=True)
        place.finish()
        began = time.perf_counter()
        for _ in range(16):
            to.copy_(source, non_blocking=True)
        place.finish()
        rates.append(16 * slot.nbytes / 1e9 / (time.perf_counter() - began))
    return rates[0], rates[1]


def check_engine(place: Place, **how: Any) -> None:
    """Answers to prompts whose KV comes from Reprise are those to prompts whose KV is still in the engine.

    With CUDA graphs, and in bfloat16, which the usual kernels take. how: other arguments of the engine.
    """
    import harness
    import tiny_model

    with tempfile.TemporaryDirectory() as folder:
        model = tiny_model.make(Path(folder) / "tiny")
        prompts = harness.prompts_of(300, 320, 33, 500)
        extra = {"l1_capacity": "256MiB", "strict": True, **harness.PATIENT}
        how = {"dtype": "bfloat16", "enforce_eager": False, **how}
        with harness.Engine(model, extra, **how) as engine:
            engine.ask(prompts)
            kept = []
            for prompt in prompts:
                engine.forget()
                engine._generate([prompt], 12)
                kept += engine._generate([prompt], 12)
            loaded = engine.ask(prompts)
            assert loaded == kept
            assert sum(a.cached for a in loaded) >= 0.98 * harness.ideal(prompts), [a.cached for a in loaded]
            assert engine.metric("reprise_loaded_blocks") > 0 and engine.metric("reprise_failed_blocks") == 0


def main(place: Place | None = None) -> int:
    """Runs all of it; returns the exit status."""
    if place is None and not torch.cuda.is_available():
        sys.stdout.write("skipped: torch sees no GPU here. This needs a machine with one, torch built for it, the "
                         "wheel reprise-kv and, for the last check, vLLM for GPUs.\n")
        return 0
    checks = [check_layouts, check_order, check_speed]
    if importlib.util.find_spec("vllm") is None or "vllm" not in _distributions():
        sys.stdout.write("check_engine: skipped, vLLM for GPUs is not installed\n")
    else:
        checks.append(check_engine)
    bad = 0
    for check in checks:
        try:
            check(place or Place())
            sys.stdout.write(f"{check.__name__}: good\n")
        except Exception as error:
            bad = 1
            sys.stdout.write(f"{check.__name__}: WRONG: {type(error).__name__}: {error}\n")
    return bad


def _distributions() -> list[str]:
    return [each.metadata["Name"] for each in importlib.metadata.distributions()]


if __name__ == "__main__":
    sys.exit(main())
