"""Views on the tokens of a prompt, as keys of the cache."""

from __future__ import annotations

import hashlib
import operator
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .common.cached_pyobject import CachedPyObjectBase

_INT32 = np.dtype(np.int32)
_LOWEST, _HIGHEST = -(2**31), 2**31 - 1


class KVCacheIds(ABC):
    """What names the blocks of a prompt: its tokens, or hashes that the engine made of them. Lengths are in tokens."""

    __slots__ = ()

    @abstractmethod
    def __getitem__(self, index: Any) -> Any: ...

    @abstractmethod
    def __add__(self, other: Any) -> Any: ...

    @abstractmethod
    def __iter__(self) -> Iterator[Any]: ...

    @abstractmethod
    def __hash__(self) -> int: ...

    @abstractmethod
    def __eq__(self, other: object) -> bool: ...

    @abstractmethod
    def __len__(self) -> int: ...


class KeysMeta:
    """What all views of one array have in common: the block keys that were computed of it.

    keys: for whoever computes keys, under a name of their choice (which says the block size, too).
    source: the array that was converted, None where it could be kept as it was.
    """

    # Key builders written for other versions put attributes of their own here, hence __dict__.
    __slots__ = ("__dict__", "keys", "source")

    def __init__(self, source: Any = None) -> None:
        self.keys: dict[Any, Any] = {}
        self.source = source


class TokenListViewMeta(KeysMeta):
    """The meta object of a TokenListView."""

    __slots__ = ()


def _blame(data: Any) -> Exception:
    """Says which of the tokens is none."""
    for position, token in enumerate(data):
        try:
            number = operator.index(token)
        except TypeError:
            return TypeError(f"tokens must be integers, got {token!r} at position {position}")
        if not _LOWEST <= number <= _HIGHEST:
            return ValueError(f"tokens must fit 32 bits with a sign, got {number} at position {position}")
    return TypeError(f"tokens must be a sequence of integers or a numpy array, got {type(data).__name__}")


