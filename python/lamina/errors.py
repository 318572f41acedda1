# SPDX-License-Identifier: Apache-2.0
"""What the library refuses, as exceptions: one class per status, all of them LaminaError with the library's own sentence."""
from __future__ import annotations

from . import _abi


class LaminaError(Exception):
    """A call of the library failed. ``status`` is the name of its status ("NOT_FOUND"), ``code`` the exit code that the
    programs give for it, ``message`` one sentence: what happened, where, and what to try."""

    status = "UNEXPECTED"
    code = 1

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class UnexpectedError(LaminaError):
    """Something that should not happen."""


class UsageError(LaminaError, ValueError):
    """An argument makes no sense, or does not suit this model."""


class NotFoundError(LaminaError, FileNotFoundError):
    """No such model, revision or file."""

    def __str__(self) -> str:  # FileNotFoundError would have a number and a name
        return self.message


class AuthError(LaminaError):
    """The hub wants a token, or the repository is gated."""


class NetworkError(LaminaError, ConnectionError):
    """The network failed after retries."""

    def __str__(self) -> str:
        return self.message


class NoSpaceError(LaminaError, OSError):
    """No disk space."""

    def __str__(self) -> str:
        return self.message


class NoFitError(LaminaError, MemoryError):
    """The request does not fit the memory budget; the message names the smallest that does."""


class DamagedError(LaminaError):
    """A checksum or a format is damaged."""


class UnsupportedError(LaminaError, NotImplementedError):
    """An architecture, data type, codec or file format that lamina does not read."""


class PartialError(LaminaError):
    """Finished, but some requests failed."""


class StorageError(LaminaError, OSError):
    """Input or output failed after retries."""

    def __str__(self) -> str:
        return self.message


class DeviceError(LaminaError):
    """A device failed or was lost."""


class BusyError(LaminaError):
    """Another process holds a lock: try again later."""


class StoppedError(LaminaError):
    """Somebody asked to stop, through a callback."""


_CLASSES = {"UNEXPECTED": UnexpectedError, "USAGE": UsageError, "NOT_FOUND": NotFoundError, "AUTH": AuthError,
            "NETWORK": NetworkError, "NO_SPACE": NoSpaceError, "NO_FIT": NoFitError, "DAMAGED": DamagedError,
            "UNSUPPORTED": UnsupportedError, "PARTIAL": PartialError, "IO": StorageError, "DEVICE": DeviceError,
            "BUSY": BusyError, "INTERRUPTED": StoppedError}
_BY_CODE = {}
for _name, _code, _text in _abi.STATUSES:
    if _code != 0:
        _class = _CLASSES.get(_name, UnexpectedError)
        if _class is not UnexpectedError or _name == "UNEXPECTED":
            _class.status, _class.code = _name, _code
        _BY_CODE[_code] = (_class, _text)


def error_of(code: int, message: str) -> LaminaError:
    """The exception for a status of the library, given as it returns it (negative) or as an exit code."""
    known, text = _BY_CODE.get(abs(code), (UnexpectedError, f"unknown status {code}"))
    return known(message or text)
