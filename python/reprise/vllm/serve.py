"""`python -m reprise.vllm.serve ARGUMENTS`: vLLM's OpenAI server, for command lines and environments of older versions.

Flags that this vLLM does not know are left out with a warning each; variables that once switched a cache on add the
connector. Then vLLM's own server takes this process over: also where the command `vllm` does not work.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Mapping

logger = logging.getLogger("vllm.reprise")

_SWITCHES = ("VLLM_USE_VINEYARD_CACHE", "AIBRIX_LLM_KV_CACHE")
_CONNECTOR = {"kv_connector": "AIBrixOffloadingConnector", "kv_role": "kv_both"}


def mend(arguments: list[str], environment: Mapping[str, str],
         unknown: Callable[[list[str]], list[str]]) -> tuple[list[str], list[str]]:
    """The command line for this vLLM, and what was changed. `unknown`: the words of it that vLLM does not know."""
    warnings: list[str] = []
    mended = _without(arguments, unknown(arguments), warnings)
    switch = next((name for name in _SWITCHES if environment.get(name, "").lower() in ("1", "true")), None)
    if switch and not any(word.split("=")[0] == "--kv-transfer-config" for word in mended):
        mended += ["--kv-transfer-config", json.dumps(_CONNECTOR)]
        warnings.append(f"{switch} is set: added --kv-transfer-config '{mended[-1]}'")
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


def _unknown_to_vllm(arguments: list[str]) -> list[str]:
    try:
        from vllm.entrypoints.launchers.cli_args import make_arg_parser
    except ImportError:  # Where it was before.
        from vllm.entrypoints.openai.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    return make_arg_parser(FlexibleArgumentParser()).parse_known_args(arguments)[1]


def main() -> None:
    """Becomes vLLM's server."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    arguments = sys.argv[1:]
    try:
        unknown = _unknown_to_vllm
        mended, warnings = mend(arguments, os.environ, unknown)
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
