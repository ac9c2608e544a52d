"""Caches of a daemon, over its Unix socket and over TCP: every call, and what processes share."""

import array
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import reprise
from reprise import Reason

from conftest import BLOCK, block, make_chain, make_namespace


@pytest.fixture(params=["unix", "tcp"])
def url(request, daemons):
    return daemons[request.param]


@pytest.fixture
def attached(url):
    with reprise.Cache.open(url) as opened:
        yield opened


@pytest.fixture
def chain(request):
    """Blocks that no other test looks at: all share one daemon."""
    return make_chain(4, make_namespace(salt=request.node.name))


def test_blocks_go_there_and_back(attached, chain):
    assert attached.match(chain).blocks == 0
    stored = attached.put(chain, [block(i) for i in range(3)], timeout=30)
    assert (stored.accepted, stored.present, stored.declined) == (3, 0, 0)
    found = attached.match(chain, timeout=30)
    assert (found.blocks, found.from_l1, found.reason) == (3, 3, Reason.MISS)
    out = bytearray(4 * BLOCK)
    assert attached.get(chain, out, timeout=30).blocks == 3
    assert out[:3 * BLOCK] == block(0) + block(1) + block(2)
    assert attached.get(chain, [bytearray(BLOCK)], start=2, timeout=30).blocks == 1
    assert attached.put(chain, [block(i) for i in range(4)]).present == 3
    assert attached.flush(timeout=30)
    assert attached.erase(chain, timeout=30) == 4
    assert attached.match(chain).blocks == 0


def test_a_lease_and_a_reservation(attached, chain):
    with attached.reserve(chain, timeout=30) as places:
        for i in range(4):
            with places[i] as view:
                view[:] = block(i)
        assert attached.match(chain).blocks == 0
        assert places.commit() == 4
    with attached.acquire(chain, timeout=30) as lease:
        assert (lease.match.blocks, lease.valid) == (4, True)
        assert [bytes(view) for view in lease] == [block(i) for i in range(4)]
        kept = lease.hold()
        view = lease[2]
        with pytest.raises(BufferError, match="2 live views"):
            lease.release()
        kept.release()
        view.release()
    assert lease.released


def test_every_kind_of_buffer(attached, chain):
    class Tensor:
        """DLPack without the buffer protocol."""

        def __init__(self, values):
            self.values = values

        def __dlpack__(self, **more):
            return self.values.__dlpack__(**more)

        def __dlpack_device__(self):
            return self.values.__dlpack_device__()

    offered = [block(0), array.array("I", block(1)), np.frombuffer(block(2), dtype=np.float32),
               Tensor(np.full(BLOCK, 4, dtype=np.uint8))]
    assert attached.put(chain, offered).accepted == 4
    out = np.zeros((4, BLOCK), dtype=np.uint8)
    assert attached.get(chain, [Tensor(out[0]), out[1], memoryview(out[2]), out[3]], timeout=30).blocks == 4
    assert out.tobytes() == block(0) + block(1) + block(2) + block(3)
    with pytest.raises(ValueError, match=r"out\[0\].*read-only"):
        attached.get(chain, [block(0)])


def test_a_deadline_that_passed_is_an_answer(attached, chain):
    """Without asking the server, so also of what it has; docs/attach.md."""
    attached.put(chain, [block(i) for i in range(4)])
    for answer in (attached.match(chain, timeout=0), attached.get(chain, bytearray(4 * BLOCK), timeout=0),
                   attached.acquire(chain, timeout=0).match):
        assert (answer.blocks, answer.reason) == (0, Reason.TIMEOUT)
    assert attached.match(chain, timeout=30).blocks == 4


def test_another_namespace_shares_nothing(attached, chain, request):
    attached.put(chain, [block(i) for i in range(4)])
    for other in (make_namespace(salt="somebody else"), make_namespace(salt=request.node.name, model="other")):
        assert attached.match(reprise.Chain(other, chain.keys)).blocks == 0


OTHER = """
import sys, reprise
sys.path.insert(0, sys.argv[2])
from conftest import BLOCK, block, make_chain, make_namespace
chain = make_chain(4, make_namespace(salt=sys.argv[3]))
with reprise.Cache.open(sys.argv[1]) as cache:
    out = bytearray(4 * BLOCK)
    found = cache.get(chain, out, timeout=30)
    assert found.blocks == 2 and out[:2 * BLOCK] == block(0) + block(1), found
    with cache.acquire(chain, timeout=30) as lease:
        assert bytes(lease[1]) == block(1)
    assert cache.put(chain, [block(2), block(3)], start=2).accepted == 2
print("found")
"""


def test_another_process_finds_it(attached, url, chain, daemons, request):
    attached.put(chain, [block(0), block(1)])
    ran = subprocess.run([sys.executable, "-c", OTHER, url, str(Path(__file__).parent), request.node.name],
                         capture_output=True, text=True, timeout=60)
    assert ran.stdout == "found\n", ran.stderr
    for each in daemons.values():  # Both ways lead to the same blocks.
        with reprise.Cache.open(each) as cache:
            out = bytearray(4 * BLOCK)
            assert cache.get(chain, out, timeout=30).blocks == 4
            assert out == b"".join(block(i) for i in range(4))


def test_no_daemon_is_no_error(tmp_path):
    for url in (f"unix://{tmp_path}/nobody.sock", "tcp://127.0.0.1:1"):
        with reprise.Cache.open(url, attach_timeout=0.2) as cache:
            found = cache.get(make_chain(1), bytearray(BLOCK), timeout=0.2)
            assert found.blocks == 0 and found.reason in (Reason.UNAVAILABLE, Reason.TIMEOUT)
            assert cache.put(make_chain(1), [block(0)], timeout=0.2).declined == 1
