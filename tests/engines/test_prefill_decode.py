"""One engine computes a prompt, another one goes on from there: they meet in what lies behind both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reprise.vllm.scheduler.flush import Flusher

import harness
from harness import PATIENT, Answer, Engine, ideal, prompts_of

TURN = 250
PREFILL = {"do_remote_decode": True, "do_remote_prefill": False}


def ask(engine: Engine, prompt: list[int], tokens: int, params: dict[str, Any] | None) -> tuple[Answer, Any]:
    """The answer, and what a router hands on to the next engine."""
    from vllm import SamplingParams

    engine.forget()
    how = SamplingParams(temperature=0, detokenize=False, ignore_eos=True, logprobs=2, max_tokens=tokens,
                         extra_args={"kv_transfer_params": params} if params else None)
    (output,) = engine.llm.generate([{"prompt_token_ids": prompt}], how, use_tqdm=False)
    return harness.answer_of(output), output.kv_transfer_params


def test_a_conversation_moves_to_the_decoder_and_back(model: Path, tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    said = prompts_of(TURN, TURN, TURN, seed=3)
    with Engine(model, None) as plain:
        prompts, expected = [said[0]], [ask(plain, said[0], 12, None)[0]]
        for words in said[1:]:
            prompts.append(prompts[-1] + expected[-1].tokens + words)
            expected.append(ask(plain, prompts[-1], 12, None)[0])
    for name, value in {"L1_CACHE_CAPACITY_GB": "0.25", "L2_CACHE_BACKEND": "SHFS", "SHFS_ROOT": str(tmp_path / "kv"),
                        "L2_CACHE_INGESTION_TYPE": "ALL", "FLUSH_TIMEOUT_S": "60"}.items():
        monkeypatch.setenv(f"AIBRIX_KV_CACHE_OL_{name}", value)
    flushed: list[bool] = []
    flush = Flusher.flush
    monkeypatch.setattr(Flusher, "flush", lambda self: flushed.append(flush(self)) or flushed[-1])

    with engine(model, "kv_producer") as prefiller:
        first, params = ask(prefiller, prompts[0], 1, PREFILL)
        assert flushed == [True]
        assert len(files(tmp_path)) == TURN // 32  # They are there as soon as the answer is.
        assert (params["do_remote_prefill"], params["do_remote_decode"]) == (True, False)
    with engine(model, "kv_both") as decoder:
        answer, told = ask(decoder, prompts[0], 12, params)
        assert answer == expected[0]
        assert answer.tokens[:1] == first.tokens
        # vLLM tells in the answer what the prefiller found; in its counters, what this engine did.
        assert decoder.metric("external_prefix_cache_hits") >= 0.98 * ideal(prompts[:1])
        assert told is None
        later, _ = ask(decoder, prompts[1], 12, None)  # The next turn stays with it.
        assert later == expected[1]
        assert later.cached == len(prompts[0]) // 32 * 32
        assert flushed == [True]  # Nobody waits for what a decoder stores.
    with engine(model, "kv_producer") as prefiller:
        prefiller.connector._scheduler._overlapping = True  # As on devices, where steps are planned ahead.
        ask(prefiller, prompts[2], 1, PREFILL)
        assert prefiller.metric("external_prefix_cache_hits") == len(prompts[1]) // 32 * 32
        assert flushed == [True, True]
        assert len(files(tmp_path)) == len(prompts[2]) // 32  # What was computed behind what was loaded is there, too.
        back, _ = ask(prefiller, prompts[2], 12, None)
        assert back == expected[2]
        assert back.cached >= 0.98 * ideal(prompts[2:])


def engine(model: Path, role: str) -> Engine:
    return Engine(model, dict(PATIENT), name="AIBrixPDReuseConnector", module=None, role=role)


def files(folder: Path) -> list[Path]:
    """Of blocks."""
    return [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size > 1 << 12]
