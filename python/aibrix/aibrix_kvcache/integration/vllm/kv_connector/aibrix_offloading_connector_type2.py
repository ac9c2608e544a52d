"""`AIBrixOffloadingConnector` for vLLM: that of `reprise.vllm`, which both types are."""

from reprise.vllm.drop_in.names import AIBrixOffloadingConnector

__all__ = ["AIBrixOffloadingConnector"]
