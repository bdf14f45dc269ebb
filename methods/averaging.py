"""Averaging of stacked weights, for every method that averages parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from fl_bench.lazy import torch

from ..federation.payloads import Parameters
from .base import Config, Facts, Method, Plan, Requires

if TYPE_CHECKING:
    from typing import Literal

    from torch import Tensor

    from ..federation.channel import Uploads
    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.payloads import Tree
    from ..federation.rounds import Round


class ServerModel(Method[Config]):
    """FedAvg and its relatives: one model at the server, from which clients train and which their uploads move.

    `server_update` sets `w`, the server's model, name to (1, ...).
    """

    category = "averaging"
    wire: ClassVar[str] = "up #theta * b + b, down #theta * b"
    requires = Requires(one_architecture=True, shared_init=True)
    exchanges = frozenset({Parameters})
    deployed_view = "global"
    deploys: ClassVar[str] = "the server's newest model, for every client"
    w: Tree

    def plan(self, facts: Facts) -> Plan:
        """#theta * b each way (integer BatchNorm counters: 8 bytes), and up the client's size where it counts."""
        told = size_bytes(facts, getattr(self.config, "weights", "uniform"))
        return Plan(up_bytes=facts.weights_bytes + told, down_bytes=facts.weights_bytes)

    def deployed(self, clients: Cohort, rnd: Round) -> Deployed:
        """The server's model, for every client."""
        return clients.with_weights(self.w)

    def views(self, clients: Cohort, rnd: Round) -> dict[str, Deployed]:
        """What each client holds after its last local phase."""
        return {"+local": clients.deployed()}


def weighted_mean(tree: Tree, weights: Tensor) -> Tree:
    """sum_i weights_i * theta_i of every tensor.

    Args:
        tree: stacked weights and buffers, name to (clients, ...). Integer buffers (BatchNorm's batch counters) are
            not averaged: the first client's are taken.
        weights: shape (clients,), summing to 1.

    Returns:
        A tree with one row, name to (1, ...).
    """
    return {
        name: torch.tensordot(weights.to(tensor), tensor, dims=1)[None] if tensor.is_floating_point() else tensor[:1]
        for name, tensor in tree.items()
    }


def shares(uploads: Uploads, by: Literal["size", "uniform"], architecture: str | None = None) -> Tensor:
    """What each participant (of one architecture) counts for: its share of the private samples, or all the same.

    Returns:
        Shape (participants,), summing to 1.
    """
    counts = uploads.sizes(architecture) if by == "size" else uploads.ones(architecture)
    return counts / counts.sum()


def told_sizes(clients: Cohort, by: Literal["size", "uniform"]) -> Tensor | None:
    """What goes along with an upload, for `shares`: the clients' sizes, where the server weighs by them."""
    return clients.sizes if by == "size" else None


def size_bytes(facts: Facts, by: Literal["size", "uniform"]) -> int:
    """The bytes of that for one client."""
    return facts.number_bytes if by == "size" else 0
