"""Class means of features: averaged over clients, attractors of local training, and a classifier by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_bench.lazy import F, torch

from ..federation.payloads import Prototypes
from ..federation.trees import chosen
from .parts import is_body

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from ..federation.batches import Batch
    from ..federation.cohort import Cohort
    from ..federation.deployed import Deployed
    from ..federation.phase import Objective
    from ..federation.rounds import Federation


def no_prototypes(federation: Federation) -> Prototypes:
    """What the server knows before the first round: no class, features of the width that all nets have."""
    head = next(iter(federation.start.values()))["head.weight"]  # (1, classes, features)
    return Prototypes(torch.zeros_like(head), head.new_zeros(head.shape[:2], dtype=torch.bool))


def class_means(uploaded: Prototypes, counts: Tensor | None = None) -> Prototypes:
    """g_c = mean of q_{i,c} over the clients that sent class c.

    Args:
        uploaded: q, values of shape (clients, classes, features).
        counts: what client i's class c counts, shape (clients, classes); None: all clients the same.

    Returns:
        One row; values are 0 for a class that nobody sent.
    """
    weights = uploaded.present.to(uploaded.values)
    if counts is not None:
        weights = weights * counts
    total = weights.sum(dim=0)
    share = weights / torch.where(total > 0, total, 1.0)
    means = torch.einsum("ic,icf->cf", share, uploaded.values)
    return Prototypes(means[None], uploaded.present.any(dim=0)[None])


def labelled_features(uploaded: Prototypes, identities: Sequence[int]) -> tuple[Tensor, Tensor]:
    """All uploaded pairs (q_{i,c}, c), in the order of the clients' identities and, within a client, of classes.

    Args:
        uploaded: q, a row per client.
        identities: what names each of these clients, whatever their numbers.

    Returns:
        Features, shape (pairs, features), and classes, shape (pairs,).
    """
    order = sorted(range(len(identities)), key=identities.__getitem__)
    present = uploaded.present[order]
    classes = torch.arange(present.shape[1], device=present.device).expand_as(present)
    return uploaded.values[order][present], classes[present]


def near_prototypes(weight: float) -> Objective:
    """CE(f(x), y) + weight * MSE(z, g_y), for fits with `per_client={"prototypes": g, "present": ...}`.

    z is the body's output. The squared error is a mean over the coordinates and over the whole batch, to which samples
    of classes without a prototype contribute 0.
    """

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        assert batch.y is not None
        features = model.get_submodule("body")(batch.x)
        told = batch.extra["present"][batch.y].unsqueeze(1)
        error = torch.where(told, features - batch.extra["prototypes"][batch.y], 0.0).square().mean()
        return F.cross_entropy(model.get_submodule("head")(features), batch.y) + weight * error

    return objective


def nearest_prototype(clients: Cohort, prototypes: Prototypes) -> Deployed:
    """For evaluation: each member's body, and the class of the nearest of the global prototypes (one row).

    Logits are negative distances. A class without a prototype is one farther away than the farthest prototype.
    """
    from ..federation.deployed import Deployed
    from .prototype_nets import NearestPrototype

    members = len(clients)
    body = chosen(clients.weights, is_body)
    table = {
        "prototypes": prototypes.values.expand(members, -1, -1),
        "present": prototypes.present.expand(members, -1),
    }
    module = NearestPrototype(clients.module("body"), prototypes)
    return Deployed(module, {**table, **body}, tuple(range(members)))


def prototype_net(client: nn.Module) -> nn.Module:
    """The module of `nearest_prototype` made of a client's net, without prototypes yet."""
    from .prototype_nets import NearestPrototype

    head = client.get_parameter("head.weight")  # (classes, features)
    nothing = Prototypes(torch.zeros_like(head)[None], head.new_zeros((1, len(head)), dtype=torch.bool))
    return NearestPrototype(client.get_submodule("body"), nothing)
