"""From which tier blocks came, and the figures of the drop-in: what they are made of, without an engine."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from reprise import Reason
from reprise.vllm.drop_in.metrics import DropInMetrics
from reprise.vllm.reports.gains import Gains
from reprise.vllm.reports.levels import Levels
from reprise.vllm.reports.operations import LIMIT, Operation, Operations, lookup_operations
from reprise.vllm.reports.sources import Found, Sources, hit_sources
from reprise.vllm.reports.stats import RepriseStats

from harness import eventually


def match(blocks: int, memory: int, behind: int, reason: Reason = Reason.NONE) -> Any:
    return SimpleNamespace(blocks=blocks, from_l1=memory, from_l2=behind, reason=reason)


def test_the_first_look_counts() -> None:
    sources = Sources()
    sources.ask("a")
    sources.seen("a", match(8, 6, 10))  # Of two ranks.
    sources.ask("a")
    sources.seen("a", match(8, 16, 0))  # Brought up meanwhile.
    sources.answered("a")
    assert (found := sources.take("a", 8)).memory == 3
    assert found.behind == 5
    assert found.failure == ""
    assert sources.take("a", 8) == Found(memory=8)  # Not known any more.


def test_what_did_not_come_is_not_counted() -> None:
    sources = Sources()
    sources.ask("a")
    sources.seen("a", match(8, 4, 4))
    sources.seen("a", match(2, 2, 0, Reason.TIMEOUT))
    found = sources.take("a", 2)
    assert (found.memory, found.behind, found.failure) == (2, 0, "timeout")


def test_sources_have_vllms_names() -> None:
    told = {str(s.value): n for s, n in hit_sources(64, 32, "disk").items()}
    assert told == {"host": 64, "disk": 32}
    assert {s.value for s in hit_sources(0, 32, "tcp")} == {"external_unspecified"}
    assert hit_sources(0, 0, "") == {}


def test_a_lookup_is_one_operation_on_each_tier_it_went_through() -> None:
    found = Found(memory=3, behind=1, seconds=0.25)
    told = lookup_operations(64, 320, found, 32, slow_tier=True)
    assert told == [Operation("cachemgr", "acquire", 64, 320, 128, 250.0), Operation("l1cache", "acquire", 64, 320, 96),
                    Operation("l2cache", "acquire", 160, 224, 32)]
    assert [o.cache for o in lookup_operations(0, 320, found, 32, slow_tier=False)] == ["cachemgr", "l1cache"]
    assert [o.cache for o in lookup_operations(0, 96, Found(memory=3), 32, slow_tier=True)] == ["cachemgr", "l1cache"]


def test_operations_that_nobody_takes_are_bounded() -> None:
    operations = Operations()
    for _ in range(2 * LIMIT):
        operations.add(Operation("cachemgr", "put", 0, 32))
    assert len(operations.take()) == LIMIT
    assert operations.take() == []


def test_the_log_says_what_came_from_which_tier() -> None:
    gains = Gains()
    gains.line(0.5)
    gains.asked, gains.found, gains.behind, gains.slow_tier = 1000, 640, 160, "disk"
    assert "640 of 1000 tokens came from the cache (64.0 %: 48.0 % from memory, 16.0 % from disk)" in gains.line(100.0)
    gains.asked, gains.found, gains.slow_tier = 1000, 640, ""
    assert "640 of 1000 tokens came from the cache (64.0 %), " in gains.line(200.0)
    assert gains.behind == 0


def levels(used: int, lost: int) -> dict[str, Any]:
    return {"l1": {"used_bytes": used, "capacity_bytes": 100, "evictions": lost, "corrupt": 0}}


def test_counts_add_up_and_levels_are_the_newest() -> None:
    step = RepriseStats(data={"loaded_blocks": 2, "operations": [["a"]], "levels": levels(10, 1)})
    step.aggregate(RepriseStats(data={"loaded_blocks": 3, "operations": [["b"]], "levels": levels(20, 2)}))
    assert step.data["loaded_blocks"] == 5
    assert step.data["operations"] == [["a"], ["b"]]
    assert step.data["levels"] == levels(20, 3)
    assert not RepriseStats(data={"levels": levels(1, 0)}).is_empty()
    assert RepriseStats.sums({"levels": levels(1, 0), "loaded_blocks": 0}).is_empty()  # Nothing for the log.


class SlowStats:
    """A cache whose figures are asked for."""

    def __init__(self) -> None:
        self.evictions = 7
        self.answers = threading.Event()

    def stats(self) -> Any:
        self.answers.wait(60)
        tier = SimpleNamespace(name="", used_bytes=3, capacity_bytes=9, evictions=self.evictions, corrupt=0)
        return SimpleNamespace(l1=tier, l2=SimpleNamespace(name=""))


def test_nobody_waits_for_the_caches_figures() -> None:
    slow: Any = SlowStats()
    tiers: list[str] = []
    watched = Levels(slow, tiers.append)
    assert watched.take() == {}  # The answer is on its way.
    slow.answers.set()
    told: list[Any] = []
    eventually(lambda: told.append(new) if (new := watched.take()) else told, "there are figures")
    assert set(tiers) == {""}
    assert told == [{"l1": {"used_bytes": 3, "capacity_bytes": 9, "evictions": 0, "corrupt": 0}}]
    slow.evictions = 5  # Of a server that was started anew.
    eventually(lambda: told.append(new) if (new := watched.take()) else len(told) > 1, "there are new figures")
    assert told[1]["l1"]["evictions"] == 5
    watched.close()


def exported(times: bool, *operations: Operation, **data: Any) -> dict[str, float]:
    registry = CollectorRegistry()

    def into(kind: Any) -> Any:
        return lambda *names, **options: kind(*names, **options, registry=registry)

    config: Any = SimpleNamespace(kv_transfer_config=None)
    kinds: Any = {Gauge: into(Gauge), Counter: into(Counter), Histogram: into(Histogram)}
    metrics = DropInMetrics(config, kinds, ["model"], {0: ["tiny"]}, times=times)
    metrics.observe({"operations": [list(o) for o in operations], **data})
    samples = [s for family in registry.collect() for s in family.samples if not s.name.endswith("_created")]
    return {f"{s.name}{sorted(v for k, v in s.labels.items() if k != 'model')}": s.value for s in samples
            if "le" not in s.labels}


def test_operations_become_the_drop_ins_metrics() -> None:
    put, send = Operation("cachemgr", "put", 0, 64, -1, 1.5, "timeout"), Operation("connector", "send", 0, 64, 32, 1.5)
    told = exported(True, *lookup_operations(64, 320, Found(3, 1, 0.25), 32, slow_tier=True), put, send, send,
                    levels=levels(10, 2))
    cache, connector = "vllm:kv_cache_ol_", "vllm:ol_connector_"
    assert told[f"{cache}num_ops_total['acquire', 'cachemgr']"] == 1
    assert told[f"{cache}iteration_tokens_sum['acquire', 'l2cache']"] == 224
    assert told[f"{cache}iteration_prefixes_sum['acquire', 'cachemgr']"] == 64
    assert told[f"{cache}iteration_fetched_tokens_sum['acquire', 'l1cache']"] == 96
    assert told[f"{cache}iteration_op_lat_ms_sum['acquire', 'cachemgr']"] == 250
    assert f"{cache}iteration_op_lat_ms_sum['acquire', 'l1cache']" not in told  # Not measured.
    assert told[f"{cache}num_tokens_hit_total['cachemgr']"] == 128
    assert told[f"{cache}num_tokens_miss_total['l2cache']"] == 192
    assert told[f"{cache}num_errors_total['cachemgr', 'put', 'timeout']"] == 1
    assert f"{cache}iteration_fetched_tokens_sum['cachemgr', 'put']" not in told
    assert told[f"{connector}num_ops_total['send']"] == 2
    assert told[f"{connector}iteration_sent_tokens_sum['send']"] == 64
    assert told[f"{cache}used['l1_allocator', 'l1cache']"] == 10
    assert told["vllm:reprise_evicted_blocks_total['l1']"] == 2
    assert not any("op_lat_ms" in name for name in exported(False, put, send))
