"""The member list in a real Redis, and the members it names."""

import asyncio
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
import torch

from aibrix_kvcache.l2.connectors import Connector, ConnectorConfig, MockConnector
from aibrix_kvcache.l2.placement import Placement, PlacementConfig, SimplePlacement
from aibrix_kvcache.l2.placement.fingerprint import fingerprint64
from aibrix_kvcache.l2.placement.members import parse_members
from aibrix_kvcache.memory import ExternalMemoryRegion
from aibrix_kvcache.meta_service import MetaService, MetaServiceConfig, RedisMetaService
from aibrix_kvcache.status import Status, StatusCodes

KEY = "kvcache_nodes"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(check, seconds=60):
    until = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


class Redis:
    """A server of the test's own."""

    def __init__(self, folder):
        self.port, self.folder, self.process = free_port(), folder, None
        self.client = redis.Redis(port=self.port, decode_responses=True)

    def start(self):
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder)],
            stdout=subprocess.DEVNULL)
        eventually(self.answers)

    def answers(self):
        try:
            return self.client.ping()
        except redis.ConnectionError:
            return False

    def stop(self):
        self.client.close()
        self.process.terminate()
        self.process.wait(60)


@pytest.fixture
def server(tmp_path):
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed (scripts/packages.txt)")
    redis_server = Redis(tmp_path)
    redis_server.start()
    yield redis_server
    redis_server.stop()


@pytest.fixture
def executor():
    with ThreadPoolExecutor(4) as pool:
        yield pool


def service(server, monkeypatch):
    monkeypatch.setenv("AIBRIX_KV_CACHE_OL_META_SERVICE_URL", f"redis://127.0.0.1:{server.port}")
    monkeypatch.setenv("AIBRIX_KV_CACHE_OL_META_SERVICE_CLUSTER_META_KEY", KEY)
    return MetaService.create("REDIS")


def members_json(*nodes, version=1):
    listed = [
        {"addr": addr, "port": port, "name": f"node-{port}", "slots": [{"start": s, "end": e} for s, e in spans]}
        for addr, port, spans in nodes
    ]
    return json.dumps({"nodes": listed, "version": version})


def test_redis(server, monkeypatch):
    meta = service(server, monkeypatch)
    assert meta.get_cluster_metadata().error_code is StatusCodes.ERROR, "not open yet"
    meta.open().raise_if_not_ok()
    missing = meta.get_cluster_metadata()
    assert missing.is_not_found() and KEY in missing.value
    server.client.set(KEY, "text")
    assert meta.get_cluster_metadata().get() == "text"
    assert meta.name == "Redis" and meta.get_connection_info()["port"] == server.port
    server.stop()
    assert meta.get_cluster_metadata().error_code is StatusCodes.ERROR
    server.start()
    server.client.set(KEY, "again")
    assert meta.get_cluster_metadata().get() == "again", "the connection was made anew"
    meta.close().raise_if_not_ok()


def test_a_redis_that_is_not_there():
    meta = RedisMetaService(MetaServiceConfig(f"redis://127.0.0.1:{free_port()}", KEY))
    assert meta.open().error_code is StatusCodes.ERROR
    with pytest.raises(ValueError, match="unknown meta service 'ETCD'"):
        MetaService.create("ETCD")


def test_member_lists():
    [(meta, slots), (_, rest)] = parse_members(members_json(("a", 1, [(0, 3), (8, 9)]), ("b", 2, [(4, 7)])))
    assert meta == {"addr": "a", "port": 1, "name": "node-1"} and slots == [0, 1, 2, 3, 8, 9] and rest == [4, 5, 6, 7]


def test_a_range_over_the_end():
    [(_, first), (_, second)] = parse_members(members_json(("a", 1, [(8, 1)]), ("b", 2, [(2, 7)])))
    assert first == [0, 1, *range(8, 16)] and second == [2, 3, 4, 5, 6, 7]
    text = members_json(("a", 1, [(4000, 99)]), ("b", 2, [(100, 3999)]))
    assert [len(slots) for _, slots in parse_members(text)] == [196, 3900], "the 4096 slots that are usual"
    listed = {**json.loads(text), "total_slots": 4001}
    assert len(parse_members(json.dumps(listed))[0][1]) == 101
    with pytest.raises(ValueError, match="total_slots is 4000"):
        parse_members(json.dumps({**listed, "total_slots": 4000}))


