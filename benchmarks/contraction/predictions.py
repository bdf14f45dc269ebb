"""What was predicted of the contraction study before its first run, as in `predictions.yaml` (benchmarks room)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fl_bench.errors import ConfigError

from ..grid.configure import blame, configure
from ..grid.plain_yaml import read_yaml

if TYPE_CHECKING:
    from collections.abc import Sequence

Test = Literal["contracts", "movement", "rho", "floor", "end", "start", "gap"]
"""What a prediction is about; the head of `predictions.yaml` says what each is."""

ABOUT_TWO = ("rho", "floor", "end")
"""Tests that hold an arm against another one, or against itself in another setting."""

PREDICTIONS = Path(__file__).with_name("predictions.yaml")
"""Those of the grids that come with fl-bench."""


@dataclass(frozen=True)
class Prediction:
    """One prediction; held against every data set."""

    name: str
    says: str
    """The prediction in words."""
    test: Test
    arm: str
    """The label of the method that it is about."""
    than: str | None = None
    """The arm that it is held against; the same arm where only `setting` differs."""
    setting: dict[str, Any] = field(default_factory=dict)
    """Changes of the grid under which `arm` runs, by dotted key; the other arm runs without them."""
    expect: Literal["below", "above", "same"] | None = None
    """Where the difference lies; `same` for equivalence."""
    view: str = "client"
    """Whose risk: the deployed model's, or another view's."""

    def __post_init__(self) -> None:
        two = self.than is not None or bool(self.setting)
        if two != (self.test in ABOUT_TWO):
            needs = (
                "needs `than` or `setting`" if self.test in ABOUT_TWO else "is about one arm: no `than`, no `setting`"
            )
            raise ConfigError(f"{self.name}: a prediction on {self.test} {needs}")
        if (self.expect is None) != (self.test in ("contracts", "movement")):
            raise ConfigError(f"{self.name}: `expect` belongs to every test but contracts and movement")


@dataclass(frozen=True)
class Predictions:
    """All predictions of a study, and which arms are what."""

    claim: str
    """The arm that is claimed to contract."""
    controls: tuple[str, ...]
    """Arms in which clients learn from nobody: an arm that contracts no faster than they do shows nothing."""
    references: tuple[str, ...]
    """Bounds whose lowest risks stand beside floors."""
    predictions: tuple[Prediction, ...]

    def __post_init__(self) -> None:
        _refuse_repeats([prediction.name for prediction in self.predictions])


def read_predictions(path: Path = PREDICTIONS) -> Predictions:
    """Read a file of predictions.

    Raises:
        ConfigError: names the file, the key, what was found and what would do.
    """
    values = read_yaml(path)
    with blame(str(path)):
        return configure(Predictions, values, "")


def _refuse_repeats(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two predictions are called {name!r}; give one another name")
