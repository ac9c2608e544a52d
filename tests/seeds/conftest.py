"""Run as `tests/engines/run tests/seeds`, in an environment that has vLLM."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "engines"))
