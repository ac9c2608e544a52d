"""`python -m reprise.vllm.serve ARGUMENTS`: vLLM's OpenAI server, for command lines and environments of older versions.

Flags that this vLLM does not know are left out with a warning each; variables that once switched a cache on add the
connector. Then vLLM's own server takes this process over: also where the command `vllm` does not work.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Mapping

from .drop_in.command_line import lacking

logger = logging.getLogger("vllm.reprise")


def mend(arguments: list[str], environment: Mapping[str, str], unknown: Callable[[list[str]], list[str]], *,
         block_unit: int = 16) -> tuple[list[str], list[str]]:
    """The command line for this vLLM, and what was changed. `unknown`: the words of it that vLLM does not know."""
    warnings: list[str] = []
    mended = _without(arguments, unknown(arguments), warnings)
    added, said = lacking(mended, environment, block_unit=block_unit)
    mended += added
    warnings += said
    if environment.get("VLLM_USE_V1") == "0":
        warnings.append("VLLM_USE_V1 is 0: this vLLM has its V1 engine alone, which is used")
    return mended, warnings


def _without(arguments: list[str], unknown: list[str], warnings: list[str]) -> list[str]:
    """Takes unknown flags out, with the value that follows one: nothing but flags has a place of its own here."""
    kept: list[str] = []
    left_out: list[list[str]] = []
    before = ""
    for word in arguments:
        if word.startswith("-") and word in unknown:
            left_out.append([word])
        elif left_out and not word.startswith("-") and before == left_out[-1][0] and "=" not in before:
            left_out[-1].append(word)
        else:
            kept.append(word)
        before = word
    warnings += [f"this vLLM does not know {' '.join(words)}: left out" for words in left_out]
    return kept


def model_flag(arguments: list[str]) -> list[str]:
    """Words to add where the model is named as for `vllm serve`: the server's module reads that, and serves another."""
    tag = getattr(_parse(arguments)[0], "model_tag", None)
    return ["--model", tag] if tag else []


def _parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """As vLLM reads them, and the words that it does not know."""
    try:
        from vllm.entrypoints.launchers.cli_args import make_arg_parser
    except ImportError:  # Where it was before.
        from vllm.entrypoints.openai.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    known, unknown = make_arg_parser(FlexibleArgumentParser()).parse_known_args(arguments)
    return known, unknown


def block_unit() -> int:
    """Tokens of which vLLM's blocks are a multiple on this platform."""
    from vllm.platforms import current_platform

    return 32 if current_platform.is_cpu() else 16


def main() -> None:
    """Becomes vLLM's server."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    arguments = sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        sys.stdout.write(f"{__doc__}\n")  # vLLM's own follows.
    try:
        mended, warnings = mend(arguments, os.environ, lambda words: _parse(words)[1], block_unit=block_unit())
        mended += model_flag(mended)
    except ImportError as error:  # Elsewhere in this version: vLLM says itself what it does not like.
        logger.warning("Reprise: flags are not looked at: %s", error)
        mended, warnings = mend(arguments, os.environ, lambda _: [])
    for warning in warnings:
        logger.warning("Reprise: %s", warning)
    if os.environ.get("VLLM_USE_V1") == "0":
        del os.environ["VLLM_USE_V1"]
    os.execv(sys.executable, [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *mended])


if __name__ == "__main__":
    main()
