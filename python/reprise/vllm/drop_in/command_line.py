"""What a command line for older versions of vLLM lacks: the flags that environment variables once stood for.

Used by the launcher (serve.py), and by the plugin for servers that were started without it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

SWITCHES = ("VLLM_USE_VINEYARD_CACHE", "AIBRIX_LLM_KV_CACHE")
CONNECTOR = {"kv_connector": "AIBrixOffloadingConnector", "kv_role": "kv_both"}
CHUNK_SIZES = ("AIBRIX_KV_CACHE_OL_BLOCK_SIZE", "AIBRIX_LLM_KV_CACHE_CHUNK_SIZE")


def switch(environment: Mapping[str, str]) -> str:
    """The variable that switches a cache on; empty if none does."""
    return next((name for name in SWITCHES if environment.get(name, "").strip().lower() in ("1", "true")), "")


def lacking(arguments: Sequence[str], environment: Mapping[str, str], *,
            block_unit: int) -> tuple[list[str], list[str]]:
    """Words to add, and what to say of it. `block_unit`: vLLM's blocks are of a multiple of so many tokens here."""
    words: list[str] = []
    said: list[str] = []
    name = switch(environment)
    if name and not given(arguments, "--kv-transfer-config"):
        words += ["--kv-transfer-config", json.dumps(CONNECTOR)]
        said.append(f"{name} is set: added --kv-transfer-config '{words[-1]}'")
    chunk = next((name for name in CHUNK_SIZES if environment.get(name, "").strip()), "")
    if chunk and not given(arguments, "--block-size"):
        text = environment[chunk].strip()
        tokens = int(text) if text.isdecimal() else 0
        if tokens and tokens % block_unit == 0:
            words += ["--block-size", text]
            said.append(f"{chunk} is {text}: added --block-size {text}")
        elif tokens:
            said.append(f"{chunk} is {text}, but blocks are of a multiple of {block_unit} tokens here: "
                        "they are of vLLM's own size; set --block-size instead")
    return words, said


def given(arguments: Sequence[str], flag: str) -> bool:
    """Whether `flag` is among them in any of vLLM's spellings, or in the file of --config."""
    path = ""
    for i, word in enumerate(arguments):
        if not word.startswith("--"):
            continue
        name, _, value = word.partition("=")
        name = name.replace("_", "-").split(".")[0]
        if name == flag:
            return True
        if name == "--config":
            path = value or "".join(arguments[i + 1:i + 2])
    return bool(path) and _in_file(Path(path), flag.removeprefix("--"))


def _in_file(path: Path, name: str) -> bool:
    try:
        text = path.read_text()
    except (OSError, ValueError):
        return False  # vLLM says what is wrong with it.
    return re.search(rf"^\s*['\"]?{name.replace('-', '[-_]')}['\"]?\s*:", text, re.MULTILINE) is not None
