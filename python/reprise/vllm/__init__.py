"""Reprise inside vLLM: `--kv-transfer-config '{"kv_connector": "RepriseConnector", "kv_role": "kv_both",
"kv_connector_module_path": "reprise.vllm"}'`. Importing this imports nothing of vLLM; using the connector does."""

from typing import Any

__all__ = ["RepriseConnector"]


def __getattr__(name: str) -> Any:
    if name == "RepriseConnector":
        from .connector import RepriseConnector

        return RepriseConnector
    raise AttributeError(f"module 'reprise.vllm' has no '{name}'")
