"""What training did in a round, counted over all cohorts of a run (federation room)."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class WorkLog:
    """What training did in a round, over all cohorts; read once, at the round's end."""

    steps: Counter[str] = field(default_factory=Counter)
    """Steps by kind: `local`, `distill`, `server`."""
    losses: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    """Mean objective of each member of each phase, by the same kinds."""

    def clear(self) -> None:
        """Forget, for a new round."""
        self.steps.clear()
        self.losses.clear()

    def mean_loss(self, kind: str) -> float | None:
        """Mean over members and phases; None where there was no such phase."""
        return float(torch.cat(self.losses[kind]).mean()) if self.losses[kind] else None
