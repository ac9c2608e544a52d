"""Exceptions: one class for each ErrorCode, all of them `Error`."""

from ._native import ErrorCode


class Error(Exception):
    """A call could not be carried out as written. The message names the offending value."""

    code: ErrorCode = ErrorCode.INTERNAL


class InvalidError(Error, ValueError):
    """An argument contradicts the contract."""

    code = ErrorCode.INVALID


class ConfigError(Error, ValueError):
    """A configuration that cannot work on this machine."""

    code = ErrorCode.CONFIG


class VersionError(Error):
    """A file or peer of a format this build does not read."""

    code = ErrorCode.VERSION


class DeniedError(Error):
    """The operating system or a credential forbids it."""

    code = ErrorCode.DENIED


class IoError(Error):
    """The operating system refused an operation."""

    code = ErrorCode.IO


class InternalError(Error):
    """An invariant inside Reprise is broken: please report it."""

    code = ErrorCode.INTERNAL
