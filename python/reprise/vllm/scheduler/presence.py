"""Which blocks are in the cache, asked for many at once. Any thread may call it; it waits for the cache."""

from __future__ import annotations

from collections.abc import Sequence

from ... import _native

_UNKNOWN = (_native.Reason.TIMEOUT, _native.Reason.UNAVAILABLE, _native.Reason.BUSY)


def presence(cache: _native.Cache, namespaces: Sequence[_native.Namespace], keys: Sequence[bytes], timeout: float,
             calls: int = 64) -> list[bool | None]:
    """For each key, whether a block of it is there in every one of `namespaces`, in memory or behind it.

    None where the cache did not say: it was away or slow, or more than `calls` questions would have been needed.
    A question is answered up to the first block that is missing; `timeout`, seconds, is that of one question.
    """
    answers: list[bool | None] = [None] * len(keys)
    at = 0
    for _ in range(calls):
        if at >= len(keys):
            break
        packed = b"".join(keys[at:])
        found = cache.match([_native.Chain(ns, packed) for ns in namespaces], timeout=timeout)
        answers[at:at + found.blocks] = [True] * found.blocks
        at += found.blocks
        if at < len(keys):
            if found.reason in _UNKNOWN:
                break
            answers[at] = False
            at += 1
    return answers
