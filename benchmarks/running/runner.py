"""One cell, from its data to its record (benchmarks room); worker processes and tests call it."""

from __future__ import annotations

import signal
import time
import traceback
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fl_bench.errors import Diverged, StorageError, Unsupported, one_line

from ...datasets.catalogue import load_dataset
from ...datasets.doses import dosed
from ...datasets.split import split
from ...federation.settings import Execution
from ...methods.registry import METHODS
from ..grid.grid import why_unsupported
from ..records.continuing import inherit
from ..records.record import AlreadyRecorded, Outcome, RecordError
from ..records.rows import seconds_of
from .isolation import isolated
from .provenance import provenance
from .warming import warm_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ...datasets.dataset import Dataset
    from ...datasets.split import Split
    from ...federation.kept import Kept
    from ...federation.rows import RoundRow
    from ...federation.run import Run
    from ..grid.cell import Cell
    from ..records.checks import Status
    from ..records.store import Store

TRACEBACK = 20_000
"""Characters of a traceback that a record keeps, its last ones."""


@dataclass(frozen=True)
class Options:
    """How cells are run on this machine; no number depends on it, and no key."""

    device: str = "cpu"
    """A torch device."""
    data_dir: str | None = None
    """First folder to look for data in."""
    plugins: tuple[str, ...] = ()
    """Plugin files."""
    retry: bool = False
    """Whether records that are not `done` are replaced."""
    keep_models: bool = False
    """Whether runs that end as `done` keep the models that clients deploy."""
    execution: Execution = field(default_factory=Execution)
    """How runs use the device."""


@dataclass(frozen=True)
class Ending:
    """How a cell ended."""

    status: Status
    reason: str | None
    folder: Path
    changed: tuple[str, ...] = field(default=(), compare=False)
    """What it left of its process otherwise than it was; see `isolation`."""
    elsewhere: bool = field(default=False, compare=False)
    """Whether another process ran it, so that there was nothing to do here."""


def finished(cell: Cell, store: Store, *, retry: bool) -> Ending | None:
    """How a cell ended; None while it has to run: it has no record, or one not `done` that `retry` asks to replace.

    What a process that was killed after writing the record left of the checkpoint goes away here.

    Raises:
        DataError: the record cannot be read.
    """
    record = store.find(cell)
    if record is None or (retry and record.status != "done"):
        return None
    if record.status == "done":
        store.drop_checkpoint(cell)
    return Ending(record.status, record.reason, record.folder)


def run_cell(
    cell: Cell,
    store: Store,
    options: Options,
    progress: Callable[[RoundRow, Mapping[str, Any]], None] = lambda *_: None,
    started: Callable[[], None] = lambda: None,
) -> Ending:
    """Run a cell, or continue it from its checkpoint, and write its record whatever happens.

    Args:
        cell: what to run; its plugins must be loaded.
        store: where records go.
        options: how to run it.
        progress: called after each round, those of a restored checkpoint first, with what the record would say of the
            run beside its rounds if it ended there.
        started: called once, when what cells of a process share is loaded (libraries and data) and the cell's own work
            begins; never for a cell that does not get there.
    Raises:
        Held: another process is running the cell; `Lost` where this one did, and was away for longer than its lease.
        RecordError: the disk does not take checkpoint or record; what was there is left as it was.
    """
    from ...federation.checkpoint import take_over  # only processes that train come here

    with store.claim(cell) as claim:
        earlier = finished(cell, store, retry=options.retry)
        if earlier is not None:  # another process finished it meanwhile
            return replace(earlier, elsewhere=True)
        attempt = _Attempt(cell, options, claim.checkpoint)
        try:
            with isolated(cell.seed) as isolation:

                def loaded() -> None:
                    isolation.begin()
                    inherit(claim, take_over)
                    started()

                for row in attempt.rounds(loaded):
                    claim.check()
                    progress(row, attempt.facts)
                outcome = attempt.outcome()
            if isolation.changed:
                outcome = replace(outcome, provenance={**outcome.provenance, "changed": list(isolation.changed)})
            folder = store.write(cell, outcome, models=attempt.models, replace=options.retry, claim=claim)
        except RecordError as error:
            claim.check()  # who has lost the cell is told so, whatever came of it
            earlier = finished(cell, store, retry=False) if isinstance(error, AlreadyRecorded) else None
            if earlier is None:
                raise
            return replace(earlier, elsewhere=True)
        claim.clear()
        return Ending(outcome.status, outcome.reason, folder, isolation.changed)


