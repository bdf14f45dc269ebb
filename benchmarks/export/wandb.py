"""Runs for Weights & Biases (benchmarks room): kept offline; `wandb sync` sends them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..running.executor import package_of
from .trackers import TRACKERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .trackers import Tracked


@TRACKERS.register("wandb")
@dataclass(frozen=True)
class WandB:
    """A folder per run, sent by `wandb sync FOLDER/wandb/offline-run-*`; nothing else is sent."""

    folder: str = "wandb"
    """Where runs are kept."""
    project: str = "fl-bench"
    """The project that they belong to."""

    def ready(self) -> None:
        """Load wandb; see `Tracker`."""
        self._library()

    def start(self, run: Tracked) -> _Run:
        """Begin an offline run; see `Tracker`."""
        library = self._library()
        Path(self.folder).mkdir(parents=True, exist_ok=True)
        settings = library.Settings(silent=True, x_disable_stats=True, console="off")
        return _Run(
            library.init(
                dir=self.folder,
                project=self.project,
                name=run.name,
                group=run.group,
                config=dict(run.parameters),
                mode="offline",
                reinit="create_new",
                settings=settings,
            )
        )

    def _library(self) -> Any:
        return package_of("wandb", asked="the tracker wandb")


class _Run:
    """A run of a project."""

    def __init__(self, run: Any) -> None:
        self._run = run

    def metrics(self, round: int, values: Mapping[str, float], when: float) -> None:
        self._run.log({**values, "_timestamp": when}, step=round)

    def end(self, status: str, when: float) -> None:
        self._run.summary["status"] = status
        self._run.finish(exit_code=0 if status == "done" else 1)
