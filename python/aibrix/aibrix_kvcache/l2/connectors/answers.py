"""What the native cache answers, as a Status."""

from __future__ import annotations

from typing import Any

import reprise

from ...status import Status, StatusCodes

_CODES = {
    reprise.Reason.MISS: StatusCodes.NOT_FOUND,
    reprise.Reason.HOLE: StatusCodes.NOT_FOUND,
    reprise.Reason.CORRUPT: StatusCodes.NOT_FOUND,  # Dropped by the store: it is not there any more.
    reprise.Reason.FOREIGN: StatusCodes.NOT_FOUND,
    reprise.Reason.TIMEOUT: StatusCodes.TIMEOUT,
    reprise.Reason.FULL: StatusCodes.OUT_OF_MEMORY,
    reprise.Reason.DECLINED: StatusCodes.DENIED,
    reprise.Reason.BUSY: StatusCodes.DENIED,
}


def of_reason(reason: reprise.Reason) -> Status[Any]:
    """Why a block is not there, or was not stored."""
    return Status.error(_CODES.get(reason, StatusCodes.ERROR), reason.name.lower())


def of_exception(error: Exception) -> Status[Any]:
    """A call that could not be carried out."""
    return Status.error(StatusCodes.INVALID if isinstance(error, ValueError) else StatusCodes.ERROR, error)
