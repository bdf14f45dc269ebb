"""Runs for Trackio (benchmarks room): a project in a local database, a run of it at a time."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fl_bench.errors import ConfigError

from ..running.executor import package_of
from .trackers import TRACKERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .trackers import Tracked

ELSEWHERE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL")
"""Variables of the environment by which Trackio sends runs to a server."""


@TRACKERS.register("trackio")
@dataclass(frozen=True)
class Trackio:
    """A project, shown by `TRACKIO_DIR=FOLDER trackio show`; a run is written when it has ended."""

    folder: str = "trackio"
    """Where its database is."""
    project: str = "fl-bench"
    """The project that runs belong to."""

    def ready(self) -> None:
        """Load Trackio; see `Tracker`.

        Raises:
            ConfigError: Trackio is not installed, writes elsewhere in this process, or would send runs to a server.
        """
        self._library()

    def start(self, run: Tracked) -> _Run:
        """Begin a run; see `Tracker`."""
        return _Run(self._library(), self.project, run)

    def _library(self) -> Any:
        """Trackio, which settles on its folder when it is imported, by the environment."""
        if sent := [name for name in ELSEWHERE if os.environ.get(name)]:
            raise ConfigError(f"{sent[0]} is set, so that Trackio would send the runs to a server; unset it")
        place = Path(self.folder).absolute()
        if "trackio" not in sys.modules:
            os.environ["TRACKIO_DIR"] = str(place)
        library = package_of("trackio", asked="the tracker trackio")
        found: Path = package_of("trackio", "trackio.utils").TRACKIO_DIR
        if found != place:
            raise ConfigError(f"Trackio writes to {found} in this process; start another to write to {place}")
        return library


@dataclass
class _Run:
    """A run of a project, kept until it has ended: Trackio ends a run where another begins."""

    library: Any
    project: str
    run: Tracked
    rounds: list[tuple[int, dict[str, float]]] = field(default_factory=list)

    def metrics(self, round: int, values: Mapping[str, float], when: float) -> None:
        self.rounds.append((round, dict(values)))

    def end(self, status: str, when: float) -> None:
        """Write the run; Trackio has no field for its status, which is one of its settings then."""
        with redirect_stdout(sys.stderr):
            run = self.library.init(
                project=self.project,
                name=self.run.name,
                group=self.run.group,
                config={**self.run.parameters, "status": status},
                embed=False,
                auto_log_cpu=False,
                auto_log_gpu=False,
            )
            for number, values in self.rounds:
                run.log(values, step=number)
            self.library.finish()  # a run that ends itself would be ended again by what comes after it