@pytest.mark.parametrize(("text", "message"), [
    ("{", "not JSON"),
    ("[]", "no nodes"),
    ('{"nodes": []}', "no nodes"),
    ('{"nodes": [3]}', "not an object"),
    ('{"nodes": [{"addr": "a", "slots": []}]}', "has no port"),
    ('{"nodes": [{"addr": "a", "port": 1, "slots": 5}]}', "not a list"),
    ('{"nodes": [{"addr": "a", "port": 1, "slots": []}]}', "no slots"),
    ('{"nodes": [{"addr": "a", "port": 1, "slots": [{"start": 0, "end": 1e9}]}]}', "not a range"),
    ('{"nodes": [{"addr": "a", "port": 1, "slots": [{"start": 0, "end": 99999999}]}]}', "not a range"),
    (members_json(("a", 1, [(0, 3)]), ("b", 2, [(3, 4)])), "slot 3 belongs to a and b"),
])
def test_lists_that_make_no_sense(text, message, executor):
    with pytest.raises(ValueError, match=message):
        parse_members(text)
    assert placement(executor).construct_cluster(text).is_invalid()


def test_fingerprints():
    """Values of the original's slot hash, one per length class."""
    for data, expected in (
        ("", 0x9AE16A3B2F90404F),
        ("82", 0xC17A3E9CA9CC9264),
        ("b70eee", 0xA2284DB60E05DC3C),
        ("7f1a5039", 0x97ECD013971CD300),
        ("bef07ec2347f06", 0x83AB129B65448D64),
        ("6ed08f5dc7512447", 0xFCD7AD628A5B82EA),
        ("e3404300026b6e545594a065685d64", 0x509DE05D3E5BF7BA),
        ("c4980bb8d4544a8721a99a01ad219eb5", 0xB783F979A521E41A),
    ):
        assert fingerprint64(bytes.fromhex(data)) == expected, data


class Member(MockConnector):
    """A member in memory; those of DOWN cannot be reached."""

    DOWN: set = set()

    def __init__(self, conn_id, executor, config, meta):
        super().__init__(conn_id, executor, config)
        self.meta = meta

    def open(self):
        if self.meta["port"] in self.DOWN:
            return Status.error(StatusCodes.ERROR, "no route")
        return super().open()


@pytest.fixture(autouse=True)
def members(monkeypatch):
    monkeypatch.setattr(Member, "DOWN", set())
    monkeypatch.setattr(Connector, "create", staticmethod(
        lambda config, **meta: Member(config.conn_id, config.executor, config, meta)))


def placement(executor, meta_service=None, refresh_interval_s=0, **more):
    config = ConnectorConfig("MOCK", "aibrix", "p", executor, block_nbytes=64)
    return Placement.create(PlacementConfig("SIMPLE", config, meta_service, refresh_interval_s, **more))


def region(value=0):
    return ExternalMemoryRegion(torch.full((64,), value, dtype=torch.uint8), 0, 64)


def test_blocks_go_to_their_members(executor):
    async def run():
        cluster = placement(executor)
        assert isinstance(cluster, SimplePlacement) and cluster.select(b"k").error_code is StatusCodes.ERROR
        text = members_json(("a", 1, [(10, 11)]), ("b", 2, [(20, 20), (30, 30)]))
        cluster.construct_cluster(text).raise_if_not_ok()
        assert cluster.slots == [10, 11, 20, 30] and cluster.total_slots == 4 and cluster.feature.mput_mget
        keys = [bytes([n]) * 16 for n in range(40)]
        for key in keys:
            expected = 1 if fingerprint64(key) % 4 < 2 else 2
            assert cluster.select(key).get().meta["port"] == expected
        statuses = await cluster.mput(keys, [region(n) for n in range(40)])
        assert all(status.is_ok() for status in statuses)
        await cluster.delete(keys[25])
        into = [region(99) for _ in keys]
        statuses = await cluster.mget(keys, into)
        assert [n for n, status in enumerate(statuses) if not status.is_ok()] == [25]
        assert [mr.tobytes()[0] for mr in into] == [99 if n == 25 else n for n in range(40)]
        assert (await cluster.get_run(keys, into, 60)).get() == 25
        assert (await cluster.exists(keys[3])).is_ok() and (await cluster.get(keys[3], region())).is_ok()
        per_member = [await m.conn.exists(keys[3]) for m in cluster.members]
        assert sorted(status.is_ok() for status in per_member) == [False, True]
        assert (await cluster.allocate(keys[0], 8)).error_code is StatusCodes.ERROR
        cluster.close().raise_if_not_ok()

    asyncio.run(run())


