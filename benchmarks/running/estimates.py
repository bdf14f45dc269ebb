"""How cells would be trained and how long they take (benchmarks room), by earlier runs or the time of a step."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

from ...datasets.catalogue import dataset_info
from ...methods.registry import METHODS
from .forecast import fixed_seconds
from .nets import Nets
from .probing import Question
from .provenance import available_cores
from .schedule import likeness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ...federation.models import NetBytes
    from ...federation.settings import Execution
    from ..grid.cell import Cell
    from .forecast import Forecast
    from .schedule import RoundSeconds


class Estimates:
    """Estimates for the cells of a grid.

    Args:
        devices: the device of each job.
        execution: how runs use them.
        known: seconds per round of runs that are done.
        anew: whether steps are timed again that were timed before.
    """

    def __init__(
        self, devices: Sequence[str], execution: Execution, known: RoundSeconds, *, anew: bool = False
    ) -> None:
        self._devices = devices
        self._kind = devices[0].partition(":")[0]
        self._execution = execution
        self._known = known
        self._nets = Nets(anew=anew)

    def prepare(self, cells: Iterable[Cell]) -> None:
        """Find out at once what is asked of these cells later; see `Nets.prepare`."""
        self._nets.prepare(question for cell in cells for question in self._questions(cell))

    def weigh(self, cell: Cell) -> Callable[[str], NetBytes]:
        """What the nets of a cell weigh, by name; the shape of its data has to be known."""
        return lambda name: self._nets.bytes(_bytes(cell, name))

    def engine(self, cell: Cell) -> str:
        """How clients would be trained: by which engine, how many at a time, in how much memory."""
        facts, training = dataset_info(cell.dataset.location), cell.training
        if facts.shape is None or facts.classes is None:
            return training.engine
        stacked = [name for name in cell.models.used if self._nets.ask(_engine(cell, name, self._kind)) == "stacked"]
        looped = [name for name in cell.models.used if name not in stacked]
        jobs, threads = len(self._devices), self._execution.threads
        threads = (threads or max(1, available_cores() // jobs)) if self._kind == "cpu" else 1
        loop = "loop" if threads == 1 else f"loop, {threads} threads"
        if not stacked:
            return loop
        clients = cell.split.seen if self._execution.stack is None else min(self._execution.stack, cell.split.seen)
        need = max(self._nets.ask(_memory(cell, name)) for name in stacked)
        fit = max(1, min(clients, self._room(clients * need) // need))
        found = f"stacked, {fit} of {cell.split.seen} at once, {fit * need / 2**30:.2g} GiB"
        return f"{found}; {loop} for {', '.join(looped)}" if looped else found

    def seconds(self, cell: Cell, planned: Forecast | None) -> tuple[float | None, str]:
        """Estimated seconds of a run, and what the estimate is made from; None and nothing where there is none.

        Args:
            cell: the run.
            planned: what it would do.
        """
        alike = self._known.get(likeness(cell.as_dict()))
        if alike:
            return fmean(alike) * cell.training.rounds, f"{len(alike)} finished run{'s' if len(alike) > 1 else ''}"
        info = dataset_info(cell.dataset.location)
        if planned is None or info.shape is None or info.classes is None or self._kind != "cpu":
            return None, ""
        spent = {kind: work.passes for kind, work in planned.work.items()}
        at_server = sum(spent.values()) if METHODS[cell.method].requires.pooled_data else spent["server"]
        steps = [self._nets.step(_step(cell, name)) for name in cell.models.used]
        server = [self._nets.step(_server_step(cell))] if at_server else []
        total = (sum(spent.values()) - at_server) * fmean(seconds for seconds, _ in steps)
        total += at_server * sum(seconds for seconds, _ in server)
        total += fixed_seconds(cell.training.rounds)
        dates = sorted({date for _, date in [*steps, *server] if date})
        timed = f"a step that was timed on {dates[0]}; --estimate times it again" if dates else "a timed step"
        return total, f"step counts and {timed}"

    def _questions(self, cell: Cell) -> Iterator[Question]:
        facts = dataset_info(cell.dataset.location)
        if facts.shape is None or facts.classes is None:
            return
        for name in dict.fromkeys([*cell.models.used, cell.models.server_name]):
            yield _bytes(cell, name)
        timed = self._kind == "cpu" and not self._known.get(likeness(cell.as_dict()))
        for name in cell.models.used:
            yield _engine(cell, name, self._kind)
            if cell.training.engine != "loop":
                yield _memory(cell, name)
            if timed:
                yield _step(cell, name)
        if timed:
            yield _server_step(cell)

    def _room(self, wanted: int) -> int:
        """Bytes that training may take of what it wants; a GPU is asked, which loads torch."""
        if self._kind == "cpu":
            return wanted
        import torch

        from ...federation.memory import room

        return room(torch.device(self._devices[0]), wanted)


def _bytes(cell: Cell, name: str) -> Question:
    number = 8 if cell.training.precision == "float64" else 4
    return Question("bytes", name, *_facts(cell), width=cell.models.width, number=number)


def _engine(cell: Cell, name: str, kind: str) -> Question:
    kind = "cuda" if kind == "cuda" else "cpu"
    return Question("engine", name, *_facts(cell), engine=cell.training.engine, kind=kind, members=_members(cell))


def _memory(cell: Cell, name: str) -> Question:
    training = cell.training
    slots = 2 if training.optimizer == "adam" else int(training.momentum > 0)
    return Question("memory", name, *_facts(cell), batch=training.batch_size, slots=slots, dtype=training.dtype_name)


def _step(cell: Cell, name: str) -> Question:
    training = cell.training
    return Question(
        "step", name, *_facts(cell), batch=training.batch_size, engine=training.engine, members=_members(cell)
    )


def _server_step(cell: Cell) -> Question:
    return Question("step", cell.models.server_name, *_facts(cell), batch=cell.training.batch_size, engine="loop")


def _members(cell: Cell) -> int:
    """Clients of an architecture."""
    return max(1, cell.split.seen // len(cell.models.used))


def _facts(cell: Cell) -> tuple[tuple[int, ...], int, int | None]:
    """Shape, classes and vocabulary of a cell's data, which are known."""
    info = dataset_info(cell.dataset.location)
    assert info.shape is not None
    assert info.classes is not None
    return info.shape, info.classes, info.vocabulary
