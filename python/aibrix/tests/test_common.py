import asyncio
import logging
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from aibrix_kvcache import utils, version
from aibrix_kvcache.common import AsyncBase, CachedPyObjectBase, ConditionalLock, ObjectPool, absl_logging
from aibrix_kvcache.common.absl_logging import getLogger, log_every_n, log_every_n_seconds, log_first_n, log_if

LOGGER = getLogger("aibrix_kvcache.test_common")


@pytest.fixture
def messages(caplog):
    with caplog.at_level(logging.INFO):
        yield caplog


def test_log_if(messages):
    log_if(LOGGER, logging.INFO, "shown %d", True, 1)
    log_if(LOGGER, logging.INFO, "hidden", [])
    assert messages.messages == ["shown 1"]
    assert messages.records[0].filename == "test_common.py"
    assert messages.records[0].funcName == "test_log_if"


def test_each_line_counts_by_itself(messages):
    for i in range(6):
        log_every_n(LOGGER, logging.INFO, "third %d", 3, i)
        log_first_n(LOGGER, logging.INFO, "first %d", 2, i)
    assert messages.messages == ["third 0", "first 0", "first 1", "third 3"]
    assert {record.funcName for record in messages.records} == {"test_each_line_counts_by_itself"}


def test_the_caller_counts_too_if_asked(messages):
    def note(who, use_call_stack):
        log_first_n(LOGGER, logging.INFO, who, 1, use_call_stack=use_call_stack)

    for _ in range(2):
        note("one", True)
        note("two", True)
    assert messages.messages == ["one", "two"]
    messages.clear()
    note("three", False)
    note("four", False)
    assert messages.messages == ["three"]


