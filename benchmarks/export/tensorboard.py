"""Runs for TensorBoard (benchmarks room): an event file per run, in `<folder>/<dataset>/<run>`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..running.executor import package_of
from .trackers import ACCURACY, TRACKERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .trackers import Tracked


@TRACKERS.register("tensorboard")
@dataclass(frozen=True)
class TensorBoard:
    """Event files, shown by `tensorboard --logdir FOLDER`."""

    folder: str = "tensorboard"
    """Where event files go."""

    def ready(self) -> None:
        """Load TensorBoard and torch; see `Tracker`."""
        self._library()

    def start(self, run: Tracked) -> _Events:
        """Open the event file of a run; see `Tracker`."""
        return _Events(run, self._library().SummaryWriter(str(Path(self.folder) / run.name)))

    def _library(self) -> Any:
        package_of("tensorboard", asked="the tracker tensorboard")
        return package_of("tensorboard", "torch.utils.tensorboard", asked="the tracker tensorboard")


class _Events:
    """The event file of a run."""

    def __init__(self, run: Tracked, writer: Any) -> None:
        self._run = run
        self._writer = writer
        self._accuracy: dict[str, float] = {}

    def metrics(self, round: int, values: Mapping[str, float], when: float) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, round, walltime=when)
        self._accuracy = {f"hparam/{ACCURACY}": value for name, value in values.items() if name == ACCURACY}

    def end(self, status: str, when: float) -> None:
        """Write what was asked for beside what came of it, for the page of hyperparameters."""
        self._writer.add_hparams({**self._run.parameters, "status": status}, self._accuracy, run_name=".")
        self._writer.close()
