"""Stacked models (federation room): one tensor per parameter with a leading axis over models of one architecture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from .models.dropout import with_counted_dropout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor, nn

    from .payloads import Tree


class Models:
    """Stacked models of one architecture: parameters, buffers, optimizer moments and what methods keep with them."""

    def __init__(self, name: str, template: nn.Module, parameters: Tree, buffers: Tree) -> None:
        self.name = name
        self.template = template
        self.parameters = parameters
        self.buffers = buffers
        self.moments: dict[str, Tree] = {}
        """Optimizer state of `persist` phases: phase name to `<slot>:<parameter>` and `steps` trees."""
        self.kept: dict[str, Tree] = {}
        """What methods keep per model, by name (control variates, personal copies, ...)."""

    @classmethod
    def stacked(cls, name: str, modules: Sequence[nn.Module], device: torch.device, dtype: torch.dtype) -> Models:
        """The models of `modules`, on a device, floats in one format."""
        trees = [(dict(module.named_parameters()), dict(module.named_buffers())) for module in modules]
        parameters = {
            key: torch.stack([tree[key].detach().to(device, dtype) for tree, _ in trees]) for key in trees[0][0]
        }
        buffers = {
            key: torch.stack(
                [tree[key].to(device, dtype if tree[key].is_floating_point() else None) for _, tree in trees]
            )
            for key in trees[0][1]
        }
        template = with_counted_dropout(modules[0].to(device=device, dtype=dtype))
        return cls(name, template, parameters, buffers)

    def holding(self, tree: Tree) -> Models:
        """Models of the same architecture with the weights of `tree`, name to (models, ...), which they take over."""
        return Models(
            self.name,
            self.template,
            {key: tree[key] for key in self.parameters},
            {key: tree[key] for key in self.buffers},
        )

    def __len__(self) -> int:
        return next(iter(self.parameters.values())).shape[0]

    def first(self) -> Tree:
        """A copy of the first model's weights, name to (1, ...)."""
        return {name: tensor[:1].clone() for name, tensor in {**self.parameters, **self.buffers}.items()}

    def take_over(self, other: Models, sources: Tensor, continued: Tensor) -> None:
        """Become copies of models of `other`, which has the same architecture.

        Args:
            other: where weights come from.
            sources: the model of `other` that each model copies, shape (models,).
            continued: whether it goes on with that model's optimizer moments or with fresh ones, shape (models,), bool.
        """
        for name in ("parameters", "buffers"):
            for key, tensor in getattr(self, name).items():
                tensor.copy_(getattr(other, name)[key][sources])
        self.moments = {
            phase: {
                key: tensor[sources] * continued.view(-1, *[1] * (tensor.dim() - 1)) for key, tensor in tree.items()
            }
            for phase, tree in other.moments.items()
        }

    def kept_moments(self, name: str, trainable: Sequence[str], slots: Sequence[str]) -> Tree:
        """What `persist` phases left in optimizers under a name, one row per model; zeros at first.

        Args:
            name: of the phase, and of its step where there are several.
            trainable: names of the parameters.
            slots: names of the optimizer's moments.

        Returns:
            The storage itself, with `<slot>:<parameter>` for every moment and `steps:<parameter>` for every counter
            (and those of other parameters that phases of this name trained).
        """
        kept = self.moments.setdefault(name, {})
        for key in trainable:
            parameter = self.parameters[key]
            for slot in slots:
                if f"{slot}:{key}" not in kept:
                    kept[f"{slot}:{key}"] = torch.zeros_like(parameter)
            if f"steps:{key}" not in kept:
                kept[f"steps:{key}"] = torch.zeros(len(self), dtype=torch.float32, device=parameter.device)
        return kept

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes, as tensors in plain dictionaries."""
        return {name: getattr(self, name) for name in ("parameters", "buffers", "moments", "kept")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for tree in ("parameters", "buffers"):
            for key, tensor in getattr(self, tree).items():
                tensor.copy_(state[tree][key])
        self.moments, self.kept = dict(state["moments"]), dict(state["kept"])
