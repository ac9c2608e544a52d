"""Run by `tests/engines/run`, in an environment that has vLLM."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import harness
import tiny_model

collect_ignore = ["hicache"]  # Of another engine, with an environment of its own.


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny model."""
    return tiny_model.make(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def baseline(model: Path) -> Callable[[list[list[int]], int], list[harness.Answer]]:
    """What an engine without connector answers; asked once for each prompt."""
    known: dict[tuple[tuple[int, ...], int], harness.Answer] = {}

    def ask(prompts: list[list[int]], tokens: int = 12) -> list[harness.Answer]:
        missing = [p for p in prompts if (tuple(p), tokens) not in known]
        if missing:
            with harness.Engine(model, None) as engine:
                for prompt, answer in zip(missing, engine.ask(missing, tokens=tokens), strict=True):
                    known[tuple(prompt), tokens] = answer
        return [known[tuple(p), tokens] for p in prompts]

    return ask
