"""What the workers count, on its way through vLLM to its log and to /metrics."""

from __future__ import annotations

from typing import Any

from vllm.distributed.kv_transfer.kv_connector.v1.metrics import KVConnectorPromMetrics, KVConnectorStats

from .operations import joined
from .tally import FIELDS

_MEANING = {
    "loaded_blocks": "Blocks of a rank that were read from the cache.",
    "loaded_bytes": "Bytes that were read from the cache, over all ranks.",
    "load_seconds": "Time the workers spent with reading.",
    "saved_blocks": "Blocks of a rank that were stored.",
    "saved_bytes": "Bytes that were stored, over all ranks.",
    "save_seconds": "Time the workers spent with storing.",
    "failed_blocks": "Blocks that were promised, did not come and were computed.",
}


_LEVELS = {"used_bytes": "Bytes of blocks in the tier, of all who use the cache.",
           "capacity_bytes": "Bytes of blocks that the tier may hold."}
_LOSSES = {"evictions": ("evicted_blocks", "Blocks that left the tier to make room, of all who use the cache."),
           "corrupt": ("corrupt_blocks", "Copies in the tier that were dropped for a failed checksum.")}


class RepriseStats(KVConnectorStats):
    """Sums by name; those of several ranks or steps add up.

    Beside them `operations`, one by one (Operations), and `levels`, of which the last ones count (Levels).
    """

    data: dict[str, Any]

    @staticmethod
    def sums(data: dict[str, Any]) -> RepriseStats:
        """The sums alone: what the log has a use for."""
        return RepriseStats(data={name: data[name] for name in FIELDS if name in data})

    def reset(self) -> None:
        """To zero."""
        self.data = dict.fromkeys(FIELDS, 0)

    def aggregate(self, other: KVConnectorStats) -> KVConnectorStats:
        """Adds `other`."""
        for name in FIELDS:
            self.data[name] = self.data.get(name, 0) + other.data.get(name, 0)
        operations = joined(self.data.get("operations", []), other.data.get("operations", []))
        if operations:
            self.data["operations"] = operations
        if other.data.get("levels"):
            self.data["levels"] = _newer(self.data.get("levels", {}), other.data["levels"])
        return self

    def reduce(self) -> dict[str, int | float]:
        """For vLLM's log line."""
        told: dict[str, int | float] = {"Blocks loaded": self.data.get("loaded_blocks", 0),
                                        "Blocks saved": self.data.get("saved_blocks", 0),
                                        "Blocks failed": self.data.get("failed_blocks", 0)}
        for what, name in (("Load", "load"), ("Save", "save")):
            done = "loaded_bytes" if name == "load" else "saved_bytes"
            seconds = self.data.get(f"{name}_seconds", 0.0)
            if seconds:
                told[f"{what} MB/s"] = round(self.data.get(done, 0) / seconds / 1e6, 1)
        return told

    def is_empty(self) -> bool:
        """Nothing happened."""
        return not any(self.data.get(name) for name in (*FIELDS, "operations", "levels"))


def _newer(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Levels are those of the newer report; what was lost adds up."""
    told = {**old, **{tier: dict(figures) for tier, figures in new.items()}}
    for tier in old.keys() & new.keys():
        for name in _LOSSES:
            told[tier][name] = old[tier][name] + new[tier][name]
    return told


class RepriseMetrics(KVConnectorPromMetrics):
    """The same sums as counters: `vllm:reprise_loaded_bytes_total` and the like."""

    def __init__(self, vllm_config: Any, metric_types: Any, labelnames: list[str],
                 per_engine_labelvalues: dict[int, list[object]]) -> None:
        super().__init__(vllm_config, metric_types, labelnames, per_engine_labelvalues)
        self._counters: dict[str, dict[int, Any]] = {}
        for name in FIELDS:
            counter = self._counter_cls(f"vllm:reprise_{name}", _MEANING[name], labelnames=labelnames)
            self._counters[name] = {
                engine: counter.labels(*values) for engine, values in per_engine_labelvalues.items()}
        by_tier = [*labelnames, "tier"]
        self._levels = {name: self._gauge_cls(f"vllm:reprise_{name}", text, labelnames=by_tier,
                                              multiprocess_mode="mostrecent") for name, text in _LEVELS.items()}
        self._losses = {name: self._counter_cls(f"vllm:reprise_{metric}", text, labelnames=by_tier)
                        for name, (metric, text) in _LOSSES.items()}

    def observe(self, transfer_stats_data: dict[str, Any], engine_idx: int = 0) -> None:
        """Adds what was counted since the last time."""
        for name, counters in self._counters.items():
            count = transfer_stats_data.get(name, 0)
            if count and engine_idx in counters:
                counters[engine_idx].inc(count)
        if engine_idx not in self.per_engine_labelvalues:
            return
        for tier, figures in transfer_stats_data.get("levels", {}).items():
            labels = [*self.per_engine_labelvalues[engine_idx], tier]
            for name, gauge in self._levels.items():
                gauge.labels(*labels).set(figures[name])
            for name, counter in self._losses.items():
                counter.labels(*labels).inc(figures[name])


class NoMetrics(KVConnectorPromMetrics):
    """Nothing on /metrics. vLLM wants an object for the counts that the workers send all the same."""

    def observe(self, transfer_stats_data: dict[str, Any], engine_idx: int = 0) -> None:
        """They are in the log."""
