"""Two nets in one client, one of its own and one in common, for methods that train both on the same data."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor


class TwoModels(nn.Module):
    """`personal` stays with the client, `shared` is the client's copy of the server's model.

    Args:
        base: the net of the zoo.
        shared: a net that may be of another architecture (`Federation.common_net`); a copy of `base` by default.
    """

    def __init__(self, base: nn.Module, shared: nn.Module | None = None) -> None:
        super().__init__()
        self.personal = base
        """The client's own net; it is the one that `forward` runs."""
        self.shared = deepcopy(base) if shared is None else shared
        """The client's copy of the server's net."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the personal net, shape (batch, classes)."""
        return self.personal(x)  # type: ignore[no-any-return]  # nn.Module.__call__ is untyped


class Mixture(TwoModels):
    """One net with the weights alpha * personal + (1 - alpha) * shared; BatchNorm statistics are those of `personal`.

    Args:
        base: the net of the zoo.
        alpha: initial mixing weight, a parameter of the client.
    """

    def __init__(self, base: nn.Module, alpha: float) -> None:
        super().__init__(base)
        self.alpha = nn.Parameter(torch.tensor(alpha, dtype=torch.float64))  # stored in the run's format
        """Mixing weight of the client, without axes."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the net with mixed weights, shape (batch, classes)."""
        shared = dict(self.shared.named_parameters())
        mixed = {
            name: self.alpha * own + (1 - self.alpha) * shared[name] for name, own in self.personal.named_parameters()
        }
        return torch.func.functional_call(self.personal, mixed, (x,))  # type: ignore[no-any-return]  # as above


class MixtureOfLogits(Mixture):
    """The logits alpha * personal(x) + (1 - alpha) * shared(x), from two passes; takes what `Mixture` takes."""

    def forward(self, x: Tensor) -> Tensor:
        """Mixed logits, shape (batch, classes); leaves the BatchNorm statistics of `shared` as they are."""
        # The net in common learns its statistics in its own step; a second time would send others than FedAvg's.
        state = {name: buffer.clone() for name, buffer in self.shared.named_buffers()}
        common = torch.func.functional_call(self.shared, state, (x,))
        return self.alpha * self.personal(x) + (1 - self.alpha) * common  # type: ignore[no-any-return]  # as above


def is_personal(name: str) -> bool:
    """Whether a parameter belongs to the net of the client's own."""
    return name.startswith("personal.")


def is_shared(name: str) -> bool:
    """Whether a parameter belongs to the copy of the server's net."""
    return name.startswith("shared.")
