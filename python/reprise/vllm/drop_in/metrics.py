"""The metrics of the drop-in, on vLLM's own /metrics: `vllm:kv_cache_ol_*` and `vllm:ol_connector_*`.

Names, labels and buckets are those of `aibrix_kvcache`; docs/vllm.md says what counts as an operation here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..reports.operations import Operation
from ..reports.stats import RepriseMetrics

_CACHE, _CONNECTOR = "vllm:kv_cache_ol_", "vllm:ol_connector_"
# 8096 is a slip of the original that dashboards may ask for by name.
TOKENS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8096, 8192, 16384, 32768, 65536, 131072, 262144, 1048576)
MILLISECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 3, 5, 8, 10, 20, 30, 50, 80, 100, 200, 300, 500, 800,
                1000, 2000, 3000, 5000, 10000)
_RESOURCES = ("l1_allocator", "l1_eviction_policy")


class DropInMetrics(RepriseMetrics):
    """Those of RepriseMetrics as well."""

    def __init__(self, vllm_config: Any, metric_types: Any, labelnames: list[str],
                 per_engine_labelvalues: dict[int, list[object]], *, times: bool = True) -> None:
        """times: whether latencies are exported."""
        super().__init__(vllm_config, metric_types, labelnames, per_engine_labelvalues)
        self._times = times
        self._cache = self._family(_CACHE, [*labelnames, "cache_type", "op_type"], ("iteration_fetched_tokens",))
        self._connector = self._family(_CONNECTOR, [*labelnames, "op_type"],
                                       ("iteration_sent_tokens", "iteration_received_tokens"))
        self._errors = self._counter_cls(f"{_CACHE}num_errors", "Operations that failed.",
                                         labelnames=[*labelnames, "cache_type", "op_type", "reason"])
        by_type = [*labelnames, "cache_type"]
        self._hit = self._counter_cls(f"{_CACHE}num_tokens_hit", "Tokens found.", labelnames=by_type)
        self._miss = self._counter_cls(f"{_CACHE}num_tokens_miss", "Tokens not found.", labelnames=by_type)
        self._usage = {
            name: self._gauge_cls(f"{_CACHE}{name}", text, labelnames=[*by_type, "resource_type"],
                                  multiprocess_mode="mostrecent")
            for name, text in (("used", "Bytes in use."), ("capacity", "Bytes there are."))}

    def _family(self, prefix: str, labels: list[str], transfers: Iterable[str]) -> dict[str, Any]:
        def histogram(name: str, text: str, buckets: tuple[float, ...] = TOKENS) -> Any:
            return self._histogram_cls(f"{prefix}{name}", text, labelnames=labels, buckets=list(buckets))

        family = {"num_ops": self._counter_cls(f"{prefix}num_ops", "Operations.", labelnames=labels),
                  "iteration_prefixes": histogram("iteration_prefixes", "Tokens of the prefix."),
                  "iteration_tokens": histogram("iteration_tokens", "Tokens asked about.")}
        family |= {name: histogram(name, "Tokens that were transferred.") for name in transfers}
        if self._times:
            family["iteration_op_lat_ms"] = histogram("iteration_op_lat_ms", "Milliseconds.", MILLISECONDS)
        return family

    def observe(self, transfer_stats_data: dict[str, Any], engine_idx: int = 0) -> None:
        """Adds what was counted since the last time."""
        super().observe(transfer_stats_data, engine_idx)
        if engine_idx not in self.per_engine_labelvalues:
            return
        engine = self.per_engine_labelvalues[engine_idx]
        for plain in transfer_stats_data.get("operations", ()):
            self._operation(engine, Operation(*plain))
        used = transfer_stats_data.get("levels", {}).get("l1")
        for resource in _RESOURCES if used else ():  # All that is in memory is under the policy.
            self._usage["used"].labels(*engine, "l1cache", resource).set(used["used_bytes"])
            self._usage["capacity"].labels(*engine, "l1cache", resource).set(used["capacity_bytes"])

    def _operation(self, engine: list[object], done: Operation) -> None:
        of_connector = done.cache == "connector"
        family = self._connector if of_connector else self._cache
        labels = [*engine, done.op] if of_connector else [*engine, done.cache, done.op]
        family["num_ops"].labels(*labels).inc()
        transfers = {"send": "iteration_sent_tokens", "recv": "iteration_received_tokens"}
        told = {"iteration_prefixes": done.prefix, "iteration_tokens": done.tokens,
                transfers.get(done.op, "iteration_fetched_tokens"): done.fetched,
                "iteration_op_lat_ms": done.milliseconds}
        for name, value in told.items():
            if value >= 0 and name in family:
                family[name].labels(*labels).observe(value)
        if of_connector:
            return
        if done.failure:
            self._errors.labels(*labels, done.failure).inc()
        if done.op == "acquire":
            self._hit.labels(*engine, done.cache).inc(done.fetched)
            self._miss.labels(*engine, done.cache).inc(done.tokens - done.fetched)
