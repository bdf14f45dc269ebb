"""What runs on the nodes of a Ray cluster (benchmarks room): a task without state that attends one worker process.

Ray finds the function by its name, so that every node needs fl-bench; it is given bytes and gives bytes.
"""

from __future__ import annotations

import platform
import queue
from typing import TYPE_CHECKING

from .child import Child
from .protocol import LAST, Ended, Recorded, Skipped, read_message
from .wire import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ON = b"on "
"""Begins the first line: what follows is Ray's name for the node, and the machine's. Messages begin with a brace."""

EXIT = b"exit "
"""Begins the line of a worker that has died: what follows is its exit code."""


def attend(orders: Sequence[bytes]) -> Iterator[bytes]:
    """Give orders of one cell each to one worker, one after the other.

    Args:
        orders: lines, as `Order.text` makes them; without any, this is all about whether fl-bench is there.
    Yields:
        Where this is, then what the worker says. The worker ends with the task, however the task ends.
    """
    yield ON + f"{_node()} {platform.node()}".encode()
    if not orders:
        return
    said: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    child = Child(lambda _, line: said.put(line))
    try:
        for order in orders:
            child.send(order)
            more = False
            for line in _lines(said):
                if line is None:
                    yield EXIT + str(child.exitcode).encode()
                    return
                yield line
                more, ended = _after(line)
                if ended:
                    break
            if not more:
                return
    finally:
        child.end()


def _node() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id())


def _lines(said: queue.SimpleQueue[bytes | None]) -> Iterator[bytes | None]:
    """Lines as they come; a task that is cancelled notices it between two of them."""
    while True:
        try:
            yield said.get(timeout=0.5)
        except queue.Empty:
            continue


def _after(line: bytes) -> tuple[bool, bool]:
    """Whether the worker can take another order, and whether this one has ended."""
    try:
        message = read_message(line)
    except ProtocolError:  # the driver says so
        return False, True
    return isinstance(message, Recorded | Ended | Skipped), isinstance(message, LAST)