def _narrowed(data: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if data.ndim != 1:
        raise ValueError(f"tokens must be an array of one dimension, got the shape {data.shape}")
    if data.dtype.kind not in "iu":
        raise TypeError(f"tokens must be integers, got an array of {data.dtype}")
    if data.dtype.itemsize >= 4 and len(data) and not (data.min() >= _LOWEST and data.max() <= _HIGHEST):
        raise _blame(data)
    return data.astype(_INT32)


def _as_tokens(data: Any) -> np.ndarray[Any, Any]:
    """The tokens as an int32 array of one contiguous dimension; ``data`` itself where it is one."""
    if not isinstance(data, np.ndarray):
        if isinstance(data, (bytes, bytearray, str)):  # array() would take bytes for machine words
            raise TypeError(f"tokens must be a sequence of integers or a numpy array, got {type(data).__name__}")
        if hasattr(data, "__array__"):
            data = np.asarray(data)
    if isinstance(data, np.ndarray):
        if data.dtype == _INT32 and data.ndim == 1 and data.flags.c_contiguous:
            return data
        return _narrowed(data)
    try:
        # Twice as fast as numpy for the lists of an engine, and it refuses floats.
        return np.frombuffer(array("i", data), dtype=_INT32) if len(data) else np.empty(0, dtype=_INT32)
    except (TypeError, OverflowError):
        raise _blame(data) from None


class TokenListView(CachedPyObjectBase, KVCacheIds):
    """A range of a prompt's tokens. Slices are views too: no token is copied, and all of them share one ``meta``.

    data: a numpy array of integers, or a sequence of ints. A contiguous int32 array of one dimension is kept, not
        copied: it must not change as long as one of its views lives, since keys are computed once. Everything else is
        copied.
    start, stop: the range, as in a slice; negative positions count from the end, and what lies outside is left out.

    TypeError if a token is no integer, ValueError if it does not fit 32 bits or the array is not of one dimension.
    Views cannot be changed, and any thread may use them.
    """

    __slots__ = ("_data", "_hash", "_meta_", "_start", "_stop")

    _data: np.ndarray[Any, Any]
    _start: int
    _stop: int
    _meta_: Any
    _hash: int | None

    def __init__(
        self,
        data: Sequence[int] | np.ndarray[Any, Any] | TokenListView,
        start: int | None = None,
        stop: int | None = None,
        *,
        meta: Any = None,
    ) -> None:
        if isinstance(data, TokenListView):
            meta = meta or data._meta_
            first, end, tokens = data._start, data._stop, data._data
        else:
            tokens = _as_tokens(data)
            first, end = 0, len(tokens)
            if meta is None:
                meta = TokenListViewMeta(data if tokens is not data and isinstance(data, np.ndarray) else None)
        if start is not None or stop is not None:
            begin, until, _ = slice(start, stop).indices(end - first)
            first, end = first + begin, first + max(begin, until)
        self._data = tokens
        self._start = first
        self._stop = end
        self._meta_ = meta
        self._hash = None

    def _view(self, start: int, stop: int) -> TokenListView:
        view = _new(TokenListView)
        view._data = self._data
        view._start = start
        view._stop = stop
        view._meta_ = self._meta_
        view._hash = None
        return view

    @property
    def array(self) -> np.ndarray[Any, Any]:
        """The whole int32 array that this is a view of."""
        return self._data

    @property
    def start(self) -> int:
        """Where the view begins in ``array``."""
        return self._start

    @property
    def stop(self) -> int:
        """Where the view ends in ``array``."""
        return self._stop

    @property
    def meta(self) -> Any:
        """What all views of this array share; ``meta.keys`` holds the block keys computed so far."""
        return self._meta_

    def __len__(self) -> int:
        return self._stop - self._start

    def __repr__(self) -> str:
        return f"TokenListView(data=[len={len(self._data)}], start={self._start}, stop={self._stop})"

    def __getitem__(self, index: Any) -> Any:
        """A slice is a view (ValueError unless its step is 1); a position is the token there, or IndexError."""
        first = self._start
        if isinstance(index, slice):
            start, stop, step = index.indices(self._stop - first)
            if step != 1:
                raise ValueError(f"a TokenListView has slices of step 1 only, got {step}")
            return self._view(first + start, first + stop if stop > start else first + start)
        position = operator.index(index)
        length = self._stop - first
        if not -length <= position < length:
            raise IndexError(f"position {position} is outside of a TokenListView of {length} tokens")
        return self._data[first + position if position >= 0 else self._stop + position]

    def __add__(self, other: object) -> TokenListView:
        """The view of two that lie next to each other in the same array, in either order; ValueError for others."""
        if not isinstance(other, TokenListView):
            raise TypeError(f"a TokenListView can be joined with another one only, got {type(other).__name__}")
        if not self.same_array(other):
            raise ValueError("these views are of different arrays and cannot be joined without copying")
        if self._stop == other._start:
            return self._view(self._start, other._stop)
        if other._stop == self._start:
            return self._view(other._start, self._stop)
        raise ValueError(
            f"tokens {self._start} to {self._stop} and {other._start} to {other._stop} are not next to each other"
        )

    def same_array(self, other: TokenListView) -> bool:
        """Whether both are views of the same array."""
        if self._data is other._data:
            return True
        source = getattr(self._meta_, "source", None)
        if source is None or source is not getattr(other._meta_, "source", None):
            return False
        # Both are copies, and the array may have changed between the one and the other.
        return np.array_equal(self._data[other._start : other._stop], other.to_numpy())

    def __iter__(self) -> Iterator[Any]:
        return iter(self.to_numpy())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TokenListView):
            return False
        if self._data is other._data and self._start == other._start:
            return self._stop == other._stop
        return self._stop - self._start == other._stop - other._start and bool(
            np.array_equal(self.to_numpy(), other.to_numpy())
        )

    def __hash__(self) -> int:
        if self._hash is None:
            digest = hashlib.blake2b(self.memoryview(), digest_size=8).digest()
            self._hash = hash(int.from_bytes(digest, "little"))
        return self._hash

    def __reduce__(self) -> Any:
        return TokenListView, (self.to_numpy().copy(),)  # the tokens of the view alone, and no keys

    def memoryview(self) -> memoryview:
        """The tokens as a buffer of 32-bit integers, without copying."""
        return self.to_numpy().data

    def to_numpy(self) -> np.ndarray[Any, Any]:
        """The tokens as an int32 array, without copying."""
        return self._data[self._start : self._stop]

    @staticmethod
    def from_numpy(data: np.ndarray[Any, Any]) -> TokenListView:
        """The view of a whole array."""
        return TokenListView(data)

    def nbytes(self) -> int:
        """Bytes of the tokens."""
        return 4 * (self._stop - self._start)

    @staticmethod
    def calculate_size(ntokens: int) -> int:
        """Bytes of so many tokens."""
        return 4 * ntokens


_new = TokenListView.__new__
