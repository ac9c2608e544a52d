"""The GIL, asyncio, and what importing does."""

import asyncio
import subprocess
import sys
import threading

import pytest

import reprise
import reprise.aio

from conftest import BLOCK, block, make_chain


@pytest.fixture
def slow():
    """A cache whose store takes its time: only waiting without the GIL lets others run meanwhile."""
    with reprise.Cache.open(l1_capacity="1MiB", l2_url="mock:?delay=100ms", l2_timeout=20,
                            l1_populate=False) as cache:
        yield cache


def only_in_store(cache, blocks=2):
    """A chain that memory has forgotten."""
    chain = make_chain(blocks)
    cache.put(chain, [block(i) for i in range(blocks)])
    assert cache.flush(timeout=30)
    for i in range(10):
        cache.put(make_chain(100, first=10_000 + 400 * i), [block(9)] * 100)
    assert cache.flush(timeout=30)
    return chain


def test_others_run_while_a_call_waits(slow):
    chain = only_in_store(slow)
    done = threading.Event()
    answers = []

    def call():
        answers.append(slow.get(chain, [bytearray(BLOCK) for _ in range(2)]))
        done.set()

    thread = threading.Thread(target=call)
    thread.start()
    progress = 0
    while not done.is_set():
        progress += 1
    thread.join()
    assert answers[0].blocks == 2
    # With the GIL held the loop would have stood still; it would have seen a few switches between threads at most.
    assert progress > 1000


def test_a_timeout_is_an_answer(slow):
    chain = only_in_store(slow)
    for timeout in (0.03, 0.001, 0):  # with 0 the store is not asked at all
        found = slow.get(chain, [bytearray(BLOCK) for _ in range(2)], timeout=timeout)
        assert (found.blocks, found.reason) == (0, reprise.Reason.TIMEOUT)
        with slow.acquire(chain, timeout=timeout) as lease:
            assert (len(lease), lease.match.reason) == (0, reprise.Reason.TIMEOUT)
        found = slow.match(chain, timeout=timeout)
        assert (found.blocks, found.reason) == (0, reprise.Reason.TIMEOUT)
    with pytest.raises(ValueError, match="not a number"):
        slow.match(chain, timeout=float("nan"))


def test_asyncio_forms():
    async def work():
        async with reprise.aio.open(l1_capacity="1MiB", l1_populate=False) as cache:
            chain = make_chain(2)
            assert (await cache.put(chain, [block(0), block(1)])).accepted == 2
            assert (await cache.match(chain)).blocks == 2
            out = bytearray(2 * BLOCK)
            assert (await cache.get(chain, out, timeout=5)).blocks == 2
            assert bytes(out) == block(0) + block(1)
            with await cache.acquire(chain) as lease:
                with await cache.attach(lease.token) as again:
                    assert bytes(again[0]) == block(0)
            with await cache.reserve(make_chain(3), start=2) as places:
                view = places[0]
                view[:] = block(2)
                view.release()
                assert places.commit() == 1
            assert (await cache.prefetch(make_chain(3))).blocks == 3
            assert await cache.flush(timeout=5)
            assert await cache.erase(make_chain(3)) == 3
        assert cache.sync.closed

    asyncio.run(work())


def test_a_cancelled_call_is_over_when_the_await_is(slow):
    chain = only_in_store(slow)

    async def work():
        cache = reprise.aio.AsyncCache(slow)
        call = asyncio.create_task(cache.acquire(chain))
        await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert slow.stats().leases == 0

    asyncio.run(work())


def test_importing_changes_nothing():
    code = ("import asyncio, logging, signal, threading\n"
            "before = (logging.root.handlers[:], signal.getsignal(signal.SIGINT), threading.active_count(),\n"
            "          type(asyncio.get_event_loop_policy()))\n"
            "import reprise, reprise.aio\n"
            "assert before == (logging.root.handlers[:], signal.getsignal(signal.SIGINT), threading.active_count(),\n"
            "                  type(asyncio.get_event_loop_policy()))\n")
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_the_command_line_comes_along():
    ran = subprocess.run([sys.executable, "-m", "reprise", "options"], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0 and "l1.capacity" in ran.stdout
