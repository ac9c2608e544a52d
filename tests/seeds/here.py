"""A deployment's command line and environment, changed as little as it takes to run it here."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reprise.vllm import serve

import extract
from harness import Engine

SMALL_GB = "0.25"  # For each rank.
_CAPACITY = ("VINEYARD_CACHE_CPU_MEM_LIMIT_GB", "AIBRIX_KV_CACHE_OL_L1_CACHE_CAPACITY_GB")
# Two cores, no GPU, no Ray, and a model that takes 1024 tokens.
_CPU = ["--host", "127.0.0.1", "--dtype", "float32", "--enforce-eager", "--block-size", "32", "--max-num-seqs", "4",
        "--num-gpu-blocks-override", "64", "--enable-prompt-tokens-details"]
_OURS = re.compile("|".join(["AIBRIX_", "VINEYARD_", "VLLM_USE_V1$", "VLLM_USE_VINEYARD", "VLLM_RPC_TIMEOUT"]))


def adapted(deployment: extract.Deployment, model: Path, port: int = 8000) -> list[str]:
    """Its arguments with another model, and on this machine."""
    instead = {"--model": str(model), "--port": str(port), "--max-model-len": "1024", "--tensor-parallel-size": "1",
               "--distributed-executor-backend": "uni"}
    arguments = list(deployment.arguments)
    for flag, value in instead.items():
        if flag in arguments:
            arguments[arguments.index(flag) + 1] = value
    return arguments + _CPU


def environment(deployment: extract.Deployment, **instead: str) -> dict[str, str]:
    """Its variables, with a capacity that fits here, and `instead` of some of them; an empty one is left out."""
    small = {name: SMALL_GB for name in _CAPACITY if name in deployment.environment}
    assert instead.keys() <= deployment.environment.keys() | {"AIBRIX_KV_CACHE_OL_SHFS_ROOT"}
    return {name: value for name, value in {**deployment.environment, **small, **instead}.items() if value}


@contextmanager
def engine(arguments: list[str], variables: Mapping[str, str]) -> Iterator[tuple[Engine, list[str]]]:
    """An engine in this process by the launcher's command line, read by vLLM's own parser; and what the launcher said.

    Prompts are tokens here, and not words.
    """
    from vllm.engine.arg_utils import EngineArgs
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    before = {name: value for name, value in os.environ.items() if _OURS.match(name)}
    for name in before:
        del os.environ[name]
    os.environ.update(variables)
    try:
        mended, said = serve.mend(arguments, os.environ, lambda words: serve._parse(words)[1],
                                  block_unit=serve.block_unit())
        os.environ.pop("VLLM_USE_V1", None)
        told: dict[str, Any] = vars(EngineArgs.from_cli_args(
            make_arg_parser(FlexibleArgumentParser()).parse_args(mended)))
        told.update(skip_tokenizer_init=True, disable_log_stats=False)
        with Engine(Path(told.pop("model")), None, **told) as made:
            yield made, said
    finally:
        for name in variables:
            os.environ.pop(name, None)
        os.environ.update(before)
