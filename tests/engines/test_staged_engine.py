"""A real engine whose KV goes the way of a device: its answers are those of an engine without Reprise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from reprise.vllm.worker import layouts

import tiny_model
from harness import PATIENT, Answer, Engine, ideal, prompts_of
from late_device import LateDevice

Baseline = Callable[..., list[Answer]]


def test_a_staged_engine_answers_as_one_without_the_cache(
        model: Path, baseline: Baseline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunked prefill and preemption, with saves that are under way while the next steps run, and loads of both kinds:
    within a step, and by a thread beside the steps."""
    device = LateDevice(prompt=True, idle=0.99)
    monkeypatch.setattr(layouts, "_device_of", lambda _: device)
    short, prompts = prompts_of(33, 300, 320, 700, prefix=32), prompts_of(250, 260, 270, 280, seed=11)
    expected, long = baseline(short), baseline(prompts, 150)
    extra = {"l1_capacity": "256MiB", "strict": True, "async_load_above": "480KiB", **PATIENT}
    with Engine(model, extra, num_gpu_blocks_override=40, max_num_batched_tokens=96) as engine:
        assert engine.ask(short, at_once=True) == expected
        assert engine.ask(prompts, tokens=150, at_once=True) == long
        assert engine.metric("num_preemptions") > 0
        asked = [*short, *prompts]
        expected += [Answer(a.tokens[:12], a.logprobs[:12], 0) for a in long]
        ask_until_stored(engine, asked, expected)
        assert engine.metric("reprise_saved_blocks") >= sum(len(p) // 32 for p in asked) - 3
        assert engine.metric("reprise_failed_blocks") == 0
        assert engine.leases == 0
    assert len(device.streams) == 3 and not any(stream.queue for stream in device.streams[1:])


def test_blocks_that_leave_a_window_are_stored_as_they_were(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two KV groups, each with a device of its own; blocks of the window are another request's while they are saved."""
    devices: list[LateDevice] = []

    def device_of(_: object) -> LateDevice:
        devices.append(LateDevice(prompt=True, idle=0.99))
        return devices[-1]

    model = tiny_model.make(tmp_path / "windows", windows="sf", window=100)
    prompts, chunks = prompts_of(300, 500, 33, 700), {"max_num_batched_tokens": 256}
    with Engine(model, None, **chunks) as engine:
        expected = engine.ask(prompts)
    monkeypatch.setattr(layouts, "_device_of", device_of)
    with Engine(model, {"l1_capacity": "256MiB", "strict": True, **PATIENT}, **chunks) as engine:
        assert engine.ask(prompts, at_once=True) == expected
        ask_until_stored(engine, prompts, expected)
    assert len(devices) == 2


def ask_until_stored(engine: Engine, prompts: list[list[int]], expected: list[Answer]) -> None:
    """What is under way is stored sooner or later; the answers are right all the time."""
    for _ in range(20):
        answers = engine.ask(prompts)
        assert answers == expected
        if sum(a.cached for a in answers) >= 0.98 * ideal(prompts):
            return
    pytest.fail("not everything was stored")
