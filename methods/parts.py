"""Body and head: which parameters belong to which, for every method that shares or freezes one of them.

The head is the last linear layer, the body everything before it, BatchNorm statistics included (methods.md 3.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_bench.errors import Unsupported

if TYPE_CHECKING:
    from ..federation.rounds import Federation


def is_head(name: str) -> bool:
    """Whether a parameter or buffer belongs to the head."""
    return name.startswith("head.")


def is_body(name: str) -> bool:
    """Whether a parameter or buffer belongs to the body."""
    return not is_head(name)


def check_bodies(method: str, federation: Federation) -> None:
    """Raise `Unsupported` for a net whose body has no parameters: who shares bodies would share nothing."""
    for architecture, weights in federation.start.items():
        if not any(is_body(name) for name in weights):
            raise Unsupported(
                f"{method} shares the clients' bodies, but that of {architecture} has no parameters; "
                "any net with a hidden layer would do"
            )
