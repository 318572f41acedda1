# SPDX-License-Identifier: Apache-2.0
"""lamina.Model: a model under a memory budget.

Every call of the library for a model runs on one thread of its own, so handles need no lock, the interpreter is free for others,
and Ctrl-C reaches the caller while a sweep runs; what was going on then ends after its sweep.
"""
from __future__ import annotations

import os
import queue
import re
import secrets
import threading
import weakref
from typing import Any, Callable, Dict, List, Optional, Sequence, Union

from . import _abi, hub
from ._engine import FLUSH_ID, Callbacks, Engine, Sampling, plan_of, reason, split
from ._library import library
from ._worker import Future, Worker
from .errors import NotFoundError, StoppedError, UsageError
from .records import Answer, Info, Part, Plan, Progress, Stats
from .tokenizer import Tokenizer

Prompt = Union[str, Sequence[int], Sequence[Dict[str, Any]]]
_UNITS = {"": 1, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}
_NO_CAP = 2**64 - 1


def parse_size(size: Union[None, int, str]) -> int:
    """Bytes of "4GiB", "512M", "20GB" or a number; None: 0, which leaves the choice to the library; "none": no cap."""
    if size is None:
        return 0
    if isinstance(size, int):
        if not 0 < size <= _NO_CAP:
            raise UsageError(f"memory={size}: a positive number of bytes is expected")
        return size
    if size.strip().lower() == "none":
        return _NO_CAP
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([KMGTP]?)(I?)B?\s*", size.upper())
    if not found or not float(found.group(1)):
        raise UsageError(f'memory="{size}" is no size: one like 4GiB, 512M or 20GB is expected')
    decimal = found.group(2) and not found.group(3) and size.strip().upper().endswith("B")
    power = _UNITS[found.group(2)] if found.group(2) else 0
    return int(float(found.group(1)) * (1000 if decimal else 1024) ** power)


class Stream:
    """The text of an answer as it comes: an iterator of pieces. ``answer`` is there when it has ended. Closing it, leaving the loop
    and dropping it, or an exception like Ctrl-C while a piece is awaited stops the model after its sweep; one that is stopped
    before its first token has no ``answer``."""

    _END = object()

    def __init__(self, start: Callable[["Stream"], "Future[Answer]"]) -> None:
        self.answer: Optional[Answer] = None
        self._pieces: "queue.SimpleQueue[Any]" = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._future: Optional["Future[Answer]"] = start(self)
        pieces = self._pieces
        self._future.add_done_callback(lambda _f: pieces.put(Stream._END))

    def __iter__(self) -> "Stream":
        return self

    def __next__(self) -> str:
        if self._future is None:
            raise StopIteration
        try:
            piece = self._pieces.get()
        except BaseException:  # of a signal
            self._stopped.set()
            raise
        if piece is not Stream._END:
            return piece
        future, self._future = self._future, None
        self.answer = future.result()
        raise StopIteration

    def close(self) -> None:
        """Stops the answer; returns when the model is free again."""
        self._stopped.set()
        try:
            for _ in self:
                pass
        except StoppedError:  # as asked for
            pass

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *unused: Any) -> None:
        self.close()

    def __del__(self) -> None:
        stopped = getattr(self, "_stopped", None)
        if stopped is not None:
            stopped.set()


def _close(engine_box: List[Any], worker: Worker, callbacks: Callbacks) -> None:
    """Frees a model; also when nobody did before it was forgotten, or before the interpreter ends."""
    def free() -> None:
        while engine_box:
            engine_box.pop().close()

    callbacks.closed = True
    # The last to forget a model may be its own thread, at the end of a stream: it does not wait for itself.
    worker.end(free)