def test_members_keep_their_connection_and_lost_ones_come_back(executor):
    cluster = placement(executor)
    Member.DOWN = {2}
    cluster.construct_cluster(members_json(("a", 1, [(0, 1)]), ("b", 2, [(2, 3)]))).raise_if_not_ok()
    first, second = cluster.members
    assert first.conn is not None and second.conn is None
    on_second = next(key for key in (bytes([n]) * 16 for n in range(99)) if cluster.select(key).get() is second)
    status = asyncio.run(cluster.exists(on_second))
    assert status.error_code is StatusCodes.ERROR and "is away" in status.value
    Member.DOWN = set()
    cluster.construct_cluster(members_json(("a", 1, [(0, 0)]), ("b", 2, [(1, 3)]), version=2)).raise_if_not_ok()
    assert cluster.members[0].conn is first.conn and cluster.members[1].conn is not None
    Member.DOWN = {9}
    assert cluster.construct_cluster(members_json(("c", 9, [(0, 1)]))).is_invalid()
    assert len(cluster.members) == 2, "nothing changed"
    cluster.close()


def test_refresh_survives(server, monkeypatch, executor):
    """The list is read at open; later a missing key, nonsense, and a Redis that restarts change nothing for long."""
    meta = service(server, monkeypatch)
    meta.open().raise_if_not_ok()
    cluster = placement(executor, meta, refresh_interval_s=1)
    assert cluster.open().is_not_found()
    server.client.set(KEY, members_json(("a", 1, [(0, 1)])))
    cluster.config.refresh_interval_s = 0.05
    cluster.open().raise_if_not_ok()
    asked, ask = [], meta.get_cluster_metadata

    def counted():
        asked.append(ask())
        if len(asked) == 2:
            raise RuntimeError("unexpected")
        return asked[-1]

    monkeypatch.setattr(meta, "get_cluster_metadata", counted)
    server.client.delete(KEY)
    eventually(lambda: len(asked) > 3 and asked[-1].is_not_found())
    server.client.set(KEY, "nonsense")
    eventually(lambda: asked[-1].is_ok())
    assert len(cluster.members) == 1
    server.stop()
    eventually(lambda: asked[-1].error_code is StatusCodes.ERROR)
    server.start()
    server.client.set(KEY, members_json(("a", 1, [(0, 0)]), ("b", 2, [(1, 1)])))
    eventually(lambda: len(cluster.members) == 2)
    cluster.close()
    meta.close()
    assert cluster._thread is None and cluster.members == []


def test_names(executor):
    config = ConnectorConfig("MOCK", "aibrix", "p", executor)
    with pytest.raises(ValueError, match="unknown placement policy 'RANDOM'"):
        Placement.create(PlacementConfig("RANDOM", config))


def answers(port):
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_members_that_are_daemons(executor, tmp_path, monkeypatch):
    """Two caches behind one placement, each a process of its own."""
    monkeypatch.undo()
    processes, nodes = [], []
    try:
        for index in range(2):
            port = free_port()
            processes.append(subprocess.Popen(
                [sys.executable, "-m", "reprise", "serve", "--listen-unix", str(tmp_path / f"{index}.sock"),
                 "--listen-tcp", f"127.0.0.1:{port}", "--listen-admin", "", "--l1-capacity", "1MiB"],
                cwd=tmp_path, stderr=subprocess.DEVNULL))
            eventually(lambda port=port: answers(port))
            nodes.append(("127.0.0.1", port, [(index, index)]))
        config = ConnectorConfig("REPRISE", "aibrix", "p", executor, block_nbytes=64)
        keys = [bytes([n]) * 16 for n in range(12)]

        async def run():
            caches = [Placement.create(PlacementConfig("SIMPLE", config)) for _ in range(2)]
            for cluster in caches:
                cluster.construct_cluster(members_json(*nodes)).raise_if_not_ok()
            assert (await caches[0].put_run(keys, [region(n) for n in range(12)], 60)).get() == 12
            into = [region() for _ in keys]
            assert (await caches[1].get_run(keys, into, 60)).get() == 12
            assert [mr.tobytes()[0] for mr in into] == list(range(12))
            for cluster in caches:
                cluster.close()

        asyncio.run(run())
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
