"""KV events of the external tier, as a router gets them from vLLM's own publisher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from router import Router
from vllm.distributed.kv_events import BlockStored

import tiny_model
from harness import BLOCK, PATIENT, Daemon, Engine, eventually, prompts_of


def test_a_router_sees_what_is_stored_evicted_and_reset(model: Path, tmp_path: Path) -> None:
    """The blocks of the external tier have the names of vLLM's own, and go when they are gone."""
    router = Router(tmp_path)
    with Daemon(tmp_path, "--l1-capacity", "1MiB", "--l1-policy", "lru") as daemon:
        extra = {"cache_url": daemon.url, "event_checks": 5000, **PATIENT}
        with Engine(model, extra, kv_events_config=router.config) as engine:
            first = prompts_of(200, seed=1)
            engine.ask(first, tokens=2)
            eventually(lambda: router.listen().stored["CPU"], "something is announced")
            _same_as_of_vllm(router, 200 // BLOCK)
            told = [t for e in {id(e): e for e in router.stored["CPU"].values()}.values() for t in e.token_ids]
            assert told == first[0][:200 // BLOCK * BLOCK]

            # What others push out of the daemon is taken back: a step is needed, for vLLM publishes with steps alone.
            others = iter(range(100, 200))
            kept = dict(router.stored["CPU"])

            def gone() -> bool:
                engine.ask(prompts_of(400, seed=next(others)), tokens=2)
                return set(router.listen().removed) >= set(kept)

            eventually(gone, "the first prompt's blocks are taken back")
            assert not set(kept) & set(router.stored["CPU"])

            engine.ask(first, tokens=2)
            eventually(lambda: set(router.listen().stored["CPU"]) >= set(kept), "they are announced anew")

            engine.forget(connector=True)
            engine.ask(prompts_of(20, seed=3), tokens=2)  # Too short for a block.
            eventually(lambda: not router.listen().stored["CPU"], "a reset takes everything back")
            assert router.cleared
    router.close()


def test_of_several_groups(tmp_path: Path) -> None:
    """Each group's blocks are announced for themselves."""
    model = tiny_model.make(tmp_path / "hybrid", windows="sfsf", window=64)
    router = Router(tmp_path)
    with Engine(model, {"event_checks": 5000, **PATIENT}, kv_events_config=router.config,
                disable_hybrid_kv_cache_manager=False) as engine:
        prompt = prompts_of(50, seed=1)  # Within the window.
        engine.ask(prompt, tokens=3)
        eventually(lambda: len(router.listen().stored["CPU"]) == 2, "a block of each group is announced")
        _same_as_of_vllm(router, 2)
        assert {group for group, _ in router.stored["CPU"]} == {0, 1}
        engine.ask(prompt, tokens=3)
        assert not router.listen().removed  # Still there.
    router.close()


def _same_as_of_vllm(router: Router, blocks: int) -> None:
    """What vLLM says of its own blocks, but for the medium."""
    external, own = router.stored["CPU"], router.stored["GPU"]
    assert len(external) == blocks
    assert set(external) <= set(own)
    for (group, name), event in external.items():
        theirs = own[group, name]
        assert event.block_size == BLOCK
        assert len(event.token_ids) == BLOCK * len(event.block_hashes)
        assert len(event.extra_keys or []) == len(event.block_hashes)
        at, there = event.block_hashes.index(name), theirs.block_hashes.index(name)
        assert _slice(event, at) == _slice(theirs, there)
        assert _parent(event, at) == _parent(theirs, there)
        same = ("kv_cache_spec_kind", "kv_cache_spec_sliding_window", "lora_id", "lora_name", "session_id")
        assert [getattr(event, name) for name in same] == [getattr(theirs, name) for name in same]


def _slice(event: BlockStored, at: int) -> list[int]:
    return list(event.token_ids[at * BLOCK:(at + 1) * BLOCK])


def _parent(event: BlockStored, at: int) -> Any:
    return event.block_hashes[at - 1] if at else event.parent_block_hash
