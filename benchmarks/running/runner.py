"""One cell, from its data to its record (benchmarks room); worker processes and tests call it."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fl_bench.errors import Diverged, StorageError, Unsupported

from ...datasets.catalogue import load_dataset
from ...datasets.doses import dosed
from ...datasets.split import split
from ...federation.settings import Execution
from ...methods.registry import METHODS
from ..grid.grid import why_unsupported
from ..records.lease import Lost
from ..records.record import AlreadyRecorded, Outcome, RecordError
from ..records.rows import seconds_of
from .provenance import provenance

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ...datasets.dataset import Dataset
    from ...datasets.split import Split
    from ...federation.rows import RoundRow
    from ..grid.cell import Cell
    from ..records.checks import Status
    from ..records.lease import Claim
    from ..records.store import Store


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
    execution: Execution = field(default_factory=Execution)
    """How runs use the device."""


@dataclass(frozen=True)
class Ending:
    """How a cell ended."""

    status: Status
    reason: str | None
    folder: Path


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
    with store.claim(cell) as claim:
        earlier = finished(cell, store, retry=options.retry)
        if earlier is not None:  # another process finished it meanwhile
            return earlier
        outcome = _run(cell, claim, options, progress, started)
        try:
            folder = store.write(cell, outcome, replace=options.retry, claim=claim)
        except RecordError as error:
            claim.check()  # who has lost the cell is told so, whatever came of it
            earlier = finished(cell, store, retry=False) if isinstance(error, AlreadyRecorded) else None
            if earlier is None:
                raise
            return earlier
        claim.clear()
        return Ending(outcome.status, outcome.reason, folder)


def _run(
    cell: Cell,
    claim: Claim,
    options: Options,
    progress: Callable[[RoundRow, Mapping[str, Any]], None],
    started: Callable[[], None],
) -> Outcome:
    import torch  # a second or two; only processes that train come here

    from ...federation.checkpoint import is_whole
    from ...federation.run import Run

    torch.set_num_threads(1)  # clients and cells share the cores, not the kernels of one step
    began, start = datetime.now(UTC), time.perf_counter()
    setup = 0.0
    run: Run | None = None
    rows: list[RoundRow] = []
    status: Status = "done"
    reason = trace = None
    try:
        impossible = why_unsupported(cell)
        if impossible:
            raise Unsupported(impossible)
        dataset, dealt = _dealt(cell, options.data_dir)
        # The first optimizer of a process imports torch's compiler, the first tensor on a GPU its libraries: seconds.
        torch.optim.SGD([torch.zeros(1, device=options.device)], lr=1.0)
        started()
        claim.inherit(is_whole)
        run = Run(
            cell.build_method(),
            dataset,
            dealt,
            cell.models,
            cell.training,
            seed=cell.repetition.seeds,
            device=options.device,
            codec=cell.codec,
            checkpoint=claim.checkpoint,
            execution=options.execution,
            faults=cell.faults,
        )
        setup = time.perf_counter() - start
        for row in run.rounds():
            claim.check()
            rows.append(row)
            progress(row, _facts(cell, run))
    except Diverged as error:
        status, reason = "diverged", f"round {len(rows)}: {error}"
    except Unsupported as error:
        status, reason = "unsupported", str(error)
    except Lost:
        raise
    except StorageError as error:  # no fault of the method, whose own system errors come below
        claim.check()  # who comes next removes what a claim that is over has begun to write
        raise RecordError(str(error)) from error
    except Exception as error:
        status, reason, trace = "failed", f"{type(error).__name__}: {error}", traceback.format_exc()
    spent = sum(seconds_of(row.values) for row in rows)
    return Outcome(
        status=status,
        reason=reason,
        facts=_facts(cell, run),
        provenance=provenance(options.device),
        clocks={
            "started": began.isoformat(timespec="seconds"),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            # A run that was stopped and continued counts all of its rounds.
            "seconds_total": setup + spent,
            "seconds_setup": setup,
        },
        rounds=[row.values for row in rows],
        clients=[client for row in rows for client in row.clients],
        traceback=trace,
    )


def _facts(cell: Cell, run: Any) -> dict[str, Any]:
    method = METHODS[cell.method]
    return {"category": method.category, "summary": method.summary(), **({} if run is None else run.facts())}


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
