# SPDX-License-Identifier: Apache-2.0
"""Finds and loads the shared library and the program `lamina`, and gives the library's functions their types.

The library is, in this order: LAMINA_LIBRARY, the one of the wheel, the one of a build next to the sources, the system's. A
function that returns a status goes through check(), which turns it into an exception.
"""
from __future__ import annotations

import ctypes
import os
import pathlib
import shutil
import sysconfig
import threading
from typing import Any, Iterator, List, Optional

from . import _abi
from .errors import NotFoundError, UnsupportedError, error_of

_HERE = pathlib.Path(__file__).resolve().parent
_lock = threading.Lock()
_library: Optional[Any] = None

Error = _abi.lamina_error


def _candidates() -> Iterator[str]:
    named = os.environ.get("LAMINA_LIBRARY")
    if named:
        yield named  # and nothing else: who names one wants that one
        return
    for folder in (_HERE.parent / ".lamina.mesonpy.libs", _HERE, _HERE.parent.parent / "build"):
        for name in ("liblamina.so", "liblamina.so.0"):
            if (folder / name).is_file():
                yield str(folder / name)
    yield "liblamina.so.0"  # of the system, where the loader looks


def _load() -> Any:
    tried: List[str] = []
    for path in _candidates():
        try:
            library = ctypes.CDLL(path)
        except OSError as error:
            tried.append(str(error))
            continue
        return _typed(library, path)
    raise NotFoundError(f"the library of lamina cannot be loaded: {'; '.join(tried)}; install the wheel (pip install .), or let "
                        "LAMINA_LIBRARY name the file")


def _typed(library: Any, path: str) -> Any:
    for name, (result, arguments) in _abi.FUNCTIONS.items():
        function = getattr(library, name, None)
        if function is None:
            raise UnsupportedError(f"{path} has no function {name}: it belongs to another version of lamina than this package")
        function.restype, function.argtypes = result, arguments
    version = library.lamina_version().decode()
    settings = _abi.lamina_settings()
    library.lamina_settings_defaults(ctypes.byref(settings))
    if version != _abi.VERSION or settings.size != ctypes.sizeof(settings):
        raise UnsupportedError(f"{path} is lamina {version}, this package was made for {_abi.VERSION}: install both from one tree")
    return library


def library() -> Any:
    """The loaded library; loads it on first use."""
    global _library
    with _lock:
        if _library is None:
            _library = _load()
        return _library


def check(status: int, error: Any) -> None:
    """Raises what a function with a status reported."""
    if status < 0:
        raise error_of(status, error.message.decode("utf-8", "replace"))


def take_text(address: Any, length: int) -> bytes:
    """Bytes that the library allocated for its caller; frees them."""
    try:
        return ctypes.string_at(address, length)
    finally:
        library().lamina_free(address)


def program() -> str:
    """The program `lamina`: LAMINA_PROGRAM, that of the wheel, that of a build next to the sources, or one on the PATH."""
    named = os.environ.get("LAMINA_PROGRAM")
    if named:
        return named
    places = [sysconfig.get_path("scripts"), str(_HERE.parent.parent / "build")]
    for place in places:
        if place and os.access(os.path.join(place, "lamina"), os.X_OK):
            return os.path.join(place, "lamina")
    found = shutil.which("lamina")
    if found:
        return found
    raise NotFoundError("the program lamina is not here: it comes with the wheel; let LAMINA_PROGRAM name it")
