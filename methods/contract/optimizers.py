"""A check that a method trains on private data with the optimizers that it says it does, and with no others."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...federation.batches import Teaching
from .worlds import TRAINING, deal, finish, made_up_data, make_run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from ...federation.engine import Engine
    from ...federation.members import Members
    from ...federation.optimizers import Optimizer
    from ...federation.phase import Phase
    from ...federation.work import Trained

UNUSUAL = replace(TRAINING, optimizer="sgd", lr=0.013, momentum=0.5, weight_decay=0.001)
"""Local training that no method brings of its own."""


def local_optimizers_are_as_declared(name: str) -> None:
    """What models descend private data by is what `Method.local_optimizers` says: by default the run's rule alone.

    Phases on public data alone do not count, nor do steps that train a single number.
    """
    dataset = made_up_data()
    run = make_run(name, dataset, deal(dataset), UNUSUAL)
    with private_rules() as used:
        finish(run)
    if not used:
        return
    method: Any = run.method
    declared = set(method.local_optimizers(UNUSUAL).values())
    unsaid, unused = (_words(rules) for rules in (used - declared, declared - used))
    assert used <= declared, (
        f"{name} trains on private data with {unsaid}, which `local_optimizers` does not name (the run has "
        f"{UNUSUAL.local_optimizer}); take the run's by leaving out `lr` and `optimizer` of `fit`, or return the rule "
        "from `local_optimizers` under the name of the setting that holds its rate"
    )
    assert used == declared, (
        f"{name} says in `local_optimizers` that it trains with {unused}, and no step on private data does; return the "
        "rules that `fit` is given, or leave `local_optimizers` out where that is the run's alone"
    )


@contextmanager
def private_rules() -> Iterator[set[Optimizer]]:
    """The rules of all phases that see private data; complete when the context ends."""
    from ...federation.engine import ENGINES

    used: set[Optimizer] = set()
    usual = dict(ENGINES)
    ENGINES.update({name: _Watched(engine, used) for name, engine in usual.items()})
    try:
        yield used
    finally:
        ENGINES.update(usual)


class _Watched:
    """An engine that notes what it steps by."""

    def __init__(self, engine: Engine, used: set[Optimizer]) -> None:
        self._engine = engine
        self._used = used

    def fit(self, members: Members, phase: Phase) -> Trained:
        """See `Engine.fit`."""
        if not isinstance(phase.on, Teaching):
            trained = members.models.parameters
            for step in phase.steps:
                if sum(trained[name][0].numel() for name in step.trainable) > 1:
                    self._used.add(step.optimizer)
        return self._engine.fit(members, phase)

    def predict(self, members: Members, inputs: Tensor) -> Tensor:
        """See `Engine.predict`."""
        return self._engine.predict(members, inputs)


def _words(rules: set[Optimizer]) -> str:
    return " and ".join(sorted(map(str, rules)))