class Model:
    """A language model whose layers stream from disk under a memory budget.

    model       a store, a checkpoint directory, a GGUF file, or ORG/NAME[@REVISION] of the hub. A checkpoint is split on first use.
    memory      hard cap on the memory of this process, "4GiB" or bytes: Python and its packages included. None: 60 % of what is
                available now. "none": no cap.
    context     most positions of a sequence. None: as many as calls need, by opening the model again when that grows.
    sequences   most sequences of one sweep. None: grows with batches, up to 64.
    codec       how weights lie in the store: "planes" (packed without loss), "raw", or lossy "q8", "q4", "q2.00" to "q8.00". None: an
                exact store, "planes" when one has to be made. For checkpoints; a store has its codec.
    home        where stores are kept (LAMINA_HOME).
    progress    called with a Progress while a store is made or a prompt computed; true stops.
    log         called with level (0 warning, 1 note, 2 debug) and text; None: the logger "lamina".
    token       for gated models of the hub (HF_TOKEN).

    Calls from several threads take turns. Callbacks come on the model's own thread and must not call the model. A model is closed
    by close(), at the end of a with block, or when it is forgotten. It does not survive os.fork().
    """

    def __init__(self, model: Union[str, os.PathLike], memory: Union[None, int, str] = None, context: Optional[int] = None,
                 codec: Optional[str] = None, *, sequences: Optional[int] = None, threads: int = 0, prompt_rows: int = 0,
                 home: Union[None, str, os.PathLike] = None, kv: str = "f16", io: str = "auto", isa: Optional[str] = None,
                 read_ahead: bool = True, pin: bool = True, chat_template: Optional[str] = None,
                 progress: Optional[Callable[[Progress], Any]] = None, log: Optional[Callable[[int, str], Any]] = None,
                 token: Optional[str] = None) -> None:
        options = _options(memory, threads, prompt_rows, home, kv, io, isa, read_ahead, pin, chat_template)
        for name, value in (("context", context), ("sequences", sequences)):
            if value is not None and not 0 < value < 2**31:
                raise UsageError(f"{name}={value}: a positive number is expected")
        library()  # before anything is fetched
        self._callbacks = Callbacks(progress, log)
        self._worker = Worker()
        self._box: List[Engine] = []
        self._tokenizer: Optional[Tokenizer] = None
        self._chat_template = chat_template
        self._finalizer = weakref.finalize(self, _close, self._box, self._worker, self._callbacks)
        try:
            path = hub.resolve(model, token, home)
            self._run(self._open, path, options, context, sequences, codec)
        except BaseException:
            self._finalizer()
            raise

    def _open(self, path: str, options: Dict[str, Any], context: Optional[int], sequences: Optional[int],
              codec: Optional[str]) -> None:
        store = path
        if codec is not None and not _is_store(path):
            store = split(path, codec, options.get("home"), self._callbacks)
        self._box.append(Engine(store, options, self._callbacks, context, sequences))
        self.info = self._engine.info()
        if codec is not None and store == path and self.info.codec != codec:
            raise UsageError(f"{path} is a store in codec {self.info.codec}, not {codec}: leave codec out, or give the checkpoint")

    #: What the model is, and where its store lies.
    info: Info

    # ---- its thread ----

    @property
    def _engine(self) -> Engine:
        if not self._box:
            raise UsageError("this model is closed")
        return self._box[0]

    def _submit(self, stopped: threading.Event, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Has `function` called on the model's thread; `stopped` ends it."""
        callbacks = self._callbacks

        def work() -> Any:
            callbacks.job = stopped
            if callbacks.stop:
                raise StoppedError("stopped before it began")
            return function(*arguments)

        if self._worker.is_here():
            raise UsageError("a callback of a model must not call the model: it is at work")
        future = self._worker.submit(work)
        if future is None:
            raise UsageError("this model is closed")
        return future

    def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Calls `function` on the model's thread. Whoever is interrupted while waiting has the work stopped."""
        stopped = threading.Event()
        try:
            return self._submit(stopped, function, *arguments).result()
        except BaseException:
            stopped.set()
            raise

    def close(self) -> None:
        """Frees the memory; what is going on ends after its sweep. The model cannot be used afterwards."""
        if self._worker.is_here():
            raise UsageError("a callback of a model must not close the model")
        self._finalizer()

    def __enter__(self) -> "Model":
        return self

    def __exit__(self, *unused: Any) -> None:
        self.close()

    # ---- what it is ----

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer and chat template. It may be used while the model computes, and after it was closed."""
        if self._tokenizer is None:
            self._tokenizer = Tokenizer(self.info.store_path, self._chat_template)
        return self._tokenizer

    @property
    def plan(self) -> Plan:
        """What the memory is used for, and the forecast."""
        return self._run(lambda: self._engine.plan())

    @property
    def stats(self) -> Stats:
        """Totals since the model was opened (or opened again, when calls outgrew it)."""
        return self._run(lambda: self._engine.stats())

    def profile(self) -> List[Part]:
        """The time of all passes part by part: the embedding, each layer, the head."""
        return self._run(lambda: self._engine.parts())

    # ---- text ----

    def prompt_ids(self, prompt: Prompt, raw: bool = False) -> List[int]:
        """Token ids of a prompt. Ids stay as they are. A text is one turn of the user in the chat template, as with `lamina run`;
        plain with ``raw``, or when the model has no template. A list of messages goes through the template."""
        if isinstance(prompt, str):
            if raw or not self.tokenizer.has_chat_template:
                return self.tokenizer.encode(prompt)
            prompt = [{"role": "user", "content": prompt}]
        values: List[Any] = list(prompt)
        if values and isinstance(values[0], dict):
            return self.tokenizer.encode_chat(values)
        return [int(v) for v in values]

    def generate(self, prompt: Prompt, max_tokens: int = 512, *, stop: Sequence[str] = (), raw: bool = False,
                 ignore_eos: bool = False, seed: Optional[int] = None, on_text: Optional[Callable[[str], Any]] = None,
                 **sampling: Any) -> Answer:
        """One answer. ``sampling``: temperature, top_k, top_p, min_p, repetition_penalty; what is not given is the model's
        generation_config.json, without one greedy. ``on_text`` gets pieces of text as they become certain; true stops.
        The end token counts in ``new_tokens`` and is not among the ``ids``."""
        return self._run(*self._generating(prompt, max_tokens, stop, raw, ignore_eos, seed, on_text, sampling))

    def stream(self, prompt: Prompt, max_tokens: int = 512, *, stop: Sequence[str] = (), raw: bool = False,
               ignore_eos: bool = False, seed: Optional[int] = None, **sampling: Any) -> Stream:
        """The same as an iterator of pieces of text. The model goes on while a piece is looked at."""
        def start(stream: Stream) -> "Future[Answer]":
            pieces, stopped = stream._pieces, stream._stopped  # and not the stream, which may be forgotten

            def hand_out(piece: str) -> bool:
                if piece:
                    pieces.put(piece)
                return stopped.is_set()

            return self._submit(stopped, *self._generating(prompt, max_tokens, stop, raw, ignore_eos, seed, hand_out, sampling))

        return Stream(start)

    def _generating(self, prompt: Prompt, most: int, stop: Sequence[str], raw: bool, ignore_eos: bool, seed: Optional[int],
                    on_text: Optional[Callable[[str], Any]], sampling: Dict[str, Any]) -> List[Any]:
        ids = self.prompt_ids(prompt, raw)
        _check_request([ids], most)
        return [self._generate, ids, most, _sampling(seed, sampling), _stops(stop), ignore_eos, on_text]

    def _generate(self, ids: List[int], most: int, sampling: Sampling, stops: List[bytes], ignore_eos: bool,
                  on_text: Optional[Callable[[str], Any]]) -> Answer:
        text, made = [], []

        def take(piece: bytes, token: int) -> bool:
            words = piece.decode("utf-8", "replace")
            text.append(words)
            if token != FLUSH_ID:
                made.append(token)
            return bool(on_text(words)) if on_text is not None else False

        done = self._engine.generate(ids, most, sampling, stops, ignore_eos, take)
        return Answer("".join(text), made, reason(done.reason), len(ids), done.new_tokens, done.ttft_s, done.wall_s)

    def batch(self, prompts: Sequence[Prompt], max_tokens: int = 512, *, stop: Sequence[str] = (), raw: bool = False,
              ignore_eos: bool = False, seed: Optional[int] = None, on_token: Optional[Callable[[int, int], Any]] = None,
              **sampling: Any) -> List[Answer]:
        """Answers to many prompts: each sweep over the weights carries one token of every sequence, so many cost hardly more than
        one. Greedy answers are the same as one at a time. ``on_token`` gets the index of a prompt and an id; true ends that one."""
        ids = [self.prompt_ids(prompt, raw) for prompt in prompts]
        _check_request(ids, max_tokens)
        return self._run(self._batch, ids, max_tokens, _sampling(seed, sampling), _stops(stop), ignore_eos, on_token)

    def _batch(self, prompts: List[List[int]], most: int, sampling: Sampling, stops: List[bytes], ignore_eos: bool,
               on_token: Optional[Callable[[int, int], Any]]) -> List[Answer]:
        engine = self._engine
        engine.need(1)  # open, also when an earlier request has left it closed
        words = stops if ignore_eos else [*stops, *engine.stop_strings()]
        if words and not engine.has_text():
            raise NotFoundError("stop strings need a tokenizer, and this model came without one")
        made: List[List[int]] = [[] for _ in prompts]
        counts, reasons = [0] * len(prompts), ["length"] * len(prompts)
        texts: List[Optional[bytes]] = [None] * len(prompts)

        def take(index: int, token: int) -> bool:
            counts[index] += 1
            if not ignore_eos and engine.ends(token):
                reasons[index] = "eos"
                return True
            made[index].append(token)
            if words:
                text = self.tokenizer.decode_bytes(made[index], True)
                at = min((text.find(w) for w in words if w and w in text), default=-1)
                if at >= 0:
                    texts[index], reasons[index] = text[:at], "stop"
                    return True
            if on_token is not None and on_token(index, token):
                reasons[index] = "interrupted"
                return True
            return False

        engine.batch(prompts, [most] * len(prompts), sampling, take)
        answers = []
        for i, ids in enumerate(prompts):
            cut = texts[i]
            text = cut if cut is not None else self.tokenizer.decode_bytes(made[i], True) if engine.has_text() else b""
            answers.append(Answer(text.decode("utf-8", "replace"), made[i], reasons[i], len(ids), counts[i]))
        return answers

    # ---- numbers ----

    def logits(self, prompt: Prompt, rows: str = "last", raw: bool = False) -> memoryview:
        """Logits after the last token of a prompt, or with rows="all" after each: a memoryview of floats, [rows, vocab], which
        numpy.asarray and torch.frombuffer take without copying."""
        if rows not in ("last", "all"):
            raise UsageError(f'rows="{rows}": "last" or "all" is expected')
        ids = self.prompt_ids(prompt, raw)
        out: bytearray = self._run(lambda: self._engine.logits(ids, rows == "all"))
        count = len(ids) if rows == "all" else 1
        view: Any = memoryview(out)
        return view.cast("B").cast("f", (count, len(out) // 4 // count))

    @staticmethod
    def forecast(model: Union[str, os.PathLike], memory: Union[None, int, str] = None, context: int = 512, *, sequences: int = 1,
                 home: Union[None, str, os.PathLike] = None, token: Optional[str] = None) -> Plan:
        """The plan of a model without loading it: whether it fits, the smallest budget, seconds per token."""
        options = _options(memory, 0, 0, home, "f16", "auto", None, True, True, None)
        return plan_of(hub.resolve(model, token, home), options, Callbacks(None, None), context, sequences)


def make_store(model: Union[str, os.PathLike], codec: Optional[str] = None, home: Union[None, str, os.PathLike] = None,
               token: Optional[str] = None) -> str:
    """The store of a checkpoint, made when it is not there; a store is its own. Nothing is loaded."""
    path = hub.resolve(model, token, home)
    if _is_store(path):
        if codec is not None:
            raise UsageError(f"{path} is a store: codec={codec} is for checkpoints")
        return path
    callbacks, worker = Callbacks(None, None), Worker()  # so that Ctrl-C comes through
    future = worker.submit(split, path, codec, _home(home), callbacks)
    assert future is not None
    try:
        return future.result()
    finally:
        callbacks.closed = True
        worker.end(lambda: None)


def _is_store(path: str) -> bool:
    return os.path.isfile(os.path.join(path, "lamina.json"))


def _home(home: Union[None, str, os.PathLike]) -> Optional[bytes]:
    home = home if home is not None else os.environ.get("LAMINA_HOME")
    return os.fsencode(home) if home else None


def _options(memory: Union[None, int, str], threads: int, prompt_rows: int, home: Union[None, str, os.PathLike], kv: str, io: str,
             isa: Optional[str], read_ahead: bool, pin: bool, chat_template: Optional[str]) -> Dict[str, Any]:
    engines = {"auto": _abi.LAMINA_IO_AUTO, "uring": _abi.LAMINA_IO_URING, "threads": _abi.LAMINA_IO_THREADS}
    kinds = {"f16": _abi.LAMINA_KV_F16, "f32": _abi.LAMINA_KV_F32}
    if io not in engines or kv not in kinds:
        raise UsageError(f'io="{io}", kv="{kv}": io is one of {", ".join(engines)}, kv of {", ".join(kinds)}')
    if not 0 <= threads < 2**16 or not 0 <= prompt_rows < 2**31:
        raise UsageError(f"threads={threads}, prompt_rows={prompt_rows}: numbers from 0 are expected")
    return {"memory_bytes": parse_size(memory), "threads": threads, "prompt_rows": prompt_rows,
            "home": _home(home), "io": engines[io], "kv": kinds[kv],
            "isa": isa.encode() if isa else None, "read_ahead": read_ahead, "pin": pin,
            "chat_template": os.fsencode(chat_template) if chat_template else None}


def _sampling(seed: Optional[int], values: Dict[str, Any]) -> Sampling:
    return Sampling(seed=secrets.randbits(64) if seed is None else seed, **values)


def _stops(stop: Sequence[str]) -> List[bytes]:
    return [s.encode("utf-8") for s in ([stop] if isinstance(stop, str) else stop)]


def _check_request(prompts: Sequence[Sequence[int]], most: int) -> None:
    if most < 1:
        raise UsageError(f"max_tokens={most}: at least one is expected")
    for i, ids in enumerate(prompts):
        if not ids:
            raise UsageError("the prompt is empty: there is nothing to continue" if len(prompts) == 1 else f"prompt {i} is empty")


__all__ = ["Model", "Prompt", "Stream", "parse_size"]
