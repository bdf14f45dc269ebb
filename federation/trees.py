"""Stacked trees of weights: cut out parts, put them back, and see them as one matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_bench.lazy import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from .payloads import Tree


def subtree(tree: Tree, part: str) -> Tree:
    """The tensors of a submodule under their names inside it; the whole tree where `part` is empty."""
    return (
        {name[len(part) + 1 :]: tensor for name, tensor in tree.items() if name.startswith(f"{part}.")}
        if part
        else tree
    )


def under(part: str, tree: Tree) -> Tree:
    """The inverse of `subtree`: the tensors under their names in the module that has `part`."""
    return {f"{part}.{name}": tensor for name, tensor in tree.items()}


def chosen(tree: Tree, wanted: Callable[[str], bool]) -> Tree:
    """The tensors whose names are wanted."""
    return {name: tensor for name, tensor in tree.items() if wanted(name)}


def batch_norm_names(module: nn.Module) -> frozenset[str]:
    """Full names of the parameters and buffers of a net's BatchNorm layers: what FedBN keeps at home."""
    kind = torch.nn.modules.batchnorm._BatchNorm
    return frozenset(
        f"{layer}.{name}" if layer else name
        for layer, part in module.named_modules()
        if isinstance(part, kind)
        for name in part.state_dict()
    )


def flatten(tree: Tree) -> Tensor:
    """All floating-point tensors side by side, names in order: shape (rows, numbers)."""
    return torch.cat([tree[name].flatten(1) for name in sorted(tree) if tree[name].is_floating_point()], dim=1)


def minus(tree: Tree, other: Tree) -> Tree:
    """tree - other, tensor by tensor; rows broadcast. Integer tensors stay those of `tree`."""
    return {name: value - other[name] if value.is_floating_point() else value for name, value in tree.items()}


def plus(tree: Tree, other: Tree, scale: float = 1.0) -> Tree:
    """tree + scale * other, tensor by tensor; rows broadcast. Integer tensors become those of `other`."""
    return {
        name: value + scale * other[name] if value.is_floating_point() else other[name] for name, value in tree.items()
    }
