"""Whether a run has the settings that a tuning chose (benchmarks room), and of how many trials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...methods.registry import METHODS
from ..grid.cell import trained
from .written import TRAINING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .ledger import Ledger


def trials_of(label: str, cell: Mapping[str, Any], ledger: Ledger) -> int:
    """The trials that chose what a run has; 0 where its settings are not those that the ledger chose.

    Args:
        label: its method's, in the grid.
        cell: the resolved cell as plain values.
        ledger: of the tuning.
    """
    method, training = cell["method"], trained(cell)
    has = {**method["settings"], **{TRAINING + name: value for name, value in training.items()}}
    for search in ledger.searches(label):
        if search.name == method["name"] and cell["dataset"] in _datasets(search.places):
            wanted = {**search.fixed, **search.choice.settings}
            if all(has.get(name, _default(search.name, name)) == value for name, value in wanted.items()):
                return ledger.trials if search.exhausted else len(search.trials)
    return 0


def _datasets(places: Iterable[str]) -> set[str]:
    return {place.partition(" [")[0] for place in places}


def _default(method: str, setting: str) -> Any:
    """What a setting is that a record leaves out, as those that came later are at their default."""
    usual = METHODS[method].config_type() if method in METHODS else None
    return getattr(usual, setting, None)
