"""Writing beside the work that follows (federation room): one thing at a time, in a thread of its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from types import TracebackType
    from typing import Self


class Aside:
    """Does one task at a time while its caller goes on; a context, at whose end nothing is left to be done.

    An error of a task is raised where it is waited for: at the next task, or by `wait`. A context that ends by another
    error keeps that one.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="aside")
        self._pending: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True)

    def begin(self, task: Callable[[], None]) -> None:
        """Begin a task; the one before must have been waited for."""
        assert self._pending is None
        self._pending = self._pool.submit(task)

    def wait(self) -> None:
        """Wait for the task that was begun, if any.

        Raises:
            Exception: what the task raised.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()
