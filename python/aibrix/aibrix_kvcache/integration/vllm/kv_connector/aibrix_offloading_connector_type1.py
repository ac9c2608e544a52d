"""`AIBrixOffloadingConnector` for vLLM: that of `reprise.vllm`, which both types are."""

from reprise.vllm.names import AIBrixOffloadingConnector

__all__ = ["AIBrixOffloadingConnector"]