def test_log_every_n_seconds(messages, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(absl_logging.time, "monotonic", lambda: clock[0])
    for _ in range(8):
        log_every_n_seconds(LOGGER, logging.INFO, "at %d", 3, clock[0])
        clock[0] += 1
    assert messages.messages == ["at 100", "at 103", "at 106"]
    assert messages.records[0].funcName == "test_log_every_n_seconds"


def test_what_logging_remembers_is_bounded(messages, monkeypatch):
    monkeypatch.setattr(absl_logging, "_MAX_SITES", 8)
    for i in range(100):
        code = compile("log(LOGGER, 20, 'x', 1000)", f"made{i}", "exec")
        exec(code, {"log": log_every_n_seconds, "LOGGER": LOGGER})
        exec(code, {"log": log_first_n, "LOGGER": LOGGER})
    assert len(absl_logging._last) <= 8
    assert len(absl_logging._counts) <= 8


def test_loggers_are_the_usual_ones():
    assert getLogger("aibrix_kvcache.x") is logging.getLogger("aibrix_kvcache.x")
    assert logging.getLogger("aibrix_kvcache").handlers == []


def test_cached_objects_are_objects():
    class Small(CachedPyObjectBase):
        __slots__ = ("x",)

    Small.set_free_list_max_size(10)
    small = Small()
    assert not hasattr(small, "x")
    with pytest.raises(ValueError, match="-1"):
        Small.set_free_list_max_size(-1)


@pytest.mark.parametrize("thread_safe", [True, False])
def test_conditional_lock(thread_safe):
    lock = ConditionalLock(thread_safe)
    taken = []

    def take():
        taken.append(lock.acquire(blocking=False))

    with lock, lock:  # reentrant
        other = threading.Thread(target=take)
        other.start()
        other.join()
    assert taken == [not thread_safe]
    assert lock.acquire(timeout=1)
    lock.release()


def test_object_pool():
    pool = ObjectPool(klass=list, min_pool_size=1, max_pool_size=3)
    assert (pool.size(), pool.capacity()) == (1, 1)
    two = pool.get(2)
    assert two == [[], []]
    assert (pool.size(), pool.capacity()) == (0, 2)
    assert pool.get(2) is None
    pool.put(two)
    assert (pool.size(), pool.capacity()) == (2, 2)
    one = pool.get()
    assert any(one[0] is kept for kept in two)
    pool.put(one[0])
    pool.put(None)
    pool.put([object() for _ in range(9)])
    assert pool.capacity() == pool.size() == 3


def test_object_pool_gives_back_what_could_not_be_made():
    wanted = [1, 2]

    def make():
        if not wanted:
            raise MemoryError("no more")
        return wanted.pop()

    pool = ObjectPool(object_creator=make, min_pool_size=1, max_pool_size=5)
    with pytest.raises(MemoryError):
        pool.get(3)
    assert pool.capacity() == pool.size() == 2
    assert ObjectPool(object_creator=make).size() == 0
    for wrong in ({}, {"klass": list, "min_pool_size": -1}, {"klass": list, "min_pool_size": 4, "max_pool_size": 3}):
        with pytest.raises(ValueError):
            ObjectPool(**wrong)


def test_async_base():
    @AsyncBase.async_wrap(get="_get")
    class Store(AsyncBase):
        def _get(self, key, *, default=None):
            return key, default, threading.current_thread().name

    async def ask(store):
        assert store.event_loop is asyncio.get_running_loop()
        return await store.get("a", default=1)

    with ThreadPoolExecutor(1, thread_name_prefix="pool") as executor:
        assert asyncio.run(ask(Store(executor))) == ("a", 1, "pool_0")
    assert Store.get.__name__ == "get"


def test_timers():
    for timer in (utils.cpu_perf_timer, utils.perf_timer):
        with timer() as elapsed:
            sum(range(1000))
        assert elapsed() > 0
        assert elapsed() == elapsed()
    with utils.cpu_perf_timer(enabled=False) as elapsed:
        pass
    assert elapsed() == 0


def test_rounding():
    assert [utils.round_up(x, 8) for x in (0, 1, 8, 9)] == [0, 8, 8, 16]
    assert [utils.round_down(x, 8) for x in (0, 7, 8, 17)] == [0, 0, 8, 16]


def test_bytes_and_tensors():
    tensor = torch.arange(6, dtype=torch.bfloat16).reshape(2, 3)
    data = utils.tensor_to_bytes(tensor)
    assert len(data) == 12
    assert torch.equal(utils.bytes_to_tensor(bytearray(data)).view(torch.bfloat16).reshape(2, 3), tensor)
    assert utils.bytes_to_tensor(b"").shape == (0,)
    seen = utils.buffer_to_tensor(tensor.data_ptr(), tensor.nbytes)
    tensor.fill_(0)
    assert not seen.any()
    with pytest.raises(ValueError, match=r"\(1, 3\)"):
        utils.tensor_to_bytes(tensor.t())


def test_other_helpers(tmp_path):
    utils.ensure_dir_exist(str(tmp_path / "a" / "b" / "file"))
    utils.ensure_dir_exist(str(tmp_path / "a" / "b" / "file"))
    utils.ensure_dir_exist("file")
    assert (tmp_path / "a" / "b").is_dir()
    sizes = {
        0: "0 B",
        512: "512 B",
        1536: "1.5000 KB",
        3 << 30: "3.0000 GB",
        2**80: "1.0000 YB",
        2**95: "32768.0000 YB",
    }
    assert {size: utils.human_readable_bytes(size) for size in sizes} == sizes
    assert utils.hash_combine_128(1, 2) == 0x1000277000000000000013B0184D4
    assert utils.hash_combine_128(2**128 - 1, 2**127 + 5) == 0xD000FFFD85000000000000013AFE7640
    assert version.__version__ == "0.8.0"
    assert version._prev_minor_version_was("0.7")


IMPORTING = """
import asyncio, logging, sys, threading
import aibrix_kvcache.profiling, aibrix_kvcache.utils
import torch
assert "uvloop" not in sys.modules and "pyroscope" not in sys.modules and "nvtx" not in sys.modules
assert type(asyncio.get_event_loop_policy()).__module__.startswith("asyncio")
assert logging.getLogger().handlers == logging.getLogger("aibrix_kvcache").handlers == []
assert threading.active_count() == 1
assert not torch.cuda.is_initialized()
"""


def test_importing_has_no_effects():
    environment = {**os.environ, "AIBRIX_KV_CACHE_OL_PROFILING_ENABLED": "0"}
    subprocess.run([sys.executable, "-c", IMPORTING], env=environment, check=True, timeout=120)
