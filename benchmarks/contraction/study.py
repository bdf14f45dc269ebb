"""What records say of contraction (benchmarks room): every arm of a data set judged under one risk."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fl_bench.streams import numpy_stream

from ...cosmos.theory.steps import t_interval
from ...cosmos.theory.verdicts import judge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ...cosmos.theory.steps import By
    from ...cosmos.theory.verdicts import Judgement
    from .predictions import Predictions
    from .reading import Arm, Block, Risk

    Array = NDArray[np.float64]

END_ROUNDS = 5
"""So many last rounds are the end of a curve."""

START = 1
"""The first round that is fitted: nothing was distilled before it."""


@dataclass(frozen=True)
class End:
    """The mean risk of the last `END_ROUNDS` rounds."""

    mean: float
    interval: tuple[float, float] | None
    """Student's, over seeds; None with one seed."""


class Study:
    """The arms of one block under one risk.

    Args:
        block: the arms.
        predictions: which of them are controls and references.
        risk: the risk that is looked at.
        draws: bootstrap draws.
        alpha: 0.05 for 95 % intervals.
    """

    def __init__(
        self, block: Block, predictions: Predictions, risk: Risk, *, draws: int = 1000, alpha: float = 0.05
    ) -> None:
        self.block = block
        self.predictions = predictions
        self.risk: Risk = risk
        self.draws = draws
        self.alpha = alpha
        self._judged: dict[tuple[str, str], Judgement | None] = {}

    @property
    def by(self) -> By:
        """What is independent: seeds, or clients where there is one seed only."""
        return "seed" if len(self.block.seeds) > 1 else "client"

    @cached_property
    def arms(self) -> list[str]:
        """All arms but references: the claim, then the others by name, controls last."""
        special = self.predictions
        own = [label for label in self.block.arms if label not in special.references]
        return sorted(own, key=lambda label: (label != special.claim, label in special.controls, label))

    @cached_property
    def references(self) -> list[str]:
        """The references that were run."""
        return [label for label in self.predictions.references if label in self.block.arms]

    def risks(self, label: str, view: str = "client") -> Array | None:
        """Risks of an arm, shape (seeds, clients, rounds); None where it, or its view, is not there."""
        arm = self.block.arms.get(label)
        return None if arm is None else arm.of(view, self.risk)

    def curve(self, label: str, view: str = "client") -> list[float]:
        """Mean risk over seeds and clients after each round; nothing where there is none."""
        values = self.risks(label, view)
        return [] if values is None else [float(value) for value in values.mean(axis=(0, 1))]

    def end(self, label: str, view: str = "client") -> End | None:
        """The risk at the end; None where the arm or its view is not there."""
        values = self.risks(label, view)
        if values is None:
            return None
        per_seed = values[:, :, -END_ROUNDS:].mean(axis=(1, 2))
        return End(float(per_seed.mean()), t_interval(per_seed, self.alpha) if len(per_seed) > 1 else None)

    def lowest(self, label: str) -> float:
        """The lowest mean risk of a reference that was run over its rounds, an estimate of the least risk there is.

        An oracle that chooses the round on test data: bounds that train on overfit, and their last risk bounds nothing.
        """
        return min(self.curve(label))

    def judged(self, label: str, view: str = "client") -> Judgement | None:
        """The verdict on an arm; None where the arm or its view is not there."""
        if (label, view) not in self._judged:
            self._judged[label, view] = self._judge(label, view)
        return self._judged[label, view]

    def residuals(self, label: str) -> dict[str, tuple[float, float]]:
        """Diagnostics of an arm, by name: the first that was recorded and the mean over the end, means over seeds."""
        found = {}
        for name, values in self.block.arms[label].diagnostics.items():
            mean = values.mean(axis=0)
            known = mean[np.isfinite(mean)]
            if len(known):
                found[name] = float(known[0]), float(known[-END_ROUNDS:].mean())
        return found

    def _judge(self, label: str, view: str) -> Judgement | None:
        values = self.risks(label, view)
        if values is None:
            return None
        arm, special = self.block.arms[label], self.predictions
        controls = {name: risks for name in special.controls if (risks := self.risks(name, view)) is not None}
        server = arm.of("server_assigned", self.risk) if view == "client" and arm.clusters is not None else None
        return judge(
            values,
            stream=numpy_stream(0, "contraction bootstrap"),  # the same draws for every arm
            server=server,
            clusters=None if server is None else arm.clusters,
            controls={} if label in special.controls else controls,
            start=START,
            by=self.by,
            draws=self.draws,
            alpha=self.alpha,
        )


def base_blocks(blocks: Sequence[Block], predictions: Predictions) -> list[Block]:
    """The block of each data set that others are changes of.

    It has the claim's arm and the most arms; of several with as many, the most settings of predictions differ from it.
    """
    settings = [prediction.setting for prediction in predictions.predictions if prediction.setting]

    def place(block: Block) -> tuple[int, int]:
        found = [changed(block, setting, blocks) for setting in settings]
        return len(block.arms), sum(other is not None and other is not block for other in found)

    best: dict[str, Block] = {}
    for block in blocks:
        known = best.get(block.dataset)
        if predictions.claim in block.arms and (known is None or place(block) > place(known)):
            best[block.dataset] = block
    return list(best.values())


def changed(base: Block, changes: Mapping[str, Any], blocks: Sequence[Block]) -> Block | None:
    """The block that differs from the base in these settings and no other; None where it was not run.

    Args:
        base: the block.
        changes: values by dotted key, as in the `settings` of a grid.
        blocks: where to look.
    """
    wanted = {**_flat(base.cell), **changes}
    others = (block for block in blocks if block.dataset == base.dataset)
    return next((block for block in others if _flat(block.cell) == wanted), None)


def badges(arm: Arm) -> str:
    """Why an arm is no fair competitor, in words; nothing for one that is."""
    return "; ".join(arm.badges)


def _flat(cell: Mapping[str, Any]) -> dict[str, Any]:
    sections = ("partition", "models", "training")
    return {f"{section}.{key}": value for section in sections for key, value in dict(cell[section]).items()}
