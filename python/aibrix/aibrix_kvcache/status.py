"""What every call of the cache answers: a code, and a value or what went wrong."""

from __future__ import annotations

import functools
import inspect
import traceback
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")


class StatusCodes(Enum):
    """How a call ended."""

    OK = auto()
    ERROR = auto()
    NOT_FOUND = auto()
    INVALID = auto()
    OUT_OF_MEMORY = auto()
    TIMEOUT = auto()
    DENIED = auto()
    CANCELLED = auto()


class Status(Generic[T]):
    """A code with the value of a call that went well, or with the message or exception of one that did not.

    ``Status(code, value)`` is a status of that code; ``Status(status)`` is a copy; ``Status(anything_else)`` is OK with
    that value. ``trace`` is the traceback, as text, where the value of a failure is an exception.
    """

    # Two statuses are made per call, so they are kept small.
    __slots__ = ("error_code", "trace", "value")

    error_code: StatusCodes
    value: T | str | Exception | None
    trace: str | None

    def __init__(
        self, error_code_or_value: StatusCodes | T | Status[Any], value: T | str | Exception | None = None
    ) -> None:
        self.trace = None
        if isinstance(error_code_or_value, StatusCodes):
            self.error_code = error_code_or_value
            self.value = value
            if error_code_or_value is not StatusCodes.OK and isinstance(value, Exception):
                self.trace = "".join(traceback.format_exception(value))
        elif isinstance(error_code_or_value, Status):
            self.error_code = error_code_or_value.error_code
            self.value = error_code_or_value.value
            self.trace = error_code_or_value.trace
        else:
            if value is not None:
                raise AssertionError(
                    f"a status made of the value {error_code_or_value!r} takes no second one: {value!r}"
                )
            self.error_code = StatusCodes.OK
            self.value = error_code_or_value

    @classmethod
    def ok(cls, value: T | None = None) -> Status[T]:
        """OK, with ``value``."""
        return cls(StatusCodes.OK, value)

    @classmethod
    def error(cls, error_code: StatusCodes, message_or_exception: str | Exception | None = None) -> Status[T]:
        """A failure of that code, with what is known about it."""
        return cls(error_code, message_or_exception)

    def is_ok(self) -> bool:
        return self.error_code is StatusCodes.OK

    def is_error(self) -> bool:
        """Whether the code is ERROR. Other codes that are not OK have questions of their own."""
        return self.error_code is StatusCodes.ERROR

    def is_not_found(self) -> bool:
        return self.error_code is StatusCodes.NOT_FOUND

    def is_invalid(self) -> bool:
        return self.error_code is StatusCodes.INVALID

    def is_out_of_memory(self) -> bool:
        return self.error_code is StatusCodes.OUT_OF_MEMORY

    def is_timeout(self) -> bool:
        return self.error_code is StatusCodes.TIMEOUT

    def is_denied(self) -> bool:
        return self.error_code is StatusCodes.DENIED

    def is_cancelled(self) -> bool:
        return self.error_code is StatusCodes.CANCELLED

    def __getattr__(self, name: str) -> Callable[[], bool]:
        # Callers may ask for codes that only later versions have: the answer is no.
        if name.startswith("is_"):
            code = getattr(StatusCodes, name[3:].upper(), None)
            return lambda: self.error_code is code
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def get(self, default: Any = None) -> T:
        """The value if OK, which must not be None (AssertionError); otherwise ``default``."""
        if self.error_code is not StatusCodes.OK:
            return cast(T, default)
        if self.value is None:
            raise AssertionError("this status is OK without a value: there is nothing to get")
        return cast(T, self.value)

    def raise_if_has_exception(self) -> None:
        """Raises the value if it is an exception."""
        if isinstance(self.value, Exception):
            raise self.value

    def raise_if_not_ok(self) -> None:
        """Raises the exception it carries, or RuntimeError with the code and the message, unless OK."""
        self.raise_if_has_exception()
        if self.error_code is not StatusCodes.OK:
            raise RuntimeError(str(self))

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return (self.error_code, self.value, self.trace) == (other.error_code, other.value, other.trace)

    __hash__ = None  # type: ignore[assignment]  # statuses can be changed

    def __repr__(self) -> str:
        value = "" if self.value is None else f", value={self.value}"
        trace = "" if self.trace is None else f", trace:\n{self.trace}"
        return f"Status(error_code={self.error_code}{value}){trace}"

    @staticmethod
    def capture_exception(func: Callable[..., Any]) -> Callable[..., Any]:
        """Makes a function, or a coroutine function, answer ``Status(ERROR, exception)`` where it would raise.

        AssertionError is a fault of the caller and passes, as does whatever is not an Exception (cancellation).
        """

        @functools.wraps(func)
        def answering(*args: Any, **kwargs: Any) -> Any:
            try:
                return func(*args, **kwargs)
            except AssertionError:
                raise
            except Exception as error:
                return Status(StatusCodes.ERROR, error)

        @functools.wraps(func)
        async def answering_later(*args: Any, **kwargs: Any) -> Any:
            try:
                return await func(*args, **kwargs)
            except AssertionError:
                raise
            except Exception as error:
                return Status(StatusCodes.ERROR, error)

        return answering_later if inspect.iscoroutinefunction(func) else answering
