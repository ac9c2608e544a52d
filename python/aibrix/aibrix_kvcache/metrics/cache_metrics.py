"""The figures of one cache, and of all caches of a manager."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..status import Status, StatusCodes
from .base import Breakdowns, Metrics
from .op_metrics import OpMetrics, tokens_of
from .recorder import MetricRecorder


class UsageMetrics(Metrics):
    """How full something is. With `used`, a callable, it is asked when somebody reads; else `update` says so."""

    def __init__(
        self,
        resource: MetricRecorder.Resource,
        capacity_nbytes: int,
        used: Callable[[], int] | None = None,
    ) -> None:
        self.resource = resource
        self.capacity_nbytes = capacity_nbytes
        self.used: Callable[[], int] | None = used
        self._used_nbytes = 0

    @property
    def used_nbytes(self) -> int:
        """Bytes in use now."""
        return self.used() if self.used is not None else self._used_nbytes

    def update(self, used_nbytes: int) -> None:
        """Sets the bytes in use, where no callable knows them."""
        self._used_nbytes = used_nbytes

    def reset(self) -> None:
        """Nothing: a level has no past."""

    def summary(self) -> str:
        return f"{self.resource.name.lower()}: {self.used_nbytes} of {self.capacity_nbytes} bytes"


class BaseCacheMetrics(Metrics, MetricRecorder):
    """What one cache was asked, one OpMetrics an operation. Any thread may record."""

    def __init__(
        self,
        *,
        cache_type: str,
        block_ntokens: int = 1,
        enable_time_measurement: bool = True,
        enable_breakdown_measurement: bool = True,
    ) -> None:
        self.cache_type = cache_type
        self.block_ntokens = block_ntokens
        self.time_measurement_enabled = enable_time_measurement
        self.breakdown_measurement_enabled = enable_breakdown_measurement
        self.by_op: dict[MetricRecorder.OP, OpMetrics] = {
            op: OpMetrics(op, None, block_ntokens, enable_time_measurement, enable_breakdown_measurement)
            for op in MetricRecorder.OP
        }

    @property
    def put_metrics(self) -> OpMetrics:
        return self.by_op[MetricRecorder.OP.PUT]

    @property
    def get_metrics(self) -> OpMetrics:
        return self.by_op[MetricRecorder.OP.GET]

    @property
    def acquire_metrics(self) -> OpMetrics:
        return self.by_op[MetricRecorder.OP.ACQUIRE]

    @property
    def allocate_metrics(self) -> OpMetrics:
        return self.by_op[MetricRecorder.OP.ALLOCATE]

    @property
    def exists_metrics(self) -> OpMetrics:
        return self.by_op[MetricRecorder.OP.EXISTS]

    @property
    def num_tokens_hit(self) -> int:
        """Tokens that get and acquire found."""
        return sum(metrics.tokens_hit for metrics in self.by_op.values())

    @property
    def num_tokens_miss(self) -> int:
        """Tokens that get and acquire were asked for and did not find."""
        return sum(metrics.tokens_miss for metrics in self.by_op.values())

    @property
    def usages(self) -> list[UsageMetrics]:
        """What has a capacity here."""
        return []

    def record(
        self,
        op: MetricRecorder.OP,
        num_prefix: int | None = None,
        num_tokens: int | None = None,
        status: Status[Any] | None = None,
        lat_ms: float | None = None,
        breakdowns: Breakdowns | None = None,
        *,
        prefix_tokens: int = 0,
        tokens: int = 0,
        fetched_tokens: int = 0,
        seconds: float = 0.0,
        code: StatusCodes = StatusCodes.OK,
    ) -> None:
        if status is not None:
            prefix_tokens, tokens, seconds = num_prefix or 0, num_tokens or 0, (lat_ms or 0) / 1000.0
            fetched_tokens, code = tokens_of(status, self.block_ntokens), status.error_code
        self.by_op[op].record(prefix_tokens, tokens, fetched_tokens, seconds, code)

    def reset(self) -> None:
        for metrics in self.by_op.values():
            metrics.reset()

    def summary(self) -> str:
        hit, miss = self.num_tokens_hit, self.num_tokens_miss
        parts: list[Metrics] = [metrics for metrics in self.by_op.values() if metrics.num_ops]
        lines = [part.summary() for part in [*parts, *self.usages]]
        rate = f" ({100 * hit / (hit + miss):.1f} %)" if hit + miss else ""
        return f"{self.cache_type}: tokens hit {hit}, missed {miss}{rate}; " + "; ".join(lines)


class L1CacheMetrics(BaseCacheMetrics):
    """A cache with a capacity. Set `eviction_policy_usage_metrics.used` and `allocator_usage_metrics.used`."""

    def __init__(
        self,
        *,
        cache_type: str,
        block_ntokens: int = 1,
        capacity_nbytes: int = 0,
        enable_time_measurement: bool = True,
        enable_breakdown_measurement: bool = True,
    ) -> None:
        super().__init__(
            cache_type=cache_type,
            block_ntokens=block_ntokens,
            enable_time_measurement=enable_time_measurement,
            enable_breakdown_measurement=enable_breakdown_measurement,
        )
        resources = MetricRecorder.Resource
        self.eviction_policy_usage_metrics = UsageMetrics(resources.L1_EVICTION_POLICY, capacity_nbytes)
        self.allocator_usage_metrics = UsageMetrics(resources.L1_ALLOCATOR, capacity_nbytes)

    @property
    def usages(self) -> list[UsageMetrics]:
        return [self.eviction_policy_usage_metrics, self.allocator_usage_metrics]

    def trace_usage(self, resource: MetricRecorder.Resource, used_nbytes: int) -> None:
        """Sets the bytes in use of `resource`."""
        for usage in self.usages:
            if usage.resource is resource:
                usage.update(used_nbytes)


L2CacheMetrics = BaseCacheMetrics
CacheMgrMetrics = BaseCacheMetrics


class KVCacheMetrics(Metrics):
    """All figures of a manager: `mgr`, and `l1` and `l2` where they are in use."""

    def __init__(
        self,
        *,
        block_ntokens: int,
        capacity_nbytes: int,
        enable_l1: bool,
        enable_l2: bool,
        enable_time_measurement: bool = True,
        enable_breakdown_measurement: bool = True,
    ) -> None:
        flags = {
            "enable_time_measurement": enable_time_measurement,
            "enable_breakdown_measurement": enable_breakdown_measurement,
        }
        self.time_measurement_enabled = enable_time_measurement
        self.l1: L1CacheMetrics | None = None
        self.l2: L2CacheMetrics | None = None
        if enable_l1:
            self.l1 = L1CacheMetrics(
                cache_type="L1Cache", block_ntokens=block_ntokens, capacity_nbytes=capacity_nbytes, **flags
            )
        if enable_l2:
            self.l2 = L2CacheMetrics(cache_type="L2Cache", block_ntokens=block_ntokens, **flags)
        self.mgr: CacheMgrMetrics = CacheMgrMetrics(cache_type="CacheMgr", **flags)  # Its answers are in tokens.

    @property
    def caches(self) -> list[BaseCacheMetrics]:
        """Those that are in use."""
        return [metrics for metrics in (self.mgr, self.l1, self.l2) if metrics is not None]

    def reset(self) -> None:
        for metrics in self.caches:
            metrics.reset()

    def summary(self) -> str:
        return "\n".join(metrics.summary() for metrics in self.caches)


class ConnectorMetrics(Metrics):
    """What an engine's connector sent into the cache and received from it: record into `send` and `recv`."""

    def __init__(self, *, enable_time_measurement: bool = True) -> None:
        self.send = OpMetrics(MetricRecorder.OP.PUT, None, 1, enable_time_measurement)
        self.recv = OpMetrics(MetricRecorder.OP.ACQUIRE, None, 1, enable_time_measurement)

    def reset(self) -> None:
        self.send.reset()
        self.recv.reset()

    def summary(self) -> str:
        return f"connector: send {self.send.summary()}; recv {self.recv.summary()}"
