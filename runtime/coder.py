"""What decoder and encoder share: an engine, the students loaded into it, and their life.

Knows threads and their turns, closing, pickling and forks; knows nothing of pictures. A coder is what it was made with:
pickled, it carries its arguments, and the child of a fork makes engine and students anew from them, because the threads
of an engine do not survive a fork.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from fastlic.errors import CoderClosed
from fastlic.runtime import engines
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.deadline import Deadline
from fastlic.runtime.engines import Engine, EngineInfo, forks
from fastlic.runtime.limits import Limits
from fastlic.runtime.pin import check_pin
from fastlic.runtime.student import Student
from fastlic.runtime.turns import Turns

SPARE_TURNS = 1
"""Threads that may compute besides one for each core: while one waits for Python's lock, another keeps its core."""

BundleSource = str | os.PathLike[str] | bytes | Bundle


class Coder:
    """An engine and the students loaded into it. Safe to share between threads.

    Args:
        bundle: the student to use, as a path, bytes or `Bundle`; None leaves the choice to `_student`.
        engine: "auto", an engine's name or an engine.
        device: for engines that run on a GPU: its number, or "cuda", "cuda:1"; None: the engine's own choice.
        threads: of the engine; None: one per usable core.
        limits: bounds on what a file may ask for.
        ignore_pin: use a bundle that is pinned to another engine all the same.
    """

    _engine: Engine | None
    _students: dict[bytes, Student]  # by fingerprint
    _named: Student | None

    def __init__(
        self,
        bundle: BundleSource | None = None,
        *,
        engine: str | Engine = "auto",
        device: int | str | None = None,
        threads: int | None = None,
        limits: Limits | None = None,
        ignore_pin: bool = False,
    ) -> None:
        self.limits = limits or Limits()
        source = bundle.source if isinstance(bundle, Bundle) else bundle
        self._ignore_pin = ignore_pin
        # Arguments by name; a class with more of them adds its own.
        self._made_with: dict[str, Any] = {
            "bundle": source,
            "engine": engine,
            "device": device,
            "threads": threads,
            "limits": limits,
            "ignore_pin": ignore_pin,
        }
        self._begin()
        self._engine = self._new_engine()
        if bundle is not None:
            self._named = self._load(bundle)
        _living.add(self)

    @property
    def engine_info(self) -> EngineInfo:
        """Which engine runs the graphs, its version, device and threads."""
        return self._present_engine().info()

    def close(self) -> None:
        """Release the engine's graphs and the bundles; calls in progress are waited for, later ones are refused.

        Closing twice is no error.
        """
        with self._state:
            self._closed = True
            self._state.wait_for(lambda: not self._running)
            engine, self._engine = self._engine, None
            students, self._students, self._named = list(self._students.values()), {}, None
        for student in students:
            student.close()
        if engine is not None:
            engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        if not isinstance(self._made_with["engine"], str):
            raise TypeError(
                f"this {type(self).__name__} cannot be sent to another process: it was given an engine, which stays in "
                "its own. Name the engine instead (engine='ort-cpu')."
            )
        return self._made_with

    def __setstate__(self, made_with: dict[str, Any]) -> None:
        self.__init__(**made_with)  # type: ignore[misc]

    @contextmanager
    def _in_use(self, deadline: Deadline | None = None) -> Iterator[None]:
        """Wait for a turn, and keep `close` waiting while something is decoded or encoded.

        Args:
            deadline: ends the waiting.

        Raises:
            CoderClosed: it was closed before.
            TimedOut, Cancelled: by the deadline.
        """
        with self._state:
            self._refuse_if_closed()
            self._running += 1
        try:
            with self._turns.one(deadline or Deadline()):
                yield
        finally:
            with self._state:
                self._running -= 1
                self._state.notify_all()

    def _student(self, find: Callable[[], Bundle], fingerprint: bytes | None = None) -> Student:
        """The student named at the start; else the one loaded under a fingerprint, or which `find` opens.

        Without a fingerprint the first one found is the one from then on.
        """
        if self._named is None and self._made_with["bundle"] is not None:
            self._named = self._load(self._made_with["bundle"])  # the child of a fork begins without it
        if self._named is not None:
            return self._named
        student = self._students.get(fingerprint or b"") or self._load(find())
        if fingerprint is None:
            self._named = student
        return student

    def _load(self, source: BundleSource) -> Student:
        bundle = source if isinstance(source, Bundle) else Bundle(source, self.limits)
        engine = self._present_engine()
        if not self._ignore_pin:
            check_pin(bundle.manifest, engine)
        with self._loading:
            student = self._students.get(bundle.fingerprint)
            if student is None:
                student = self._students[bundle.fingerprint] = Student(bundle, engine)
        if student.bundle is not bundle and bundle is not source:
            bundle.close()  # another thread came first
        return student

    def _begin(self) -> None:
        """The state without engine and students."""
        self._state = threading.Condition()
        self._loading = threading.Lock()
        self._turns = Turns(engines.usable_cores() + SPARE_TURNS)
        self._running = 0
        self._closed = False
        self._students, self._named = {}, None

    def _new_engine(self) -> Engine:
        engine, device, threads = (self._made_with[name] for name in ("engine", "device", "threads"))
        return engines.create(engine, threads, device) if isinstance(engine, str) else engine

    def _present_engine(self) -> Engine:
        with self._state:
            if self._engine is None:
                self._refuse_if_closed()
                self._engine = self._new_engine()
            return self._engine

    def _refuse_if_closed(self) -> None:
        if self._closed:
            name = type(self).__name__
            raise CoderClosed(f"this {name} was closed. Make a new one, or use it inside its `with` block.")

    def _forget(self) -> None:
        """Begin anew in the child of a fork: locks may be held, and the engine's threads wait, in the parent only."""
        closed = self._closed
        self._begin()
        self._closed, self._engine = closed, None


_living: weakref.WeakSet[Coder] = weakref.WeakSet()


def _forget_all() -> None:
    forks.keep()  # before the coders let go of their engines
    for coder in list(_living):
        coder._forget()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no forks
    os.register_at_fork(after_in_child=_forget_all)
