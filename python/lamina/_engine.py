# SPDX-License-Identifier: Apache-2.0
"""An open model and its sequences, as close to the C interface as Python gets.

Knows nothing of hubs, text files and other libraries. All calls come from one thread (model.py sees to that). An engine opens its
model again when a request needs a longer context, more sequences or more rows of logits than it was opened for, unless the caller
has fixed them: the budget is split anew then. What callbacks raise is kept and raised when the library has come back.
"""
from __future__ import annotations

import ctypes
import logging
import threading
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from . import _abi
from ._library import Error, check, library
from .errors import LaminaError, NoFitError, StoppedError, UsageError
from .records import Info, Part, Plan, Progress, Stats
from .tokenizer import _id_array

LOG = logging.getLogger("lamina")
_LEVELS = {0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG}
_KINDS = {_abi.LAMINA_PROGRESS_SPLIT: "split", _abi.LAMINA_PROGRESS_VERIFY: "verify", _abi.LAMINA_PROGRESS_PROMPT: "prompt",
          _abi.LAMINA_PROGRESS_PROMPTS: "prompts"}
_REASONS = {_abi.LAMINA_STOP_NONE: "none", _abi.LAMINA_STOP_EOS: "eos", _abi.LAMINA_STOP_STRING: "stop",
            _abi.LAMINA_STOP_LENGTH: "length", _abi.LAMINA_STOP_CALLER: "interrupted"}
_FIRST_CONTEXT = 512
_CONTEXT_STEP = 256
_MOST_SEQUENCES = 64  # that a batch makes room for by itself
_LOGIT_ROWS = 64  # that a pass keeps when those of many positions are wanted
FLUSH_ID = 2**32 - 1  # comes with the last text of an answer, when no token belongs to it

OnText = Callable[[bytes, int], bool]
OnToken = Callable[[int, int], bool]
OnRow = Callable[[int, int, Any], Any]


def _type_of(struct: Any, field: str) -> Any:
    """The callback type of a field."""
    return next(f[1] for f in struct._fields_ if f[0] == field)


