"""What training did in a round, counted over all cohorts of a run (federation room)."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


@dataclass(frozen=True)
class Trained:
    """What an engine did in one phase."""

    steps: tuple[int, ...]
    """Gradient evaluations of each member."""
    loss: Tensor
    """Mean loss of the first step over each member's batches, shape (members,); 0 for a member without batches."""
    first_pass: Tensor | None
    """The same over the batches of the first pass over its samples, where that is a cross-entropy; else None."""


@dataclass
class WorkLog:
    """What training did in a round, over all cohorts; read once, at the round's end."""

    steps: Counter[str] = field(default_factory=Counter)
    """Steps by kind: `local`, `distill`, `server`; `aside`: of copies, which are trained to be scored."""
    losses: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    """Mean objective of each member of each phase, by the same kinds."""
    cross_entropy: dict[int, Tensor] = field(default_factory=dict)
    """Mean cross-entropy of each client's first pass over its private data, by client id."""
    notes: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    """What methods noted of clients, by column."""
    original: WorkLog | None = None
    """Of a cohort that was copied: where its steps count as `aside`."""
    sums: set[str] = field(default_factory=set)
    """The columns of notes that are summed and not averaged."""
    deadline: int | None = None
    """Most steps of a client in a round (`faults.deadline`); copies, which are trained to be scored, have none."""
    spent: Counter[int] = field(default_factory=Counter)
    """Steps of each client in the round, by client id."""
    cut: set[int] = field(default_factory=set)
    """The clients that had more to do than the deadline left them."""

    def clear(self) -> None:
        """Forget, for a new round."""
        self.steps.clear()
        self.losses.clear()
        self.cross_entropy.clear()
        self.notes.clear()
        self.spent.clear()
        self.cut.clear()

    def allow(self, client: int, updates: Sequence[int]) -> int:
        """How many batches of a phase the deadline leaves to a client, which is noted where it had more.

        Args:
            client: whose.
            updates: the steps of 0, 1, 2, ... batches, up to those of the whole phase; ascending.
        """
        if self.deadline is None:
            return len(updates) - 1
        batches = bisect_right(updates, max(self.deadline - self.spent[client], 0)) - 1
        if batches < len(updates) - 1:
            self.cut.add(client)
        return batches

    def spend(self, ids: Sequence[int], steps: Sequence[int]) -> None:
        """Count steps of clients towards the deadline."""
        for client, own in zip(ids, steps, strict=True):
            self.spent[client] += own

    def count(self, kind: str, steps: int) -> None:
        """Count steps; those of a copy also as `aside` of its original."""
        self.steps[kind] += steps
        if self.original is not None:
            self.original.count("aside", steps)

    def add(self, kind: str, done: Trained) -> None:
        """Count a phase."""
        self.count(kind, sum(done.steps))
        self.losses[kind].append(done.loss)

    def measure(self, ids: Sequence[int], done: Trained) -> None:
        """Remember the cross-entropy of a phase for clients that have samples and no earlier phase in this round."""
        if done.first_pass is not None:
            for client, steps, loss in zip(ids, done.steps, done.first_pass, strict=True):
                if steps:
                    self.cross_entropy.setdefault(client, loss)

    def note(self, name: str, values: Tensor, how: Literal["mean", "sum"]) -> None:
        """Note a number of each of some clients for a column of the record."""
        self.notes[name].append(values.detach())
        if how == "sum":
            self.sums.add(name)

    def mean_loss(self, kind: str) -> float | None:
        """Mean over members and phases; None where there was no such phase."""
        return float(torch.cat(self.losses[kind]).mean()) if self.losses[kind] else None

    def mean_cross_entropy(self) -> float | None:
        """Mean over clients of `cross_entropy`; None where no phase measured it."""
        return float(torch.stack(list(self.cross_entropy.values())).mean()) if self.cross_entropy else None

    def noted(self) -> dict[str, float | int | None]:
        """The columns of notes: their means, or sums, over all clients that have one."""
        joined = {name: torch.cat(values) for name, values in self.notes.items()}
        return {
            name: values.sum().item() if name in self.sums else float(values.mean()) for name, values in joined.items()
        }
