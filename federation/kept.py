"""Models that outlive a run (federation room): what its clients deploy, as arrays, and the nets made of them again.

`Run` takes them down after the last round; `benchmarks/records/models.py` has their file.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Literal, Protocol

from fl_bench.errors import ConfigError, DataError
from fl_bench.lazy import torch
from fl_bench.limits import FEATURES, PICTURE_PIXELS

from ..datasets.dataset import Modality  # noqa: TC001 - files are read by the annotations
from .models.build import build_net

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from torch import Tensor, nn

    from .deployed import Deployed
    from .factory import Factory
    from .models.net import Net
    from .settings import ModelMix, Training

Made = Literal["client", "server", "method"]
"""What a deployed net is: what `build_client` makes or a part of it, a net of the server's architecture, or what
`Method.deployed_net` makes."""


@dataclass(frozen=True)
class KeptNets:
    """The models that the clients of one architecture deploy."""

    made: Made
    """What they are."""
    part: str
    """The submodule that is deployed of what the client trains; empty for the whole."""
    clients: tuple[int, ...]
    """The clients, ascending."""
    models: tuple[int, ...]
    """Which of the models each of them uses, from 0."""

    def __post_init__(self) -> None:
        if len(self.models) != len(self.clients) or any(number < 0 for number in (*self.clients, *self.models)):
            raise ConfigError(f"{len(self.clients)} clients use {len(self.models)} models")


@dataclass(frozen=True)
class KeptAbout:
    """What is to be known of kept models to build their nets again without data."""

    shape: tuple[int, ...]
    """Of one sample."""
    classes: int
    """Number of logits."""
    modality: Modality
    """Kind of data."""
    vocabulary: int | None
    """Number of different tokens where samples are texts."""
    init_seed: int
    """The seed that initial weights came from."""
    nets: dict[str, KeptNets]
    """By architecture."""

    def __post_init__(self) -> None:
        sides = (*self.shape, self.classes, 1 if self.vocabulary is None else self.vocabulary)
        if not self.shape or min(sides) < 1 or prod(self.shape) > PICTURE_PIXELS or max(sides[-2:]) > FEATURES:
            raise ConfigError(f"samples of shape {self.shape} with {self.classes} classes are no data of ours")

    def of_client(self, client: int) -> tuple[str, int]:
        """The architecture of a client, and which of its models the client uses.

        Raises:
            ConfigError: there is no such client; says which there are.
        """
        for name, nets in self.nets.items():
            if client in nets.clients:
                return name, nets.models[nets.clients.index(client)]
        known = sorted(client for nets in self.nets.values() for client in nets.clients)
        raise ConfigError(f"there is no client {client!r}; this run has the clients {_ranges(known)}")


@dataclass(frozen=True)
class Kept:
    """The models that a run deploys."""

    about: KeptAbout
    weights: dict[str, dict[str, np.ndarray]]
    """By architecture, stacked: name to (models, ...)."""

    def state_dict(self) -> dict[str, Any]:
        """All of it as tensors and plain values, for a checkpoint."""
        weights = {name: _each(tree, torch.from_numpy) for name, tree in self.weights.items()}
        return {"about": asdict(self.about), "weights": weights}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Kept:
        """What `state_dict` returned."""
        about = dict(state["about"])
        about["nets"] = {name: KeptNets(**own) for name, own in about["nets"].items()}
        weights = {name: _each(tree, lambda tensor: tensor.cpu().numpy()) for name, tree in state["weights"].items()}
        return cls(KeptAbout(**about), weights)


class Rebuilt(Protocol):
    """What is needed of a method; `methods.base.Method` is the interface that methods implement."""

    federation: Any

    def build_client(self, base: nn.Module) -> nn.Module: ...  # noqa: D102
    def deployed_net(self, client: nn.Module) -> nn.Module: ...  # noqa: D102


@dataclass(frozen=True)
class Blueprint:
    """What stands for the federation while nets are built again: what `Method.build_client` may ask of one."""

    classes: int
    vocabulary: int | None
    init_seed: int
    training: Training
    shape: tuple[int, ...]
    mix: ModelMix

    def net(self, name: str) -> Net:
        """A net of the zoo, whose weights do not matter."""
        return build_net(name, self.shape, self.classes, width=self.mix.width, vocabulary=self.vocabulary)

    def common_net(self) -> Net:
        """A net of the server's architecture; see `Federation.common_net`."""
        return self.net(self.mix.server_name)


