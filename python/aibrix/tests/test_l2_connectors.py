"""Connectors over the native stores."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import reprise
from aibrix_kvcache.l2.connectors import (
    CacheConnector,
    Connector,
    ConnectorConfig,
    ConnectorFeature,
    MockConfig,
    MockConnector,
)
from aibrix_kvcache.l2.connectors.urls import l2_url
from aibrix_kvcache.memory import ExternalMemoryRegion
from aibrix_kvcache.status import Status, StatusCodes

NBYTES = 512


@pytest.fixture
def executor():
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture(autouse=True)
def roots(monkeypatch, tmp_path):
    monkeypatch.setenv("AIBRIX_KV_CACHE_OL_SHFS_ROOT", str(tmp_path / "shfs"))
    monkeypatch.setenv("AIBRIX_KV_CACHE_OL_ROCKSDB_ROOT", str(tmp_path / "rocksdb"))


def config_of(backend, executor, **more):
    return ConnectorConfig(backend, "aibrix", "h0_3_l0_31", executor, "lcnd16", "ro", "c", **more)


def new(backend, executor, **more):
    connector = Connector.create(config_of(backend, executor, **more))
    status = connector.open()
    if not status.is_ok() and "no store for" in str(status.value):
        pytest.skip(f"the core was built without the store of {backend}")
    status.raise_if_not_ok()
    return connector


def region(value=0, nbytes=NBYTES):
    return ExternalMemoryRegion(torch.full((nbytes + 16,), value, dtype=torch.uint8), 16, nbytes)


def keys_of(count):
    return [bytes([n]) * 16 for n in range(1, count + 1)]


def codes(statuses):
    return [status.error_code for status in statuses]


def test_the_identity_of_the_original():
    assert config_of("MOCK", None).conn_id == "aibrix_h0_3_l0_31_lcnd16roc"


@pytest.mark.parametrize("backend", ["MOCK", "SHFS", "ROCKSDB"])
def test_single_blocks(backend, executor):
    async def run():
        connector = new(backend, executor)
        assert connector.name == backend and connector.feature == ConnectorFeature(mput_mget=True)
        long_key, key = b"tokens" * 50, keys_of(1)[0]
        assert (await connector.exists(key)).is_not_found()
        for name, value in ((key, 3), (long_key, 4)):
            assert (await connector.get(name, region())).is_not_found()
            assert (await connector.put(name, region(value))).is_ok()
            assert (await connector.exists(name)).is_ok()
            got = region()
            assert (await connector.get(name, got)).is_ok() and got.tobytes() == bytes([value]) * NBYTES
            assert got.slab[:16].sum() == 0
        assert (await connector.delete(key)).is_ok() and (await connector.delete(key)).is_ok()
        assert (await connector.exists(key)).is_not_found() and (await connector.exists(long_key)).is_ok()
        assert connector.close().is_ok()
        assert (await connector.exists(key)).error_code is StatusCodes.ERROR

    asyncio.run(run())


def test_many_blocks_and_gaps(executor):
    async def run():
        connector = new("MOCK", executor)
        keys = keys_of(5)
        await connector.mput([keys[0], keys[1], keys[3]], [region(n) for n in (1, 2, 4)])
        mrs = [region() for _ in keys]
        ok, missing = StatusCodes.OK, StatusCodes.NOT_FOUND
        assert codes(await connector.mget(keys, mrs)) == [ok, ok, missing, ok, missing]
        assert [mr.tobytes()[0] for mr in mrs] == [1, 2, 0, 4, 0]
        assert (await connector.get_run(keys, mrs, 5)).get() == 2
        assert (await connector.exists_run(keys, 5)).get() == 2
        assert (await connector.get_run(keys[2:], mrs[2:], 5)).is_not_found()
        assert (await connector.exists_run(keys[2:], 5)).is_not_found()
        assert (await connector.delete_all(keys, 5)).is_ok()
        assert codes(await connector.mget(keys[:1], mrs)) == [StatusCodes.INVALID]
        connector.close()

    asyncio.run(run())


def test_a_block_of_several_pieces(executor):
    async def run():
        connector = new("MOCK", executor)
        pieces = [region(n, 64) for n in range(4)]
        assert (await connector.put(b"k" * 16, pieces)).is_ok()
        whole = region(9, 256)
        assert (await connector.get(b"k" * 16, whole)).is_ok()
        assert whole.tobytes() == b"".join(piece.tobytes() for piece in pieces)
        back = [region(9, 64) for _ in range(4)]
        assert (await connector.get(b"k" * 16, back)).is_ok()
        assert [piece.tobytes()[0] for piece in back] == [0, 1, 2, 3]
        connector.close()

    asyncio.run(run())


def test_what_another_process_would_find(executor):
    """Two connectors of one directory: the same identity shares, another one does not."""

    async def run():
        first = new("SHFS", executor)
        assert (await first.put(b"k" * 16, region(7))).is_ok()
        same = new("SHFS", executor, block_nbytes=NBYTES)
        assert (await same.exists(b"k" * 16)).is_ok(), "the size of blocks is known from the configuration"
        for other in ({"model": "b"}, {"extras": {"dtype": "fp8"}}):
            stranger = new("SHFS", executor, block_nbytes=NBYTES, **other)
            assert (await stranger.exists(b"k" * 16)).is_not_found()
            stranger.close()
        for connector in (first, same):
            connector.close()

    asyncio.run(run())


def test_a_damaged_file_is_a_miss(executor, tmp_path):
    async def run():
        connector = new("SHFS", executor)
        await connector.put(b"k" * 16, region(7))
        files = [path for path in (tmp_path / "shfs").rglob("*") if path.is_file()]
        largest = max(files, key=lambda path: path.stat().st_size)
        data = bytearray(largest.read_bytes())
        data[-100] ^= 1
        largest.write_bytes(data)
        assert (await connector.get(b"k" * 16, region())).is_not_found()
        connector.close()

    asyncio.run(run())


class Slow(MockConnector):
    def _open_cache(self):
        return reprise.Cache.open("embedded:", l1_capacity=0, l2_url="mock:?delay=1s", l2_timeout=60)


def test_deadlines(executor):
    async def run():
        connector = Slow("slow", executor)
        connector.open().raise_if_not_ok()
        connector.timeout_s = 0.05
        got = region(9)
        assert (await connector.get(b"k" * 16, got)).is_timeout()
        assert (await connector.exists_run(keys_of(2), 0.05)).is_timeout()
        assert (await connector.put(b"k" * 16, region(1))).is_timeout()
        assert got.tobytes() == bytes([9]) * NBYTES
        await asyncio.to_thread(connector.close)

    asyncio.run(run())


def test_busy_threads_are_not_waited_for():
    release = threading.Event()

    async def run(pool):
        connector = MockConnector("busy", pool)
        connector.open()
        blocked = pool.submit(release.wait, 60)
        try:
            assert (await connector.get_run(keys_of(1), [region()], 0.05)).is_timeout()
        finally:
            release.set()
        blocked.result(60)
        assert (await connector.get_run(keys_of(1), [region()], 30)).is_not_found()
        connector.close()

    with ThreadPoolExecutor(1) as pool:
        asyncio.run(run(pool))


def test_a_cancelled_call_has_ended(executor):
    """Whoever cancels may use the region again."""
    running, release, ended = threading.Event(), threading.Event(), []

    class Waits(MockConnector):
        def _get_run(self, until, keys, mrs):
            running.set()
            release.wait(60)
            ended.append(True)
            return [Status.ok()]

    async def run():
        connector = Waits("waits", executor)
        connector.open()
        task = asyncio.create_task(connector.get_run(keys_of(1), [region()], 60))
        await asyncio.to_thread(running.wait, 60)
        task.cancel()
        asyncio.get_running_loop().call_later(0.05, release.set)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == [True]
        connector.close()

    asyncio.run(run())


def test_a_connector_of_the_users_own():
    """Its answers are counted as a run, and its time is limited."""

    class Mine(Connector):
        name, feature = "MINE", ConnectorFeature()

        @classmethod
        def from_envs(cls, conn_id, executor, **kwargs):
            return cls()

        def open(self):
            return Status.ok()

        close = open

        async def exists(self, key):
            if key == "slow":
                await asyncio.sleep(60)
            if key == "broken":
                raise OSError("no route")
            return Status.ok() if key == "here" else Status.error(StatusCodes.NOT_FOUND)

        async def get(self, key, mr):
            return await self.exists(key)

        put = get

        async def delete(self, key):
            return Status.ok()

    async def run():
        mine = Mine()
        assert (await mine.exists_run(["here", "here", "x", "here"], 60)).get() == 2
        assert (await mine.get_run(["x", "here"], [None] * 2, 60)).is_not_found()
        assert (await mine.get_run(["here", "slow"], [None] * 2, 0.05)).is_timeout()
        broken = await mine.put_run(["broken"], [None], 60)
        assert broken.error_code is StatusCodes.ERROR and "no route" in str(broken.value)
        assert (await mine.put_run(["here", "broken"], [None] * 2, 60)).get() == 1
        assert (await mine.allocate("k", 1)).error_code is StatusCodes.ERROR
        assert mine.get_batches("abc", "ABC", 2) == [[("a", "A"), ("b", "B")], [("c", "C")]]

    asyncio.run(run())


def test_names(executor, monkeypatch):
    with pytest.raises(ValueError, match="'INFINISTORE' is not there yet: there is MOCK, SHFS, ROCKSDB, REPRISE"):
        Connector.create(config_of("INFINISTORE", executor))
    with pytest.raises(ValueError, match="'S3' is unknown"):
        l2_url("S3", "x")
    with pytest.raises(ValueError, match="addr"):
        Connector.create(config_of("MOCK", executor), addr="a")
    assert isinstance(MockConnector(MockConfig(), executor), CacheConnector)
    assert Connector.create(config_of("REPRISE", executor), addr="h", port=1).url == "tcp://h:1"
    monkeypatch.setenv("AIBRIX_KV_CACHE_OL_REPRISE_URL", "unix:///nowhere/reprise.sock")
    assert l2_url("reprise", "x") == "unix:///nowhere/reprise.sock"


def test_a_daemon_that_is_away(executor, monkeypatch):
    """The cache opens, since the daemon may come back, and nothing is found."""
    monkeypatch.setenv("AIBRIX_KV_CACHE_OL_REPRISE_URL", "unix:///nowhere/reprise.sock")

    async def run():
        connector = new("REPRISE", executor)
        answers = [await connector.get(b"k" * 16, region()), await connector.put(b"k" * 16, region())]
        assert [status.is_ok() for status in answers] == [False, False]
        connector.close()

    asyncio.run(run())
