"""Profiling off, with agents that are doubles, and with the real pyroscope-io and nvtx where they are installed."""

import asyncio
import logging
import sys
import types

import pytest

from aibrix_kvcache import profiling
from aibrix_kvcache.profiling import nvtx_range, tag_wrapper

ENABLED = "AIBRIX_KV_CACHE_OL_PROFILING_ENABLED"


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Nothing runs before or after, and nothing is asked for."""
    for name in (ENABLED, "AIBRIX_KV_CACHE_OL_PROFILING_SERVER_ADDRESS", "AIBRIX_KV_CACHE_OL_L2_CACHE_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    profiling.stop()
    profiling._nvtx.cache_clear()
    yield
    profiling.stop()
    profiling._nvtx.cache_clear()


class FakeAgent(types.ModuleType):
    """Looks like pyroscope; remembers what it was told."""

    def __init__(self, started=True):
        super().__init__("pyroscope")
        self.started, self.configured, self.tags, self.stops = started, [], [], 0

    def configure(self, **options):
        self.configured.append(options)
        if isinstance(self.started, Exception):
            raise self.started
        return self.started

    def shutdown(self):
        self.stops += 1

    def tag_wrapper(self, tags):
        agent = self

        class Tags:
            def __enter__(self):
                agent.tags.append(("+", tags["func"]))

            def __exit__(self, *error):
                agent.tags.append(("-", tags["func"]))

        return Tags()


class FakeNvtx(types.ModuleType):
    def __init__(self):
        super().__init__("nvtx")
        self.calls = []

    def push_range(self, message, color, domain):
        self.calls.append(("push", message, domain))
        assert color in profiling._COLORS

    def pop_range(self, domain):
        self.calls.append(("pop", domain))

    def start_range(self, message, color, domain):
        self.calls.append(("start", message, domain))
        return len(self.calls)

    def end_range(self, number):
        self.calls.append(("end", number))


def test_nothing_happens_unless_asked_for(monkeypatch):
    agent = FakeAgent()
    monkeypatch.setitem(sys.modules, "pyroscope", agent)
    monkeypatch.setitem(sys.modules, "nvtx", FakeNvtx())

    def work():
        return 1

    assert profiling.start() is False
    assert nvtx_range("work", "domain")(work) is work
    with tag_wrapper({"func": "a"}), nvtx_range("work", "domain"):
        pass
    assert agent.configured == agent.tags == []


def test_the_agent_is_configured_once(monkeypatch):
    agent = FakeAgent()
    monkeypatch.setitem(sys.modules, "pyroscope", agent)
    monkeypatch.setenv(ENABLED, "1")
    monkeypatch.setenv("AIBRIX_KV_CACHE_OL_PROFILING_SERVER_ADDRESS", "http://127.0.0.1:1")
    monkeypatch.setenv("AIBRIX_KV_CACHE_OL_L2_CACHE_NAMESPACE", "Mine")
    assert profiling.start() and profiling.start()
    assert agent.configured == [
        {
            "application_name": "aibrix.kvcache",
            "server_address": "http://127.0.0.1:1",
            "sample_rate": 100,
            "oncpu": True,
            "gil_only": False,
            "tags": {"namespace": "mine"},
        }
    ]
    profiling.stop()
    assert agent.stops == 1
    assert profiling.start()
    assert len(agent.configured) == 2


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        (None, "pip install pyroscope-io"),
        (FakeAgent(False), "did not start"),
        (FakeAgent(OSError("no route")), "no route"),
    ],
)
def test_without_agent_there_is_one_warning(monkeypatch, caplog, agent, said):
    monkeypatch.setitem(sys.modules, "pyroscope", agent)
    monkeypatch.setenv(ENABLED, "1")
    with caplog.at_level(logging.DEBUG):
        assert profiling.start() is False
        assert profiling.start() is False
    assert len(caplog.messages) == 1
    assert said in caplog.messages[0]
    with tag_wrapper({"func": "a"}):
        pass


def test_tags_around_blocks_and_functions(monkeypatch):
    agent = FakeAgent()
    monkeypatch.setitem(sys.modules, "pyroscope", agent)
    monkeypatch.setenv(ENABLED, "1")

    @tag_wrapper({"func": "down"})
    def down(n):
        return down(n - 1) if n else "done"

    @tag_wrapper({"func": "later"})
    async def later():
        await asyncio.sleep(0)
        raise KeyError("lost")

    assert down(1) == "done"
    assert agent.tags == []
    profiling.start()
    with tag_wrapper({"func": "a"}):
        assert down(1) == "done"
    with pytest.raises(KeyError):
        asyncio.run(later())
    assert agent.tags == [
        *[("+", "a"), ("+", "down"), ("+", "down"), ("-", "down"), ("-", "down"), ("-", "a")],
        *[("+", "later"), ("-", "later")],
    ]


def test_tags_that_began_before_the_agent_did(monkeypatch):
    agent = FakeAgent()
    monkeypatch.setitem(sys.modules, "pyroscope", agent)
    monkeypatch.setenv(ENABLED, "1")
    with tag_wrapper({"func": "a"}):
        profiling.start()
    with tag_wrapper({"func": "b"}):
        profiling.stop()
    assert agent.tags == [("+", "b"), ("-", "b")]


def test_ranges(monkeypatch):
    nvtx = FakeNvtx()
    monkeypatch.setitem(sys.modules, "nvtx", nvtx)
    monkeypatch.setenv(ENABLED, "1")

    @nvtx_range("get", "L1")
    def get(n):
        if n:
            return get(n - 1)
        raise KeyError("lost")

    with pytest.raises(KeyError):
        get(1)
    assert nvtx.calls == [("push", "get", "L1"), ("push", "get", "L1"), ("pop", "L1"), ("pop", "L1")]


def test_ranges_of_coroutines_may_overlap(monkeypatch):
    nvtx = FakeNvtx()
    monkeypatch.setitem(sys.modules, "nvtx", nvtx)
    monkeypatch.setenv(ENABLED, "1")

    @nvtx_range("load", "L2")
    async def load(steps):
        for _ in range(steps):
            await asyncio.sleep(0)

    async def both():
        await asyncio.gather(load(1), load(3))

    asyncio.run(both())
    assert nvtx.calls == [("start", "load", "L2"), ("start", "load", "L2"), ("end", 1), ("end", 2)]


def test_without_nvtx_functions_stay_as_they_are(monkeypatch):
    monkeypatch.setitem(sys.modules, "nvtx", None)
    monkeypatch.setenv(ENABLED, "1")

    def work():
        return 1

    assert nvtx_range("work", "domain")(work) is work
    with nvtx_range("work", "domain"):
        pass


def test_a_wrong_value_is_left_to_the_manager(monkeypatch):
    monkeypatch.setenv(ENABLED, "perhaps")
    assert nvtx_range("work", "domain")(test_ranges) is test_ranges
    with pytest.raises(ValueError, match="perhaps"):
        profiling.start()


def test_ranges_with_the_real_nvtx(monkeypatch):
    pytest.importorskip("nvtx")
    monkeypatch.setenv(ENABLED, "1")

    @nvtx_range("work", "domain")
    def work():
        return 1

    @nvtx_range("work", "domain")
    async def later():
        return 2

    assert work() == 1
    assert asyncio.run(later()) == 2
    with nvtx_range("block", "domain"):
        pass
