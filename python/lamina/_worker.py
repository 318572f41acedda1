# SPDX-License-Identifier: Apache-2.0
"""The one thread that a model's calls of the library come from.

A daemon: the interpreter waits for other threads before its exit handlers run, and one of those is what stops a model. Jobs run in
the order in which they came; each has a flag of its own, by which whoever waits for it stops it and nothing else.
"""
from __future__ import annotations

import concurrent.futures
import queue
import threading
from typing import Any, Callable, Optional, Tuple

Future = concurrent.futures.Future
_Job = Tuple["Future[Any]", Callable[..., Any], Tuple[Any, ...]]


def _work(jobs: "queue.SimpleQueue[Optional[_Job]]") -> None:
    while True:
        job = jobs.get()
        if job is None:
            return
        future, function, arguments = job
        try:
            future.set_result(function(*arguments))
        except BaseException as error:  # it is the waiting thread's
            future.set_exception(error)
        del job, future, function, arguments  # while nothing is to do, nothing is held


class Worker:
    def __init__(self) -> None:
        self._jobs: "queue.SimpleQueue[Optional[_Job]]" = queue.SimpleQueue()
        self._lock = threading.Lock()  # nothing comes behind the last job
        self._ended = False
        self._thread = threading.Thread(target=_work, args=(self._jobs,), name="lamina", daemon=True)
        self._thread.start()

    def is_here(self) -> bool:
        """Whether the caller is the thread itself."""
        return threading.current_thread() is self._thread

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "Optional[Future[Any]]":
        """None: the worker has ended."""
        future: "Future[Any]" = Future()
        with self._lock:
            if self._ended:
                return None
            self._jobs.put((future, function, arguments))
        return future

    def end(self, last: Callable[[], Any]) -> None:
        """Runs what waits and then `last`; returns when that is done, to the thread itself at once."""
        with self._lock:
            if not self._ended:
                self._ended = True
                self._jobs.put((Future(), last, ()))
                self._jobs.put(None)
        if not self.is_here():
            self._thread.join()


__all__ = ["Future", "Worker"]