def keep(deployed: Mapping[str, Deployed], factory: Factory) -> Kept:
    """Take down what clients deploy.

    Args:
        deployed: by architecture, a row of `index` for each of its clients in id order.
        factory: where the run's nets come from.
    """
    about, server = factory.data.about, factory.mix.server_name
    nets, weights = {}, {}
    for name, models in deployed.items():
        made, part = _made(models.module, factory.clients[name].template, factory.net(server, "init", server))
        assert models.index is not None  # only oracles have none, and none is deployed
        nets[name] = KeptNets(made, part, tuple(factory.ids_of(name)), models.index)
        weights[name] = {key: tensor.detach().cpu().contiguous().numpy() for key, tensor in models.weights.items()}
    shape = tuple(about.shape)
    return Kept(KeptAbout(shape, about.classes, about.modality, about.vocabulary, factory.seeds.init, nets), weights)


def rebuild(
    about: KeptAbout,
    architecture: str,
    weights: Mapping[str, np.ndarray],
    method: Rebuilt,
    mix: ModelMix,
    training: Training,
) -> nn.Module:
    """A net with kept weights, on the CPU and in evaluation mode; it takes samples as data sets hold them.

    Args:
        about: of the run.
        architecture: which of its architectures.
        weights: of one model, by name.
        method: the run's, configured.
        mix: the run's architectures.
        training: the run's.
    Raises:
        DataError: the method makes a net of other weights; its code has changed.
        ConfigError: a net cannot be built.
    """
    from .models.dropout import with_counted_dropout  # imports torch, which whoever only reads does without
    from .prepared import Prepared

    kept = about.nets[architecture]
    federation = Blueprint(about.classes, about.vocabulary, about.init_seed, training, about.shape, mix)
    if kept.made == "server":
        net: nn.Module = federation.common_net()
    else:
        method.federation = federation
        net = method.build_client(federation.net(architecture))
        net = _part_of(net, kept.part) if kept.made == "client" else method.deployed_net(net)
    net = with_counted_dropout(net.to(getattr(torch, training.dtype_name)))
    state = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    wanted, found = _shapes(state), {name: value.shape for name, value in weights.items()}
    if wanted != found:
        differing = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
        raise DataError(
            f"the method now makes a net whose weights are not those that were kept: {', '.join(differing[:3])} "
            f"{'differs' if len(differing) == 1 else 'differ'}; it was run with other code"
        )
    for name, tensor in state.items():
        tensor.data = torch.from_numpy(weights[name]).to(tensor.dtype)
    return Prepared(net, about.modality).eval()


def _part_of(net: nn.Module, part: str) -> nn.Module:
    try:
        return net.get_submodule(part)
    except AttributeError:
        raise DataError(
            f"the method now makes a net without the part {part!r:.80} that was kept; it was run with other code"
        ) from None


def _made(module: nn.Module, client: nn.Module, server: nn.Module) -> tuple[Made, str]:
    """What a deployed module is, and which part of the client's."""
    for part, own in client.named_modules():
        if own is module:
            return "client", part
    if type(module) is type(server) and _shapes(module.state_dict()) == _shapes(server.state_dict()):
        return "server", ""
    return "method", ""


def _each(tree: Mapping[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    return {name: change(value) for name, value in tree.items()}


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _ranges(numbers: Sequence[int]) -> str:
    """`0-4` for numbers without a gap, else all of them, the first twenty at least."""
    if list(numbers) == list(range(len(numbers))) and numbers:
        return f"0-{len(numbers) - 1}"
    return ", ".join(map(str, numbers[:20])) + (" and more" if len(numbers) > 20 else "")
