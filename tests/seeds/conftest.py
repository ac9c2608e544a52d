"""Run as `tests/engines/run tests/seeds`, in an environment that has vLLM."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "engines"))

import tiny_model


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny model and a tokenizer."""
    return tiny_model.add_tokenizer(tiny_model.make(tmp_path_factory.mktemp("models") / "tiny"))
