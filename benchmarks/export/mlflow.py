"""Runs for MLflow (benchmarks room): one SQLite file, an experiment per data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..running.executor import package_of
from .trackers import TRACKERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .trackers import Tracked

PARAMETERS = 100
"""Parameters that MLflow takes at a time."""

ENDINGS = {"done": "FINISHED", "timeout": "KILLED"}
"""What MLflow calls the end of a run; all others are FAILED."""


@TRACKERS.register("mlflow")
@dataclass(frozen=True)
class MLflow:
    """A database, shown by `mlflow ui --backend-store-uri sqlite:///FOLDER/mlflow.db`."""

    folder: str = "mlflow"
    """Where `mlflow.db` is."""

    def ready(self) -> None:
        """Load MLflow and make the database, which takes seconds; see `Tracker`."""
        self._client().search_experiments(max_results=1)

    def start(self, run: Tracked) -> _Run:
        """Begin a run in the experiment of its data set; see `Tracker`."""
        library, client = self._library(), self._client()
        known = client.get_experiment_by_name(run.group)
        artifacts = (Path(self.folder).absolute() / "artifacts").as_uri()
        experiment = client.create_experiment(run.group, artifacts) if known is None else known.experiment_id
        made = client.create_run(experiment, start_time=_milliseconds(run.began), run_name=run.name)
        own = [library.entities.Param(name, str(value)) for name, value in run.parameters.items()]
        for first in range(0, len(own), PARAMETERS):
            client.log_batch(made.info.run_id, params=own[first : first + PARAMETERS])
        return _Run(library, client, made.info.run_id)

    def _library(self) -> Any:
        return package_of("mlflow", asked="the tracker mlflow")

    def _client(self) -> Any:
        place = Path(self.folder).absolute()
        library = self._library()
        place.mkdir(parents=True, exist_ok=True)
        return library.MlflowClient(f"sqlite:///{(place / 'mlflow.db').as_posix()}")


class _Run:
    """A run of an experiment."""

    def __init__(self, library: Any, client: Any, run: str) -> None:
        self._library = library
        self._client = client
        self._run = run

    def metrics(self, round: int, values: Mapping[str, float], when: float) -> None:
        metric, stamp = self._library.entities.Metric, _milliseconds(when)
        self._client.log_batch(self._run, [metric(name, value, stamp, round) for name, value in values.items()])

    def end(self, status: str, when: float) -> None:
        self._client.set_tag(self._run, "status", status)
        self._client.set_terminated(self._run, ENDINGS.get(status, "FAILED"), _milliseconds(when))


def _milliseconds(when: float) -> int:
    return round(1000 * when)