class Callbacks:
    """The C callbacks of a model, which live as long as it does. ``closed``, and the flag of the job, may be set by any thread."""

    def __init__(self, progress: Optional[Callable[[Progress], Any]], log: Optional[Callable[[int, str], Any]]) -> None:
        self.raised: Optional[BaseException] = None
        self.closed = False
        self.job: Optional[threading.Event] = None  # of what runs now: set when that is to stop
        self._progress, self._log = progress, log
        self._kept = (_type_of(_abi.lamina_callbacks, "log")(self._on_log),
                      _type_of(_abi.lamina_callbacks, "progress")(self._on_progress))

    @property
    def stop(self) -> bool:
        """Whether what runs now is to end after its sweep."""
        return self.closed or (self.job is not None and self.job.is_set())

    def struct(self) -> Any:
        callbacks = _abi.lamina_callbacks()
        callbacks.log, callbacks.progress = self._kept
        return callbacks

    def guard(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Calls a function of the user's; true (stop) when it raises, which finish() passes on."""
        try:
            return function(*arguments)
        except BaseException as error:  # also KeyboardInterrupt: C would lose it
            self.raised = self.raised or error
            return True

    def begin(self) -> None:
        self.raised = None

    def finish(self, status: int, error: Any) -> None:
        """After a call of the library: what a callback raised, else what the library says."""
        raised, self.raised = self.raised, None
        if raised is not None:
            raise raised
        check(status, error)

    def _on_log(self, _user: Any, level: int, text: Optional[bytes]) -> None:
        words = (text or b"").decode("utf-8", "replace")
        if self._log is not None:
            self.guard(self._log, level, words)
        else:
            LOG.log(_LEVELS.get(level, logging.DEBUG), "%s", words)

    def _on_progress(self, _user: Any, pointer: Any) -> bool:
        if self._progress is None or self.stop:
            return self.stop
        what = pointer.contents
        record = Progress.of(what, kind=_KINDS.get(what.kind, "other"))
        return bool(self.guard(self._progress, record)) or self.stop


class Sampling:
    """What the caller said about sampling; None: what the model's generation_config.json says."""

    NAMES = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")

    def __init__(self, seed: int = 0, neutral: bool = False, **values: Any) -> None:
        unknown = set(values) - set(self.NAMES)
        if unknown:
            raise UsageError(f"unknown sampling option {', '.join(sorted(unknown))}; there are {', '.join(self.NAMES)}, seed")
        self.values = {name: value for name, value in values.items() if value is not None}
        self.seed, self.neutral = seed, neutral
        if not 0 <= self.values.get("top_k", 0) < 2**32 or not 0 <= seed < 2**64:
            raise UsageError("top_k and seed are numbers from 0")

    def struct(self, model: Any, sequence: int) -> Any:
        sampling = _abi.lamina_sampling()
        if self.neutral:
            library().lamina_sampling_defaults(ctypes.byref(sampling))
        else:
            library().lamina_sampling_of_model(model, ctypes.byref(sampling))
        for name, value in self.values.items():
            setattr(sampling, name, value)
        sampling.seed, sampling.sequence = self.seed, sequence
        return sampling


class Session:
    """One sequence of tokens. ``tokens`` are those computed."""

    def __init__(self, engine: "Engine") -> None:
        self.engine = engine
        self.handle = ctypes.c_void_p()
        self.tokens: List[int] = []
        error = Error()
        check(library().lamina_session_open(ctypes.byref(self.handle), engine.model(), ctypes.byref(error)), error)

    def close(self) -> None:
        library().lamina_session_close(ctypes.byref(self.handle))

    def sampling(self, sampling: Sampling, sequence: int = 0) -> None:
        struct, error = sampling.struct(self.engine.model(), sequence), Error()
        check(library().lamina_session_sampling(self.handle, ctypes.byref(struct), ctypes.byref(error)), error)

    def sample(self) -> int:
        chosen, error = ctypes.c_uint32(), Error()
        check(library().lamina_session_sample(self.handle, ctypes.byref(chosen), ctypes.byref(error)), error)
        return chosen.value

    def truncate(self, length: int) -> None:
        error = Error()
        check(library().lamina_session_truncate(self.handle, length, ctypes.byref(error)), error)
        del self.tokens[length:]

    def logits(self) -> Any:
        """The library's own row of logits, valid until the next pass; None: there are none."""
        pointer = library().lamina_session_logits(self.handle)
        return pointer if pointer else None


class Engine:
    def __init__(self, path: str, options: Dict[str, Any], callbacks: Callbacks, context: Optional[int],
                 sequences: Optional[int]) -> None:
        self.path, self.options, self.callbacks = path, options, callbacks
        self.fixed_context, self.fixed_sequences = context, sequences
        self._handle = ctypes.c_void_p()
        self._lost = ""  # why there is no handle
        self.context = self.sequences = self.logit_rows = 0
        self.sessions: List[Session] = []
        self._kept: Tuple[Any, ...] = ()
        self._open(context or _FIRST_CONTEXT, sequences or 1, sequences or 1)

    # ---- opening ----

    def settings(self, context: int, sequences: int, logit_rows: int) -> Any:
        struct = _abi.lamina_settings()
        library().lamina_settings_defaults(ctypes.byref(struct))
        for name, value in self.options.items():
            setattr(struct, name, value)
        struct.context_tokens, struct.sequences, struct.logit_rows = context, sequences, logit_rows
        struct.callbacks = self.callbacks.struct()
        return struct

    def _open(self, context: int, sequences: int, logit_rows: int) -> None:
        struct, error = self.settings(context, sequences, logit_rows), Error()
        self.callbacks.begin()
        status = library().lamina_model_open(ctypes.byref(self._handle), self.path.encode("utf-8", "surrogateescape"),
                                             ctypes.byref(struct), ctypes.byref(error))
        try:
            self.callbacks.finish(status, error)
        except BaseException:
            library().lamina_model_close(ctypes.byref(self._handle))  # open, where it was a callback that raised
            raise
        self.context, self.sequences, self.logit_rows, self._lost = context, sequences, logit_rows, ""

    def model(self) -> ctypes.c_void_p:
        """The library's handle, for every call of it: the library takes no NULL."""
        if not self._handle:
            raise UsageError(self._lost or "this model is closed")
        return self._handle

    def close(self) -> None:
        self.close_sessions()
        library().lamina_model_close(ctypes.byref(self._handle))

    def need(self, context: int, sequences: int = 1, logit_rows: int = 1) -> None:
        """Opens the model again when it was opened for less than this and the caller has not fixed it. What does not fit any more
        leaves the model as it was; fewer sequences than asked for are no error, since batches go in groups then."""
        before = (self.context, self.sequences, self.logit_rows)
        if self.fixed_context is None and context > self.context:
            context = -(-context // _CONTEXT_STEP) * _CONTEXT_STEP
        else:
            context = self.context
        if self.fixed_sequences is not None:
            sequences = self.sequences
        sequences = max(min(sequences, _MOST_SEQUENCES), self.sequences)
        logit_rows = max(logit_rows, self.logit_rows)
        if self._handle and (context, sequences, logit_rows) == before:
            return
        self.close()
        try:
            self._open_most(context, sequences, logit_rows)
        except BaseException:
            self._open_as_before(before)
            raise

    def _open_most(self, context: int, sequences: int, logit_rows: int) -> None:
        """With as many sequences as there is room for, not fewer than before."""
        fewest = self.sequences
        while True:
            try:
                return self._open(context, sequences, max(logit_rows, sequences))
            except NoFitError:
                if sequences <= fewest:
                    raise
                sequences = max(fewest, sequences // 2)

    def _open_as_before(self, before: Tuple[int, int, int]) -> None:
        """After a request that the model could not be opened for. Where this fails too the model stays closed, and the next request
        tries again."""
        try:
            self._open(*before)
        except LaminaError as error:
            self._lost = ("the model is closed: a request needed it opened anew, and then it could not be opened as it was either: "
                          f"{error.message}; the next request tries again")
            raise type(error)(self._lost) from error
        except BaseException as error:
            self._lost = f"the model is closed: a callback raised {error!r} while it was opened anew; the next request tries again"
            raise

    def session(self) -> Session:
        opened = Session(self)
        self.sessions.append(opened)
        return opened

    def close_sessions(self) -> None:
        while self.sessions:
            self.sessions.pop().close()

    # ---- what is there ----

    def info(self) -> Info:
        struct = _abi.lamina_info()
        library().lamina_model_info(self.model(), ctypes.byref(struct))
        return Info.of(struct)

    def plan(self) -> Plan:
        return Plan.read(library().lamina_model_plan(self.model()).contents)

    def stats(self) -> Stats:
        struct = _abi.lamina_stats()
        library().lamina_model_stats(self.model(), ctypes.byref(struct))
        return Stats.of(struct)

    def parts(self) -> List[Part]:
        parts: List[Part] = []
        struct = _abi.lamina_part()
        while library().lamina_model_part(self.model(), len(parts), ctypes.byref(struct)):
            parts.append(Part.of(struct))
        return parts

    def ends(self, token: int) -> bool:
        return library().lamina_model_ends(self.model(), token)

    def stop_strings(self) -> List[bytes]:
        """Those of the chat format; none without a tokenizer."""
        found: List[bytes] = []
        words = library().lamina_model_text(self.model())
        while words:
            text = library().lamina_text_stop(words, len(found))
            if text is None:
                break
            found.append(text)
        return found

    def has_text(self) -> bool:
        """Whether the model came with a tokenizer."""
        return bool(library().lamina_model_text(self.model()))

    # ---- one sequence, the loop in C ----

    def generate(self, ids: Sequence[int], most: int, sampling: Sampling, stops: Sequence[bytes], ignore_end: bool,
                 on_text: OnText) -> Any:
        """Returns the filled lamina_generate. on_text gets bytes and an id; true stops."""
        self.need(len(ids) + most)
        session = self.session()
        struct, error = _abi.lamina_generate(), Error()
        library().lamina_generate_defaults(ctypes.byref(struct))

        def hand_out(_user: Any, text: Any, length: int, token: int) -> bool:
            if self.callbacks.stop:
                return True
            return bool(self.callbacks.guard(on_text, ctypes.string_at(text, length) if length else b"", token))

        kept = _type_of(_abi.lamina_generate, "on_text")(hand_out)
        words = (ctypes.c_char_p * max(1, len(stops)))(*stops)
        struct.max_tokens, struct.ignore_eos, struct.on_text = most, ignore_end, kept
        struct.stop, struct.stop_count = words, len(stops)
        self.callbacks.begin()
        try:
            session.sampling(sampling)
            status = library().lamina_session_generate(session.handle, _id_array(ids), len(ids), ctypes.byref(struct),
                                                       ctypes.byref(error))
            self.callbacks.finish(status, error)
        finally:
            self.close_sessions()
        return struct

    # ---- many sequences ----

    def feed_prompts(self, work: Sequence[Tuple[Session, Sequence[int], int, int]], on_row: OnRow) -> None:
        """Appends ids to sessions, all in as few sweeps as the plan allows: (session, ids, first row, rows wanted)."""
        prompts = (_abi.lamina_prompt * len(work))()
        arrays = [_id_array(ids) for _, ids, _, _ in work]
        for prompt, array, (session, ids, first, rows) in zip(prompts, arrays, work):
            prompt.session, prompt.count, prompt.first_row, prompt.row_count = session.handle, len(ids), first, rows
            prompt.ids = ctypes.cast(array, ctypes.POINTER(ctypes.c_uint32))

        def hand_out(_user: Any, index: int, row: int, logits: Any) -> bool:
            return self.callbacks.stop or bool(self.callbacks.guard(on_row, index, row, logits))

        struct, error = _abi.lamina_prompts(prompt=prompts, count=len(work)), Error()
        struct.on_row = kept = _type_of(_abi.lamina_prompts, "on_row")(hand_out)
        self.callbacks.begin()
        self.callbacks.finish(library().lamina_prompts_feed(ctypes.byref(struct), ctypes.byref(error)), error)
        del kept
        for session, ids, _, _ in work:
            session.tokens.extend(ids)

    def feed_batch(self, sessions: Sequence[Session], ids: Sequence[int]) -> None:
        """One token for each session, in one sweep."""
        handles = (ctypes.c_void_p * len(sessions))(*[s.handle for s in sessions])
        error = Error()
        self.callbacks.begin()
        self.callbacks.finish(library().lamina_batch_feed(handles, _id_array(ids), len(ids), ctypes.byref(error)), error)
        for session, token in zip(sessions, ids):
            session.tokens.append(token)

    def batch(self, prompts: Sequence[Sequence[int]], most: Sequence[int], sampling: Sampling, on_token: OnToken,
              on_logits: Optional[OnRow] = None) -> None:
        """Continues all prompts. on_token(prompt, id) is true when that one has ended; on_logits(prompt, step, row) sees the row
        that the id is chosen from. A sweep carries one token of each; waiting prompts come in when half of the room is free."""
        if not prompts:
            return
        self.need(max(len(p) + m for p, m in zip(prompts, most)), len(prompts))
        room_tokens = min(self.context, self.plan().most_positions)
        most = [max(1, min(m, room_tokens - len(p) + 1)) for p, m in zip(prompts, most)]
        waiting = list(range(len(prompts)))
        going: Dict[int, Session] = {}
        chosen: Dict[int, int] = {}
        made = [0] * len(prompts)

        def take(index: int, session: Session, row: Any) -> None:
            if on_logits is not None:
                on_logits(index, made[index], row)
            chosen[index] = session.sample()
            made[index] += 1
            if on_token(index, chosen[index]) or made[index] >= most[index]:
                del chosen[index]

        try:
            while waiting or going:
                if self.callbacks.stop:
                    raise StoppedError("stopped between two tokens of a batch")
                room = self.sequences - len(going)
                if waiting and room >= min(len(waiting), (self.sequences + 1) // 2):
                    work, new = [], waiting[:room]
                    del waiting[:room]
                    for index in new:
                        going[index] = self.session()
                        going[index].sampling(sampling, index)
                        work.append((going[index], prompts[index], len(prompts[index]) - 1, 1))
                    self.feed_prompts(work, lambda i, _row, logits: take(new[i], going[new[i]], logits))
                else:
                    active = list(going)
                    self.feed_batch([going[i] for i in active], [chosen[i] for i in active])
                    for index in active:
                        take(index, going[index], going[index].logits() if on_logits is not None else None)
                for index in [i for i in going if i not in chosen]:  # ended
                    session = going.pop(index)
                    self.sessions.remove(session)
                    session.close()
        finally:
            self.close_sessions()

    # ---- numbers ----

    def logits(self, ids: Sequence[int], all_rows: bool) -> bytearray:
        """Logits after the last, or after each position: fp32, row by row."""
        if not ids:
            raise UsageError("there is no token to compute")
        self.need(len(ids), 1, min(len(ids), _LOGIT_ROWS) if all_rows else 1)
        size = 4 * self.plan().vocab
        out = bytearray(size * (len(ids) if all_rows else 1))
        first = 0 if all_rows else len(ids) - 1

        def copy(_index: int, row: int, logits: Any) -> bool:
            at = (row - first) * size
            out[at : at + size] = ctypes.string_at(logits, size)
            return False

        try:
            self.feed_prompts([(self.session(), ids, first, len(ids) - first)], copy)
        finally:
            self.close_sessions()
        return out


def plan_of(path: str, options: Dict[str, Any], callbacks: Callbacks, context: int, sequences: int) -> Plan:
    """Plans without loading."""
    struct, plan, error = _abi.lamina_settings(), _abi.lamina_plan(), Error()
    library().lamina_settings_defaults(ctypes.byref(struct))
    for name, value in options.items():
        setattr(struct, name, value)
    struct.context_tokens, struct.sequences, struct.logit_rows = context, sequences, sequences
    struct.callbacks = callbacks.struct()
    callbacks.begin()
    status = library().lamina_plan_make(path.encode("utf-8", "surrogateescape"), ctypes.byref(struct), ctypes.byref(plan),
                                        ctypes.byref(error))
    callbacks.finish(status, error)
    return Plan.read(plan)


def split(path: str, codec: Optional[str], home: Optional[bytes], callbacks: Callbacks) -> str:
    """The store of a checkpoint in a codec (None: the exact one), in its place in the home; makes it when it is not there."""
    options, store, error = _abi.lamina_split_options(), ctypes.c_void_p(), Error()
    library().lamina_split_defaults(ctypes.byref(options))
    options.checkpoint, options.home = path.encode("utf-8", "surrogateescape"), home
    if codec is not None:
        options.codec = codec.encode()
    options.callbacks = callbacks.struct()
    callbacks.begin()
    callbacks.finish(library().lamina_split(ctypes.byref(options), ctypes.byref(store), ctypes.byref(error)), error)
    try:
        return (ctypes.cast(store, ctypes.c_char_p).value or b"").decode("utf-8", "surrogateescape")
    finally:
        library().lamina_free(store)


def reason(number: int) -> str:
    return _REASONS.get(number, "none")


__all__ = ["Callbacks", "Engine", "LaminaError", "Sampling", "Session", "plan_of", "reason", "split"]
