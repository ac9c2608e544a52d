"""Reprise inside vLLM: `--kv-transfer-config '{"kv_connector": "RepriseConnector", "kv_role": "kv_both"}'`.

Importing this imports nothing of vLLM; using a connector does.
"""

from typing import Any

from .plugin import NAMES

__all__ = list(NAMES)


def __getattr__(name: str) -> Any:
    if name == "RepriseConnector":
        from .connector import RepriseConnector

        return RepriseConnector
    if name in NAMES:
        from .drop_in import names

        return getattr(names, name)
    raise AttributeError(f"module 'reprise.vllm' has no '{name}'")
