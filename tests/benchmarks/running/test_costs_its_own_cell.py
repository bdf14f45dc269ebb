"""Whatever a method raises or starts costs its own cell: no other, and not the grid."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from fl_bench.benchmarks.grid.grid import Grid, Overrides
from fl_bench.benchmarks.grid.plugins import load_plugins
from fl_bench.benchmarks.records.reading import read_record
from fl_bench.benchmarks.running.local import run_cells
from fl_bench.benchmarks.running.runner import Options, run_cell
from fl_bench.errors import StorageError, one_line
from fl_bench.methods.local import Local

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.records.store import Store


class Evil(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text either")


ERRORS = [
    (StorageError("my disk"), "StorageError: my disk"),
    (SystemExit(3), "SystemExit: 3"),
    (KeyboardInterrupt(), "KeyboardInterrupt: "),
    (GeneratorExit(), "GeneratorExit: "),
    (asyncio.CancelledError(), "CancelledError: "),
    (StopIteration(), "RuntimeError: generator raised StopIteration"),
    (ValueError("two\nlines \x1b[31mred\x1b[0m\0"), "ValueError: two lines [31mred [0m"),
    (ValueError("x" * 10**6), f"ValueError: {'x' * 397}..."),
    (Evil(), "Evil: Evil without a text"),
]


@pytest.mark.parametrize(("error", "reason"), ERRORS, ids=[type(error).__name__ for error, _ in ERRORS])
def test_what_a_method_raises_is_its_own_failure(
    store: Store, cell_of: Callable[..., Cell], monkeypatch: pytest.MonkeyPatch, error: BaseException, reason: str
) -> None:
    def client_update(*_: Any) -> None:
        raise error

    monkeypatch.setattr(Local, "client_update", client_update)
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in workers, where no Ctrl-C arrives
    try:
        ending = run_cell(cell_of(), store, Options())
    finally:
        signal.signal(signal.SIGINT, heard)
    assert (ending.status, ending.reason) == ("failed", reason)
    assert len(read_record(ending.folder).run["traceback"]) <= 20_000


def test_ctrl_c_in_a_cell_is_no_failure_of_its_method(
    store: Store, cell_of: Callable[..., Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    def client_update(*_: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Local, "client_update", client_update)
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_cell(cell_of(), store, Options())
    finally:
        signal.signal(signal.SIGINT, heard)
    assert store.find(cell_of()) is None


def test_a_line_is_a_line() -> None:
    assert one_line("a\r\n\tb\u2028c\ud800") == "a b c"
    assert one_line("") == ""
    assert len(one_line("x" * 1000, 50)) == 50


PLUGIN = """\
import os, sys, time
from dataclasses import dataclass
from fl_bench.methods.base import Method
from fl_bench.methods.losses import cross_entropy
from fl_bench.methods.registry import method

@dataclass(frozen=True)
class Config:
    pass

@method("leaves-a-daemon")
class LeavesADaemon(Method[Config]):
    def client_update(self, clients, received, rnd):
        clients.fit(cross_entropy)
        daemon = os.fork()
        if daemon == 0:  # a copy that holds all that the worker holds, for a while
            time.sleep(600)
            os._exit(0)
        with open(os.environ["DAEMON"], "w") as file:
            file.write(str(daemon))
        os._exit(7)
"""


@pytest.mark.slow
def test_a_death_is_noticed_while_a_daemon_holds_the_pipe(
    tmp_path: Path, store: Store, small_grid: Callable[..., Grid], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attack: the grid waited for ever for a worker that was gone. A time limit would end it with `timeout`."""
    plugin = tmp_path / "daemon.py"
    plugin.write_text(PLUGIN)
    monkeypatch.setenv("DAEMON", str(tmp_path / "pid"))
    load_plugins([str(plugin)])
    cells = small_grid(Overrides(methods="leaves-a-daemon")).cells[:1]
    options = Options(plugins=(str(plugin),))
    # Neither limit keeps anybody from waiting: one is without end, and one is more than a system call takes.
    (ended,) = [e for e in run_cells(cells, store, options, devices=["cpu"], timeout=float("inf")) if e.ending]
    assert ended.ending is not None
    assert (ended.ending.status, ended.ending.reason) == ("failed", "the worker process ended with exit code 7")
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)  # it lives, and nobody has waited for it
