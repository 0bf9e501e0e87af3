"""One thread that owns the model: jobs of all visitors run in it one after the other.

`prune` hooks the model for the length of a `with` block, so two visitors must never be inside at
once. A job tells how far it is and can be stopped between any two decoder layers.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any


class Stopped(Exception):
    """Raised inside a job that somebody stopped; never an error to show."""


class Job:
    """A piece of work for the model: what it does now, and whether it should stop."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.doing = ""
        self.step = ""
        self.future: Future[Any] = Future()
        self._stop = threading.Event()

    def stop(self) -> None:
        """Ask the job to end at its next layer; one that has not begun never begins."""
        self._stop.set()

    def says(self, doing: str) -> None:
        """Tell what begins now. Raises Stopped."""
        self.check()
        self.doing, self.step = doing, ""

    def check(self) -> None:
        """Raises Stopped where `stop` was called."""
        if self._stop.is_set():
            raise Stopped

    @contextmanager
    def following(self, model: Any) -> Iterator[None]:
        """Note every decoder layer of `model` inside, and raise Stopped there."""
        from stsprune.engine.families import family_of  # torch, which the page does not wait for

        layers = family_of(model).decoder(model).layers

        def before(number: int) -> Callable[..., None]:
            def note(*_: Any) -> None:
                self.check()
                self.step = f"decoder layer {number + 1} of {len(layers)}"

            return note

        handles = [
            layer.register_forward_pre_hook(before(number)) for number, layer in enumerate(layers)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


class Worker:
    """Runs jobs in the order they came, one at a time."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="explore")
        self._numbers = itertools.count()
        self._waiting: dict[int, Job] = {}
        self._lock = threading.Lock()

    def submit(self, work: Callable[[Job], Any]) -> Job:
        """Queue `work(job)`; its result is `job.future`'s, Stopped where it was stopped."""
        with self._lock:
            job = Job(next(self._numbers))
            self._waiting[job.number] = job
        job.future = self._thread.submit(self._run, work, job)
        return job

    def ahead(self, job: Job) -> int:
        """How many jobs run before this one."""
        with self._lock:
            return sum(number < job.number for number in self._waiting)

    def _run(self, work: Callable[[Job], Any], job: Job) -> Any:
        try:
            job.check()
            return work(job)
        finally:
            with self._lock:
                del self._waiting[job.number]
