"""Time to the first token in a real vLLM on a CPU: computed, from vLLM's own prefix cache, and from Reprise.

    PYTHONPATH=tests/engines build/vllm-env/bin/python -P bench/vllm/ttft.py [LAYERS] [TOKENS] [REQUESTS]

Needs what tests/engines/run installs. Each prompt is asked for three times in a row: new, after the engine forgot it,
and once more. Prints a line of JSON: medians and quartiles in milliseconds.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import harness
import tiny_model


def timed(engine: harness.Engine, prompt: list[int]) -> tuple[float, int]:
    """Milliseconds until the first token, and how many tokens came from a cache."""
    began = time.perf_counter()
    outputs = engine.llm.generate([{"prompt_token_ids": prompt}], harness.sampling(1), use_tqdm=False)
    return (time.perf_counter() - began) * 1e3, outputs[0].num_cached_tokens or 0


def summary(times: list[float]) -> dict[str, object]:
    low, middle, high = statistics.quantiles(times, n=4)
    return {"median": round(middle, 1), "quartiles": [round(low, 1), round(high, 1)]}


def measure(model: Path, tokens: int, requests: int, extra: dict[str, object] | None) -> dict[str, list[float]]:
    prompts = harness.prompts_of(*[tokens] * (requests + 2), seed=3)
    times: dict[str, list[float]] = {"computed": [], "from Reprise": [], "from vLLM": []}
    with harness.Engine(model, extra, max_model_len=4096, max_num_batched_tokens=4096) as engine:
        for i, prompt in enumerate(prompts):
            engine.forget()
            computed = timed(engine, prompt)[0]
            engine.forget()
            fetched, cached = timed(engine, prompt)
            own, local = timed(engine, prompt)
            assert local >= harness.ideal([prompt])
            assert extra is None or cached == harness.ideal([prompt])
            if i >= 2:  # The first two warm up.
                for name, value in zip(times, (computed, fetched, own), strict=True):
                    times[name].append(value)
    return times


def main(layers: int = 12, tokens: int = 2000, requests: int = 20) -> None:
    with tempfile.TemporaryDirectory() as folder:
        model = tiny_model.make(Path(folder) / "model", layers)
        alone = measure(model, tokens, requests, None)
        ours = measure(model, tokens, requests, {"l1_capacity": "1GiB", "strict": True, **harness.PATIENT})
    told = {"layers": layers, "tokens": tokens, "requests": requests,
            "without Reprise": {n: summary(alone[n]) for n in ("computed", "from vLLM")},
            "with Reprise": {name: summary(values) for name, values in ours.items()}}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
