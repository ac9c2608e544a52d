"""Called by vLLM when it starts, in each of its processes: makes the connectors known by their names."""

from __future__ import annotations

NAMES = (
    "RepriseConnector",
    "AIBrixOffloadingConnector",
    "AIBrixOffloadingConnectorV1Type1",
    "AIBrixOffloadingConnectorV1Type2",
    "AIBrixOffloadingConnectorV1Type3",
    "AIBrixPDReuseConnector",
)


def register() -> None:
    """A name that is taken already stays whose it is."""
    from vllm.distributed.kv_transfer.kv_connector.factory import KVConnectorFactory

    for name in NAMES:
        try:
            KVConnectorFactory.register_connector(name, "reprise.vllm", name)
        except ValueError:
            continue
