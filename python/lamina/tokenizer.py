# SPDX-License-Identifier: Apache-2.0
"""The tokenizer and chat template of a model: usable without its weights."""
from __future__ import annotations

import ctypes
import json
import os
import threading
from typing import Any, Dict, List, Optional, Sequence, Union

from . import _abi
from ._library import Error, check, library, take_text
from .errors import UsageError

_MOST_IDS = 64  # that a tokenizer may put in front of a text


class Tokenizer:
    """Text to ids and back, as the checkpoint's own tokenizer has them.

    ``path``: a store, a checkpoint directory, a GGUF file, or a directory that holds tokenizer files only. ``chat_template``: in
    place of the model's, the name of a built-in chat format or a file with a Jinja template. Calls from several threads take turns.
    """

    def __init__(self, path: Union[str, os.PathLike], chat_template: Optional[str] = None) -> None:
        lib = library()
        self._handle = ctypes.c_void_p()
        self.path = os.fspath(path)
        self._lock = threading.Lock()
        options = _abi.lamina_text_options()
        lib.lamina_text_defaults(ctypes.byref(options))
        options.chat_template = os.fsencode(chat_template) if chat_template is not None else None
        error = Error()
        check(lib.lamina_text_open_with(ctypes.byref(self._handle), os.fsencode(path), ctypes.byref(options), ctypes.byref(error)),
              error)

    def close(self) -> None:
        """Frees the tokenizer. It cannot be used afterwards."""
        with self._lock:
            library().lamina_text_close(ctypes.byref(self._handle))

    def __enter__(self) -> "Tokenizer":
        return self

    def __exit__(self, *unused: Any) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self.close()

    def _open(self) -> ctypes.c_void_p:
        if not self._handle:
            raise UsageError("this tokenizer has been closed")
        return self._handle

    def encode(self, text: str, special: bool = True, parse_special: bool = True) -> List[int]:
        """Ids of a text. ``special``: the tokens that the model wants around a text (BOS...) are added. ``parse_special``: special
        tokens written in the text are taken for what they say; with ``special`` they always are."""
        data = text.encode("utf-8", "surrogatepass")
        lib = library()
        ids, count, error = ctypes.POINTER(ctypes.c_uint32)(), ctypes.c_size_t(), Error()
        with self._lock:
            handle = self._open()
            if special or not parse_special:
                status = lib.lamina_tokenize(handle, data, len(data), special, ctypes.byref(ids), ctypes.byref(count),
                                             ctypes.byref(error))
            else:
                status = lib.lamina_tokenize_prompt(handle, data, len(data), ctypes.byref(ids), ctypes.byref(count),
                                                    ctypes.byref(error))
        return self._take(status, ids, count, error)

    def encode_prompt(self, prompt: str) -> List[int]:
        """Ids of a prompt that apply_chat_template has written."""
        return self.encode(prompt, special=False)

    @staticmethod
    def _take(status: int, ids: Any, count: Any, error: Any) -> List[int]:
        check(status, error)
        try:
            return ids[: count.value]
        finally:
            library().lamina_free(ids)

    def decode_bytes(self, ids: Sequence[int], skip_special: bool = False) -> bytes:
        """The bytes of ids; a character may be cut at either end."""
        values = _id_array(ids)
        out, length, error = ctypes.c_void_p(), ctypes.c_size_t(), Error()
        with self._lock:
            check(library().lamina_detokenize(self._open(), values, len(ids), skip_special, ctypes.byref(out), ctypes.byref(length),
                                              ctypes.byref(error)), error)
        return take_text(out, length.value)

    def decode(self, ids: Sequence[int], skip_special: bool = False) -> str:
        """The text of ids; bytes that are no UTF-8 become U+FFFD."""
        return self.decode_bytes(ids, skip_special).decode("utf-8", "replace")

    def front(self) -> List[int]:
        """What is put in front of every text (BOS, mostly)."""
        ids, count, error = (ctypes.c_uint32 * _MOST_IDS)(), ctypes.c_uint32(), Error()
        with self._lock:
            check(library().lamina_text_front(self._open(), ids, _MOST_IDS, ctypes.byref(count), ctypes.byref(error)), error)
        return list(ids[: count.value])

    @property
    def vocab(self) -> int:
        """Ids are below this."""
        with self._lock:
            return library().lamina_text_vocab(self._open())

    @property
    def has_chat_template(self) -> bool:
        with self._lock:
            return library().lamina_text_has_template(self._open())

    def apply_chat_template(self, messages: Sequence[Dict[str, Any]], tools: Optional[Sequence[Any]] = None,
                            add_generation_prompt: bool = True, **variables: Any) -> str:
        """The prompt of a conversation: a list of {"role": ..., "content": ...}. ``variables`` go to the template."""
        out, length, error = ctypes.c_void_p(), ctypes.c_size_t(), Error()
        with self._lock:
            check(library().lamina_template(self._open(), _json(list(messages)), _json(list(tools)) if tools else None,
                                            _json(variables) if variables else None, add_generation_prompt, ctypes.byref(out),
                                            ctypes.byref(length), ctypes.byref(error)), error)
        return take_text(out, length.value).decode("utf-8", "replace")

    def encode_chat(self, messages: Sequence[Dict[str, Any]], **more: Any) -> List[int]:
        """apply_chat_template and encode_prompt in one."""
        return self.encode_prompt(self.apply_chat_template(messages, **more))


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _id_array(ids: Sequence[int]) -> Any:
    """Ids for the library; a number that is none is refused here, since C would cut it."""
    for value in ids:
        if not 0 <= value < 2**32:
            raise UsageError(f"{value} is no token id")
    return (ctypes.c_uint32 * max(1, len(ids)))(*ids)
