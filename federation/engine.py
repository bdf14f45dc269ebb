"""Which engine trains a cohort and predicts with it; nothing else knows how many models are trained at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from torch import nn

from .loop import LoopEngine
from .models.steps import Tokens
from .stacked import StackedEngine

if TYPE_CHECKING:
    from torch import Tensor

    from .members import Members
    from .phase import Phase
    from .work import Trained


class Engine(Protocol):
    """What a cohort needs from an engine."""

    def fit(self, members: Members, phase: Phase) -> Trained:
        """Train every member in place."""

    def predict(self, members: Members, inputs: Tensor) -> Tensor:
        """Logits of every member in evaluation mode, shape (members, samples, classes)."""


DENSE = 1 << 16
"""Most weights of a net of linear layers that is stacked on a CPU: twenty clients with such nets stay in its cache. A
recurrence is made of such layers."""

FEW = 4
"""Members below which a CPU loops: stacking costs a step about as much as three more members."""


def engine(name: Literal["auto", "loop", "stacked"], members: Members) -> Engine:
    """The engine called `name`, or the one that `auto` means for a cohort."""
    return ENGINES[chosen_engine(name, members.data.device.type, members.models.template, len(members))]


def chosen_engine(
    name: Literal["auto", "loop", "stacked"], kind: str, net: nn.Module, members: int
) -> Literal["loop", "stacked"]:
    """What `auto` means, as measured (docs/engines.md).

    On a GPU everything is stacked. On a CPU small nets of linear layers are, which wait for Python more than for
    arithmetic; convolutions are slower when grouped, and larger nets fall out of the cache.

    Args:
        name: as asked for; all but `auto` is the answer itself.
        kind: of the device, "cpu" or "cuda".
        net: the members' net.
        members: how many are trained.
    """
    if name != "auto":
        return name
    return "stacked" if kind == "cuda" or (members >= FEW and _is_small_and_dense(net)) else "loop"


def _is_small_and_dense(net: nn.Module) -> bool:
    owners = [module for module in net.modules() if next(module.parameters(recurse=False), None) is not None]
    return all(isinstance(module, nn.Linear | Tokens) for module in owners) and (
        sum(parameter.numel() for parameter in net.parameters()) <= DENSE
    )


ENGINES: dict[str, Engine] = {"loop": LoopEngine(), "stacked": StackedEngine()}
