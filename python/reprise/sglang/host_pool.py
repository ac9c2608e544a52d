"""One host pool of SGLang's: which pages its token slots are, and where their bytes lie."""

import itertools
import logging
from collections.abc import Sequence
from typing import Any

import torch

import reprise

from .copying import AddressedPages, MappedPages, Pages

LOG = logging.getLogger("reprise.sglang")

# Whose pages stay where they are. Others may move theirs, and are asked anew for each call.
FIXED = frozenset({"MHATokenToKVPoolHost", "MLATokenToKVPoolHost"})


class HostPool:
    """Any thread may call anything; the pool outlives this.

    `interface` names the order of a page's bytes: "flat", as SGLang copies a page out as one tensor, or "pieces", as
    its pointers come, where the pool offers no more than these.
    """

    def __init__(self, pool: Any, threads: int) -> None:
        self.pool = pool
        self._threads = threads
        self._tokens = int(getattr(pool, "logical_page_size", pool.page_size))
        self._mapped = self._map() if type(pool).__name__ in FIXED else None
        self.interface = "pieces" if self._mapped is None else "flat"

    def _map(self) -> reprise.KvPieces | None:
        try:
            return _mapped(self.pool, self._tokens)
        except (ValueError, RuntimeError, AttributeError, IndexError, TypeError) as error:
            LOG.info("pages of %s (%s) are moved piece by piece: %s", type(self.pool).__name__,
                     getattr(self.pool, "layout", "no layout"), error)
            return None

    @property
    def is_logical(self) -> bool:
        """Some pools hold no bytes: they stand for others, whose pages are moved by the calls of version 2."""
        return getattr(self.pool, "kv_buffer", None) is None

    def pages(self, count: int, host_indices: torch.Tensor) -> Pages:
        """The pages at these token slots; ValueError where they are not `count` whole pages."""
        if len(host_indices) != count * self._tokens:
            raise ValueError(f"{len(host_indices)} slots are no {count} pages of {self._tokens} tokens")
        if self._mapped is None:
            return AddressedPages(count, *self.pool.get_page_buffer_meta(host_indices))
        first: list[int] = host_indices[::self._tokens].tolist()
        if any(slot % self._tokens for slot in first):
            raise ValueError("a page that does not begin where pages begin")
        return MappedPages(self._mapped, [slot // self._tokens for slot in first], self._threads)

    def page_bytes(self) -> int:
        return self.pages(1, torch.arange(self._tokens, dtype=torch.int64)).page_bytes

    def flat_bytes(self) -> int:
        """Bytes of a page as one tensor."""
        return int(self.pool.get_size_per_token()) * int(self.pool.page_size)


def _mapped(pool: Any, tokens: int) -> reprise.KvPieces | None:
    """The pool as a tensor whose first dimension counts pages; None where its pages do not lie as its pointers say."""
    page, count = pool.get_data_page(0, flat=False), int(pool.page_num)
    if count < 2:
        return None
    (first, sizes), (second, _), (last, _) = (
        pool.get_page_buffer_meta(torch.arange(at * tokens, (at + 1) * tokens, dtype=torch.int64))
        for at in (0, 1, count - 1))
    step = second[0] - first[0]
    shape, strides = _shape(page)
    inner = [page.data_ptr() + at for at in _offsets(shape[:-1], strides[:-1])]
    if sorted(inner) != sorted(first) or set(sizes) != {shape[-1]}:
        return None
    if any(b - a != step or c - a != step * (count - 1) for a, b, c in zip(first, second, last, strict=True)):
        return None
    whole = pool.kv_buffer.view(-1).view(torch.uint8)
    start = page.data_ptr() - whole.data_ptr()
    return reprise.KvPieces.from_tensors([whole.as_strided([count, *shape], [step, *strides], start)], 0)


def _shape(tensor: torch.Tensor) -> tuple[list[int], list[int]]:
    """Shape and strides in bytes, what is contiguous taken together as the last dimension."""
    item, run, dims = tensor.element_size(), 1, list(zip(tensor.shape, tensor.stride(), strict=True))
    while dims and (dims[-1][0] == 1 or dims[-1][1] == run):
        run *= dims.pop()[0]
    return [size for size, _ in dims] + [run * item], [stride * item for _, stride in dims] + [1]


def _offsets(shape: Sequence[int], strides: Sequence[int]) -> list[int]:
    return [sum(at * stride for at, stride in zip(index, strides, strict=True))
            for index in itertools.product(*map(range, shape))]
