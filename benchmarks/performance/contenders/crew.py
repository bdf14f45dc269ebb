"""Worker processes that stay (benchmarks room): they hold what they work on, and tasks and answers go through pipes."""

from __future__ import annotations

import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from torch import multiprocessing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection

PATIENCE = 5.0
"""Seconds that a worker has to end by itself."""


class Crew:
    """Processes with one torch thread each; all have started when the crew is made.

    Args:
        count: number of workers.
        build: makes what a worker calls; a function or class at the top of a module.
        shared: its argument. Tensors in it that are in shared memory stay shared; whatever else is copied.
    Raises:
        RuntimeError: `build` fails in a worker; says why. The others have been stopped.
    """

    def __init__(self, count: int, build: Callable[[Any], object], shared: object) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes: list[Any] = []
        try:
            for _ in range(count):
                mine, theirs = context.Pipe()
                self._pipes.append(mine)
                process = context.Process(target=_serve, args=(theirs, build, shared), daemon=True)
                process.start()
                self._processes.append(process)
                theirs.close()
            for number in range(count):
                self._answer(number)
        except BaseException:
            self.close()
            raise

    def call(self, job: str, tasks: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Call a method of what was built once per task, dealing tasks to workers in turns.

        Args:
            job: the method's name.
            tasks: arguments of each call.
        Returns:
            What each call returned, in the order of the tasks.
        Raises:
            RuntimeError: a call failed or a worker is gone; says why. All workers have been stopped.
        """
        try:
            for number, pipe in enumerate(self._pipes):
                with suppress(OSError):  # a worker that is gone is told of below, by its exit code
                    pipe.send((job, tasks[number :: len(self._pipes)]))
            answers = [self._answer(number) for number in range(len(self._pipes))]
        except BaseException:
            self.close()
            raise
        return [answers[place % len(answers)][place // len(answers)] for place in range(len(tasks))]

    def close(self) -> None:
        """Stop the workers; those that are still busy after a few seconds are ended."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(PATIENCE)
            if process.is_alive():
                process.terminate()
                process.join()
        self._pipes, self._processes = [], []

    def _answer(self, number: int) -> list[Any]:
        try:
            answers, failure = self._pipes[number].recv()
        except (EOFError, OSError):
            self._processes[number].join(PATIENCE)
            raise RuntimeError(f"worker {number} ended (exit code {self._processes[number].exitcode})") from None
        if failure is not None:
            raise RuntimeError(f"worker {number} failed:\n{failure}")
        found: list[Any] = answers
        return found


def _serve(pipe: Connection, build: Callable[[Any], object], shared: object) -> None:
    """Work until the pipe is closed, which it also is when the process at its other end is gone."""
    import torch

    torch.set_num_threads(1)
    built: object = None

    def start() -> list[Any]:
        nonlocal built
        built = build(shared)
        return []

    def work() -> list[Any]:
        return [getattr(built, job)(*task) for task in tasks]

    with suppress(EOFError, OSError, KeyboardInterrupt):
        _report(pipe, start)
        while True:
            job, tasks = pipe.recv()
            _report(pipe, work)


def _report(pipe: Connection, work: Callable[[], list[Any]]) -> None:
    """Send what work returns, or the trace of its failure."""
    try:
        answers = work()
    except Exception:  # it goes to the process that asked, which raises it
        pipe.send((None, traceback.format_exc()))
    else:
        pipe.send((answers, None))
