"""The connector under the names that deployments already have, steered by their environment variables.

All are one connector: what told the originals apart was how they went around a scheduler that knew nothing of them.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from vllm.distributed.kv_transfer.kv_connector.v1.base import KVConnectorRole

from . import drop_in
from .connector import RepriseConnector
from .settings import Settings

logger = logging.getLogger("vllm.reprise")



class AIBrixOffloadingConnector(RepriseConnector):
    """Settings are those of the variables; kv_connector_extra_config goes before them."""

    def _read_settings(self, vllm_config: Any, role: KVConnectorRole) -> tuple[Settings, str]:
        if role == KVConnectorRole.WORKER:  # Its environment need not be that of the scheduler.
            return super()._read_settings(vllm_config, role)
        extra = dict(vllm_config.kv_transfer_config.kv_connector_extra_config or {})
        found = drop_in.read(os.environ, int(vllm_config.parallel_config.world_size))
        for note in found.notes:
            logger.info("Reprise: %s", note)
        given = Settings.keys(extra)
        if "cache_url" in given:
            found.extra = {}
        return Settings.read({**{k: v for k, v in found.extra.items() if k not in given}, **extra}), found.scope


class AIBrixOffloadingConnectorV1Type1(AIBrixOffloadingConnector):
    """The same."""


class AIBrixOffloadingConnectorV1Type2(AIBrixOffloadingConnector):
    """The same."""


class AIBrixOffloadingConnectorV1Type3(AIBrixOffloadingConnector):
    """The same."""


class AIBrixPDReuseConnector(AIBrixOffloadingConnector):
    """The same: prefiller and decoder meet in the cache that both use."""

    def request_finished(self, request: Any, block_ids: list[int]) -> tuple[bool, dict[str, Any] | None]:
        """Tells whoever asked for a prefill that the prompt can be had from the cache."""
        held, told = super().request_finished(request, block_ids)
        asked = getattr(request, "kv_transfer_params", None) or {}
        if asked.get("do_remote_decode"):
            told = {"do_remote_prefill": True, "do_remote_decode": False}
        return held, told
