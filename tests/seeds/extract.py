"""Engines as texts about deployments show them: command lines and environments out of YAML in documents."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_VARIABLE = re.compile(r"\b(?:AIBRIX_KV_CACHE_OL_[A-Z0-9_]+|AIBRIX_LLM_KV_CACHE(?:_[A-Z0-9_]+)?"
                       r"|VINEYARD_CACHE_[A-Z0-9_]+|VLLM_USE_VINEYARD_CACHE)\b")


@dataclass(frozen=True)
class Deployment:
    """One container that runs vLLM."""

    source: str
    """Of which text."""
    words: tuple[str, ...]
    """Its command."""
    environment: dict[str, str]

    @property
    def arguments(self) -> list[str]:
        """Of vLLM's server."""
        words = list(self.words)
        for start in (["vllm", "serve"], ["-m", "vllm.entrypoints.openai.api_server"]):
            for at in range(len(words)):
                if words[at:at + 2] == start:
                    return words[at + 2:]
        raise AssertionError(f"{self.source}: not a server of vLLM: {words}")


def deployments(folder: Path) -> list[Deployment]:
    """Of all texts in the folder, in their order."""
    found = []
    for path in sorted(folder.glob("*.txt")):
        for document in documents(path.read_text()):
            found += [one for container in _containers(document) if (one := _deployment(path.name, container))]
    return found


def variables(folder: Path) -> set[str]:
    """Names of all variables of a cache that the texts mention."""
    return {name for path in folder.glob("*.txt") for name in _VARIABLE.findall(path.read_text())}


def documents(text: str) -> Iterator[Any]:
    """What is YAML of Kubernetes in it: in indented blocks, or with a number in front of each line."""
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        block, end = _numbered(lines, at) or _indented(lines, at) or ("", at + 1)
        if block:
            yield from (document for document in yaml.safe_load_all(block) if document)
        at = end


def _numbered(lines: list[str], at: int) -> tuple[str, int] | None:
    """From a line with the number 1 in front on, for as long as the next one has the next number."""
    if not re.match(r"\s*1apiVersion:", lines[at]):
        return None
    block: list[str] = []
    while at < len(lines) and (found := re.match(rf"\s*{len(block) + 1}(?!\d)(.*)$", lines[at])):
        block.append(found.group(1))
        at += 1
    return "\n".join(block), at


def _indented(lines: list[str], at: int) -> tuple[str, int] | None:
    """From an indented `apiVersion:` on, for as long as lines are indented or empty."""
    if not re.match(r"\s+apiVersion:", lines[at]):
        return None
    start = at
    while at < len(lines) and (not lines[at].strip() or lines[at][0].isspace()):
        at += 1
    return textwrap.dedent("\n".join(lines[start:at])), at


def _containers(document: Any) -> list[Any]:
    spec = document.get("spec", {}) if isinstance(document, dict) else {}
    return spec.get("template", {}).get("spec", {}).get("containers", [])  # type: ignore[no-any-return]


def _deployment(source: str, container: Any) -> Deployment | None:
    words = [str(word) for word in [*container.get("command", []), *container.get("args", [])]]
    if not any("vllm" in word for word in words):
        return None
    environment = {entry["name"]: str(entry["value"]) for entry in container.get("env", []) if "value" in entry}
    return Deployment(source, tuple(words), environment)
