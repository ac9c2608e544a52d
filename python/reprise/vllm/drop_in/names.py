"""The connector under the names that deployments already have, steered by their environment variables.

All are one connector: what told the originals apart was how they went around a scheduler that knew nothing of them.
"""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from typing import Any

from vllm.distributed.kv_transfer.kv_connector.v1.base import KVConnectorRole

from ..connector import RepriseConnector
from ..settings import Settings
from . import variables as drop_in

logger = logging.getLogger("vllm.reprise")


class AIBrixOffloadingConnector(RepriseConnector):
    """Settings are those of the variables; kv_connector_extra_config goes before them."""

    _counts_operations = True

    def _read_settings(self, vllm_config: Any, role: KVConnectorRole) -> tuple[Settings, str]:
        if role == KVConnectorRole.WORKER:  # Its environment need not be that of the scheduler.
            return super()._read_settings(vllm_config, role)
        extra = dict(vllm_config.kv_transfer_config.kv_connector_extra_config or {})
        block = int(vllm_config.cache_config.block_size)
        found = drop_in.read(os.environ, int(vllm_config.parallel_config.world_size), block_tokens=block,
                             token_bytes=_bytes_of_a_block(self._kv_cache_config) // block)
        for note in found.notes:
            logger.info("Reprise: %s", note)
        for warning in found.warnings:
            logger.warning("Reprise: %s", warning)
        given = Settings.keys(extra)
        if "cache_url" in given:
            found.extra = {k: v for k, v in found.extra.items() if "." not in k and k != "cache_url"}
        return Settings.read({**{k: v for k, v in found.extra.items() if k not in given}, **extra}), found.scope

    @classmethod
    def build_prom_metrics(cls, vllm_config: Any, metric_types: Any, labelnames: list[str],
                           per_engine_labelvalues: dict[int, list[object]]) -> Any:
        """They are on vLLM's /metrics, unless they are switched off."""
        if drop_in.exports_metrics(os.environ):
            from .metrics import DropInMetrics

            return DropInMetrics(vllm_config, metric_types, labelnames, per_engine_labelvalues,
                                 times=drop_in.exports_times(os.environ))
        logger.info("Reprise: %s is 0: no counters of the cache on /metrics", drop_in.METRICS)
        from ..reports.stats import NoMetrics

        return NoMetrics(vllm_config, metric_types, labelnames, per_engine_labelvalues)


def _bytes_of_a_block(kv_cache_config: Any) -> int:
    """KV of one block in one rank; 0 if vLLM does not say."""
    tensors = getattr(kv_cache_config, "kv_cache_tensors", None) or ()
    return sum(int(tensor.size) for tensor in tensors) // max(1, int(getattr(kv_cache_config, "num_blocks", 1)))


class AIBrixOffloadingConnectorV1Type1(AIBrixOffloadingConnector):
    """The same."""


class AIBrixOffloadingConnectorV1Type2(AIBrixOffloadingConnector):
    """The same."""


class AIBrixOffloadingConnectorV1Type3(AIBrixOffloadingConnector):
    """The same."""


class AIBrixPDReuseConnector(AIBrixOffloadingConnector):
    """Prefiller and decoder meet in the cache that both use: a daemon, or an L2 that they share."""

    def _read_settings(self, vllm_config: Any, role: KVConnectorRole) -> tuple[Settings, str]:
        # What a step computes behind blocks that it loads may have to wait for its outcome before it is stored, and a
        # prefiller's request is over by then. What comes beside the steps holds nothing up.
        settings, scope = super()._read_settings(vllm_config, role)
        given = vllm_config.kv_transfer_config.kv_connector_extra_config or {}
        return settings if "async_load_above" in given else replace(settings, async_load_above="0"), scope

    def _may_flush(self) -> bool:
        """A prefiller's, and those that a router sends on to a decoder."""
        return True

    def _must_flush(self, request: Any) -> bool:
        """A prefiller's answer says that the decoder will find the prompt."""
        producer = self._vllm_config.kv_transfer_config.kv_role == "kv_producer"
        return super()._must_flush(request) or producer or _is_for_a_decoder(request)

    def request_finished(self, request: Any, block_ids: list[int]) -> tuple[bool, dict[str, Any] | None]:
        """Tells whoever asked for a prefill that the prompt can be had from the cache."""
        held, told = super().request_finished(request, block_ids)
        if _is_for_a_decoder(request):  # There is nobody to connect to.
            told = {"do_remote_prefill": True, "do_remote_decode": False, "remote_engine_id": None,
                    "remote_block_ids": None, "remote_host": "", "remote_port": -1}
        return held, told


def _is_for_a_decoder(request: Any) -> bool:
    return bool((getattr(request, "kv_transfer_params", None) or {}).get("do_remote_decode"))
