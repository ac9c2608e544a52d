"""`AIBrixPDReuseConnector` for vLLM: that of `reprise.vllm`."""

from reprise.vllm.names import AIBrixPDReuseConnector

__all__ = ["AIBrixPDReuseConnector"]
