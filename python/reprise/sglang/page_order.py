"""In which order SGLang lays the pieces of a page one after the other when it copies it out as one tensor."""

import itertools
from typing import Any

import torch


def page_tokens(pool: Any) -> int:
    """Token slots of a page, as the indices count them that SGLang hands over."""
    return int(getattr(pool, "logical_page_size", pool.page_size))


def flat_order(pool: Any) -> list[int] | None:
    """For each piece of such a tensor, its number among the pointers of a page.

    Pages moved in this order have the same bytes whether SGLang hands over pointers or tensors. None where the two
    cannot be brought together; then they are kept apart.
    """
    try:
        pointers, sizes = pool.get_page_buffer_meta(torch.arange(page_tokens(pool), dtype=torch.int64))
        page = pool.get_data_page(0, flat=False)
    except Exception:  # Of pools that offer only one of the two; which exception is theirs to choose.
        return None
    runs, run_bytes = _runs(page)
    number = {address: at for at, address in enumerate(pointers)}
    if len(number) != len(runs) or set(number) != set(runs) or set(sizes) != {run_bytes}:
        return None
    return [number[address] for address in runs]


def _runs(tensor: torch.Tensor) -> tuple[list[int], int]:
    """Addresses of the contiguous runs of a tensor, index by index, and their length in bytes."""
    item, run, dims = tensor.element_size(), 1, list(zip(tensor.shape, tensor.stride(), strict=True))
    while dims and (dims[-1][0] == 1 or dims[-1][1] == run):
        run *= dims.pop()[0]
    offsets = (sum(at * stride for at, (_, stride) in zip(index, dims, strict=True))
               for index in itertools.product(*(range(size) for size, _ in dims)))
    return [tensor.data_ptr() + offset * item for offset in offsets], run * item
