"""What every net of the zoo is: a body that makes features and a linear head that classifies them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from torch import Tensor


class Net(nn.Module):
    """head(body(x)); parameter names start with `body.` and `head.`.

    Args:
        body: samples, shape (batch, *sample shape), to features, shape (batch, features).
        head: features to logits, shape (batch, classes).
    """

    body: nn.Module
    head: nn.Linear

    def __init__(self, body: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.body = body
        self.head = head

    @property
    def features(self) -> int:
        """Width of the features between body and head."""
        return self.head.in_features

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (batch, classes)."""
        logits: Tensor = self.head(self.body(x))
        return logits
