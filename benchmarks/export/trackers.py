"""Experiment trackers by name (benchmarks room): `tensorboard[folder=logs]` in, a configured tracker out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from fl_bench.errors import ConfigError
from fl_bench.registry import Registry

from ..grid.configure import configure

if TYPE_CHECKING:
    from collections.abc import Mapping

ACCURACY, VALIDATION = "accuracy", "validation"
"""The deployed models' accuracy on test and on validation data, percent, in every frame and tracker."""

BUILT_IN = (
    "fl_bench.benchmarks.export.mlflow",
    "fl_bench.benchmarks.export.tensorboard",
    "fl_bench.benchmarks.export.trackio",
    "fl_bench.benchmarks.export.wandb",
)
"""Modules that register our trackers."""

TRACKERS: Registry[type[Any]] = Registry("tracker", built_in=BUILT_IN)
"""All trackers by name; each is a frozen dataclass with the interface `Tracker`. Packages register theirs under the
entry-point group `fl_bench.trackers`."""

Parameter: TypeAlias = "str | int | float"


@dataclass(frozen=True)
class Tracked:
    """A run, as a tracker is told of it."""

    name: str
    """`<dataset>/<label>-<seed>-<key>`, which no other run has."""
    group: str
    """The data set."""
    parameters: Mapping[str, Parameter]
    """The resolved cell by dotted names, `training.lr`; what is neither number nor text is JSON."""
    began: float
    """When it was started, seconds since 1970."""


class Following(Protocol):
    """A run that a tracker follows."""

    def metrics(self, round: int, values: Mapping[str, float], when: float) -> None:
        """Take the numbers of a round.

        Args:
            round: from 0, rising.
            values: numbers by name; `accuracy` is that of the deployed models, percent.
            when: the round ended, seconds since 1970.
        """

    def end(self, status: str, when: float) -> None:
        """The run has ended; nothing follows.

        Args:
            status: `done`, `diverged`, `failed`, `timeout` or `unsupported`; `stopped` or `skipped` of one that
                has no record yet.
            when: seconds since 1970.
        """


class Tracker(Protocol):
    """Where runs are shown: a frozen dataclass of its settings, registered with `@TRACKERS.register(name)`.

    Its setting `folder` is where it writes. Several runs may be followed at a time.
    """

    def ready(self) -> None:
        """Load and open what is needed; called once, before the first run starts.

        Raises:
            ConfigError: the tracker's package is not installed, or the settings cannot be followed.
        """

    def start(self, run: Tracked) -> Following:
        """Begin to follow a run."""


def configured(name: str, settings: Mapping[str, Any]) -> Tracker:
    """A tracker with settings.

    Args:
        name: one of `TRACKERS`.
        settings: by name.
    Raises:
        ConfigError: there is no such tracker or setting, or a value is impossible.
    """
    kind: Any = TRACKERS[name]
    if "folder" not in getattr(kind, "__dataclass_fields__", ()):
        raise ConfigError(f"tracker {name!r} must be a frozen dataclass with the setting `folder`")
    tracker: Tracker = configure(kind, dict(settings), name)
    return tracker


def parameters(cell: Mapping[str, Any], label: str) -> dict[str, Parameter]:
    """What a run was asked for, flat.

    Args:
        cell: the resolved cell, as in `run.json`.
        label: of the method in tables.
    """
    import pandas as pd  # takes as long as all else that a command imports before it runs

    flat = pd.json_normalize(dict(cell)).to_dict("records")[0]
    plain = {
        str(name): value if isinstance(value, str | int | float) else json.dumps(value) for name, value in flat.items()
    }
    return {"method": label, **plain}
