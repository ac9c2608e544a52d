"""The device of torch.cuda. Nothing but calls of torch: everything that can be wrong elsewhere is elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .device import Event, Stream


class CudaDevice:
    """A device that torch calls `cuda`: NVIDIA's, and AMD's under ROCm."""

    def __init__(self, device: Any) -> None:
        """device: a torch.device; without a number it is the calling thread's."""
        self._device = device if device.index is not None else torch.device("cuda", torch.cuda.current_device())

    def engine_stream(self) -> Stream:
        """The calling thread's."""
        return _CudaStream(torch.cuda.current_stream(self._device))

    def new_stream(self) -> Stream:
        """Does not wait for the default stream, either."""
        return _CudaStream(torch.cuda.Stream(self._device))

    def memory(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """By torch's allocator; usable on all streams once what the calling thread's stream does is done."""
        return torch.empty(shape, dtype=dtype, device=self._device)

    def host_memory(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """By torch's allocator, which rounds up to a power of two."""
        return torch.empty(shape, dtype=dtype, device="cpu", pin_memory=True)


class _CudaEvent:
    def __init__(self, event: Any) -> None:
        self.event = event

    def reached(self) -> bool:
        return bool(self.event.query())


class _CudaStream:
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def run(self, work: Callable[[], object]) -> None:
        # Makes the stream's device the calling thread's, too, as long as it lasts.
        with torch.cuda.stream(self._stream):
            work()

    def record(self) -> Event:
        event = torch.cuda.Event()
        event.record(self._stream)
        return _CudaEvent(event)

    def wait(self, event: Event) -> None:
        if not isinstance(event, _CudaEvent):
            raise TypeError(f"a stream of cuda cannot wait for {type(event).__name__}")
        self._stream.wait_event(event.event)
