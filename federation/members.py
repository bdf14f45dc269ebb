"""The frozen facts of a cohort that engines read: whose models, on whose data, in which round (federation room)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from .data import FederatedData
    from .payloads import Tree
    from .settings import Execution, Training
    from .storage import Models


@dataclass(frozen=True, eq=False)
class Members:
    """Models of one architecture that act together: those of participating clients, or the server's."""

    models: Models
    """The storage that the members' models lie in."""
    ids: tuple[int, ...]
    """Client ids in ascending order; of server models, their numbers."""
    rows: tuple[int, ...]
    """Where in `models` each member's model is."""
    keys: tuple[int, ...]
    """What names each member's random streams."""
    private_rows: tuple[Tensor, ...]
    """Rows of the data set that each member trains on; none of server models."""
    data: FederatedData
    training: Training
    execution: Execution
    seed: int
    """Of what training steps draw (`Seeds.batches`)."""
    side: Literal["client", "server"] = "client"
    round_index: int = 0
    turn: int = 0
    """Number of the exchange inside the round."""

    def __len__(self) -> int:
        return len(self.ids)

    def at(self, round_index: int) -> Members:
        """The same members in another round, which moves their batch orders on."""
        return replace(self, round_index=round_index)

    def only(self, positions: Sequence[int]) -> Members:
        """The members at some positions, with the same storage."""

        def picked(values: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(values[position] for position in positions) if values else ()

        return replace(
            self,
            ids=picked(self.ids),
            rows=picked(self.rows),
            keys=picked(self.keys),
            private_rows=picked(self.private_rows),
        )

    def owning(self, weights: Tree) -> Members:
        """The same members with models of their own, which take over `weights`, name to (members, ...)."""
        return replace(self, models=self.models.holding(weights), rows=tuple(range(len(self))))

    @property
    def moment(self) -> tuple[str | int, ...]:
        """Round and turn, as names of a random stream; the first turn of a round is named by the round alone."""
        return (self.round_index, "turn", self.turn) if self.turn else (self.round_index,)

    @cached_property
    def whole(self) -> bool:
        """Whether they are all models of the storage, in its order."""
        return len(self) == len(self.models) and self.rows == tuple(range(len(self)))

    @cached_property
    def index(self) -> Tensor:
        """`rows` on the device, shape (members,)."""
        return torch.tensor(self.rows, device=self.data.device)

    def selected(self, tree: Tree) -> Tree:
        """The members' rows of a tree of the storage: the storage itself where they are all of it, else copies."""
        return tree if self.whole else {name: tensor[self.index] for name, tensor in tree.items()}

    def copied(self, tree: Tree) -> Tree:
        """The same, always as copies."""
        return {name: tensor.clone() if self.whole else tensor[self.index] for name, tensor in tree.items()}

    @property
    def weights(self) -> Tree:
        """Parameters and buffers, as `selected` gives them."""
        return self.selected({**self.models.parameters, **self.models.buffers})
