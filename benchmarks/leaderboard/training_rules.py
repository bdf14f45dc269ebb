"""What the clients of a method train with in some setting (benchmarks room): from a cell, a grid's or a record's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fl_bench.errors import ConfigError

from ...federation.settings import Training
from ...methods.local_rules import in_words, local_rules
from ...methods.registry import METHODS
from ..grid.cell import resolve_config, trained
from ..grid.configure import configure, plain
from ..grid.plugins import source_digest
from ..tuning.coverage import trials_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...federation.optimizers import Optimizer
    from ...methods.base import Method
    from ..grid.cell import Cell
    from ..records.record import Record
    from ..tuning.ledger import Ledger


@dataclass(frozen=True)
class LocalRules:
    """What a method descends the loss of private data by."""

    method: str
    """Its registered name."""
    usual: Optimizer
    """That of `training`."""
    rules: tuple[tuple[str, Optimizer], ...]
    """The method's, each behind the setting that holds its rate: `scaffold.lr`, `training.lr`."""
    trials: int = 0
    """Settings that were tried before these were chosen, by a ledger."""
    own_steps: str = ""
    """How long clients train where the method has passes or batches of its own, in words: `2 local epochs (5)`, what
    the others do in brackets; nothing where it has none."""

    @property
    def own(self) -> str:
        """Those that are not the rule of `training`, in words; nothing where there are none."""
        return in_words({setting: rule for setting, rule in self.rules if rule != self.usual})

    def __str__(self) -> str:
        """All of it: `sgd 0.1 (scaffold.lr)`, with passes of its own behind it."""
        return ", ".join(filter(None, [in_words(dict(self.rules)), self.own_steps]))


def rules_of(method: Method[Any], training: Training, *, shared: Training | None = None, trials: int = 0) -> LocalRules:
    """What a configured method trains with.

    Args:
        method: the method, configured.
        training: local training of the run.
        shared: that of the comparison, where the method has some of its own.
        trials: settings that were tried before its own were chosen.
    """
    usual, rules = shared or training, tuple(local_rules(method, training).items())
    return LocalRules(method.name, usual.local_optimizer, rules, trials, _steps(training, usual))


def planned_rules(cell: Cell, ledger: Ledger | None = None) -> LocalRules:
    """What a cell of a grid would train with.

    Args:
        cell: what would run.
        ledger: of the tuning that the grid names.
    """
    trials = 0 if ledger is None else trials_of(cell.label, cell.as_dict(), ledger)
    return rules_of(cell.build_method(), cell.training, shared=cell.shared_training, trials=trials)


def recorded_rules(records: Sequence[Record], ledger: Ledger | None = None) -> LocalRules | None:
    """What runs trained with; None where their method is not at hand, or not in the version that ran.

    Args:
        records: runs of one method in one setting, at least one.
        ledger: of their results folder.
    """
    chosen = records[0].cell["method"]
    if chosen["name"] not in METHODS or source_digest(METHODS[chosen["name"]]) != chosen.get("plugin"):
        return None
    try:
        config = resolve_config(chosen["name"], chosen["settings"], "settings")
        shared = configure(Training, records[0].cell["training"], "training")
        training = configure(Training, trained(records[0].cell), "training")
    except ConfigError:  # a setting that there is no more
        return None
    if plain(config) != chosen["settings"]:  # one that has come since, and the run's value of which nobody knows
        return None
    trials = 0 if ledger is None else min(trials_of(record.label, record.cell, ledger) for record in records)
    return rules_of(METHODS[chosen["name"]](config), training, shared=shared, trials=trials)


def _steps(training: Training, usual: Training) -> str:
    """What differs in how long clients train, in words; nothing where nothing does."""
    parts = {
        "local epoch{s}": (training.local_epochs, usual.local_epochs),
        "sample{s} per batch": (training.batch_size, usual.batch_size),
    }
    return ", ".join(
        f"{own} {what.format(s='' if own == 1 else 's')} ({other})"
        for what, (own, other) in parts.items()
        if own != other
    )
