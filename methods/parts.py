"""Parts of a net: body and head, and models that are put together of a shared part and the client's own.

The head is the last linear layer, the body everything before it, BatchNorm statistics included (methods.md 3.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_bench.errors import Unsupported

if TYPE_CHECKING:
    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.payloads import Tree
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


def everywhere(tree: Tree, clients: Cohort) -> Tree:
    """A tree with one row as every member sees it, name to (members, ...); without a copy."""
    return {name: tensor.expand(len(clients), *tensor.shape[1:]) for name, tensor in tree.items()}


def refreshed(clients: Cohort, shared: Tree) -> Deployed:
    """For evaluation: each member's own model with the newest shared part in the place of the one it last received.

    Args:
        clients: the members, whether they took part in this round, in an earlier one or never.
        shared: what the server has now, name to (1, ...), or (members, ...) where members differ.
    """
    return clients.with_weights({**clients.weights, **everywhere(shared, clients)})
