"""`AIBrixPDReuseConnector` for vLLM: that of `reprise.vllm`."""

from reprise.vllm.drop_in.names import AIBrixPDReuseConnector

__all__ = ["AIBrixPDReuseConnector"]