class _Attempt:
    """One attempt at a cell: its rounds, and how it ended, whatever the code of its method does."""

    def __init__(self, cell: Cell, options: Options, checkpoint: Path) -> None:
        self.facts: dict[str, Any] = {}
        """What the record would say beside its rounds if the attempt ended now."""
        self.models: Kept | None = None
        """What clients deploy after the last round, where it is to be kept."""
        self._cell = cell
        self._options = options
        self._checkpoint = checkpoint
        self._began = datetime.now(UTC)
        self._run: Run | None = None
        self._rows: list[RoundRow] = []
        self._seconds = {"seconds_loading": 0.0, "seconds_setup": 0.0}
        self._status: Status = "done"
        self._reason: str | None = None
        self._trace: str | None = None
        self._stoppable = signal.getsignal(signal.SIGINT) is not signal.SIG_IGN

    def rounds(self, loaded: Callable[[], None]) -> Iterator[RoundRow]:
        """The rounds, those of a checkpoint first; `loaded` is called when what cells share is there.

        Raises:
            RecordError: the disk does not take the checkpoint.
            KeyboardInterrupt: Ctrl-C, unless it is ignored as in workers: there only the method itself can raise it.
        """
        steps = self._steps()
        while True:
            try:
                row = next(steps)
                self.facts = self._facts()
            except StopIteration:
                return
            except BaseException as error:  # methods may raise anything, and it costs their own cell
                self._end(error)
                return
            if row is None:
                loaded()
            else:
                yield row

    def outcome(self) -> Outcome:
        """How it ended, and what it has to tell."""
        spent = sum(seconds_of(row.values) for row in self._rows)
        return Outcome(
            status=self._status,
            reason=self._reason,
            facts=self.facts,
            provenance=provenance(self._options.device),
            clocks={
                "started": self._began.isoformat(timespec="seconds"),
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                # A run that was stopped and continued counts all of its rounds. Loading is no part of it: what a
                # process loads serves all of its cells, and the first would pay for them.
                "seconds_total": self._seconds["seconds_setup"] + spent,
                **self._seconds,
            },
            rounds=[row.values for row in self._rows],
            clients=[client for row in self._rows for client in row.clients],
            traceback=self._trace,
        )

    def _steps(self) -> Iterator[RoundRow | None]:
        """None when libraries and data are loaded, then a row per round."""
        from ...federation.run import Run  # only processes that train come here

        cell, options = self._cell, self._options
        impossible = why_unsupported(cell)
        if impossible:
            raise Unsupported(impossible)
        with self._measured("seconds_loading"):
            dataset, dealt = _dealt(cell, options.data_dir)
            warm_up(METHODS[cell.method], dataset.about, cell.models, cell.training, options.device, options.execution)
        yield None
        with self._measured("seconds_setup"):
            self._run = Run(
                cell.build_method(),
                dataset,
                dealt,
                cell.models,
                cell.training,
                seed=cell.repetition.seeds,
                device=options.device,
                codec=cell.codec,
                checkpoint=self._checkpoint,
                execution=options.execution,
                faults=cell.faults,
                keep_models=options.keep_models,
            )
        for row in self._run.rounds():
            self._rows.append(row)
            yield row
        self.models = self._run.kept

    def _end(self, error: BaseException) -> None:
        """Take down what an error means for the cell; those that are no business of the method go on."""
        if isinstance(error, StorageError) and self._run is not None and self._run.saving:
            raise RecordError(str(error)) from error
        if isinstance(error, KeyboardInterrupt) and self._stoppable:
            raise error
        if isinstance(error, Diverged):
            self._status, self._reason = "diverged", f"round {len(self._rows)}: {one_line(error)}"
        elif isinstance(error, Unsupported):
            self._status, self._reason = "unsupported", one_line(error)
        else:
            self._status, self._reason = "failed", f"{type(error).__name__}: {one_line(error)}"
            self._trace = "".join(traceback.format_exception(error))[-TRACEBACK:]
        with suppress(Exception):  # what the run says of itself after an error is welcome, and no second error
            self.facts = self._facts()

    def _facts(self) -> dict[str, Any]:
        method = METHODS[self._cell.method]
        about = {} if self._run is None else self._run.facts()
        return {"category": method.category, "summary": method.summary(), **about}

    @contextmanager
    def _measured(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self._seconds[name] = time.perf_counter() - began


def _dealt(cell: Cell, data_dir: str | None) -> tuple[Dataset, Split]:
    """The data set dealt to clients, with its public pool."""
    seed = cell.repetition.seeds.partition
    dataset = _dataset(cell.dataset.location, data_dir)
    foreign = None if cell.foreign is None else _dataset(cell.foreign.location, data_dir)
    return dosed(dataset, split(dataset, cell.scheme, cell.split, seed), cell.split, seed, foreign)


@lru_cache(maxsize=2)
def _dataset(location: str, data_dir: str | None) -> Dataset:
    """The data set, or the one that public samples come from; the cells of a worker mostly share them."""
    return load_dataset(location, data_dir=None if data_dir is None else Path(data_dir))
