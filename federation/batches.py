"""Batches of one fixed size: reshuffled passes over a set, joined end to end and cut (federation room)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from fl_bench.lazy import np

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Batch:
    """What an objective is given: one client's batch of one step."""

    x: Tensor
    """Network inputs, shape (batch, *shape)."""
    y: Tensor | None = None
    """Private labels, shape (batch,); None on public samples, whose labels are sealed."""
    target: Tensor | None = None
    """What this client was told about these samples, shape (batch, classes) or (batch,)."""
    weight: Tensor | None = None
    """Weight of each sample, shape (batch,)."""
    noise: Tensor | None = None
    """Standard normal numbers, where the phase asked for them: of the shape of `x`, or shape (batch, *asked for)."""
    public: Batch | None = None
    """The public batch of the same step, where the phase trains on `Beside`."""
    second: Batch | None = None
    """Another private batch of the same step, where the phase trains on `Pairs`."""
    masks: Tensor | None = None
    """Key of the stream that the net's dropout masks come from, where it has dropout; the engine reads it."""
    extra: dict[str, Any] = field(default_factory=dict)
    """This client's rows of what `fit(per_client=...)` was given: an anchor, class weights, ..."""


@dataclass(frozen=True)
class PrivateData:
    """Private samples of every member of a cohort: what LOCAL trains on."""

    target: Tensor | None = None
    """What each member was told about its own samples, in the order of `Cohort.predict_private`: shape (members, most
    samples of a member, ...). An objective finds it in `Batch.target`, beside the labels."""
    stream: ClassVar[str] = "local"
    work: ClassVar[Literal["local"]] = "local"


PRIVATE = PrivateData()


@dataclass(frozen=True)
class Teaching:
    """Public samples, in one order for every member, and what each member is told about them.

    Its steps count as distillation, or as the server's where server models train.
    """

    inputs: Tensor
    """Network inputs, shape (samples, *shape); shared by all members."""
    target: Tensor
    """Shape (members, samples, ...) with a row per member (an expanded axis costs nothing)."""
    weight: Tensor | None = None
    """Weight of each sample for each member, shape (members, samples); equal when None."""
    stream: ClassVar[str] = "public"
    work: ClassVar[Literal["distill"]] = "distill"


@dataclass(frozen=True)
class Pairs:
    """Private batches in twos, the second in `Batch.second`: steps that look at two batches (Per-FedAvg).

    The first batches are those of a phase on `PRIVATE`; the second are drawn from the same samples in an order of their
    own. Epochs count the first.
    """

    stream: ClassVar[str] = "local"
    work: ClassVar[Literal["local"]] = "local"


@dataclass(frozen=True)
class Beside:
    """Private batches, each with a public batch at its side in `Batch.public`: joint objectives (COMET)."""

    public: Teaching
    """The public samples; their order is that of a phase on them alone."""
    stream: ClassVar[str] = "local"
    work: ClassVar[Literal["local"]] = "local"


@dataclass(frozen=True)
class Together:
    """Private and taught public samples shuffled into one set, D_i with U (FedCT, Cronus).

    Batches have no `y`: `target` holds probabilities of both kinds, one-hot for private samples. Where the public
    samples have weights, private ones weigh 1. There may be no public samples yet: the set is then D_i. Steps count
    as local ones.
    """

    public: Teaching
    """The public samples and, as probabilities of shape (members, samples, classes), what members were told."""
    stream: ClassVar[str] = "together"
    work: ClassVar[Literal["local"]] = "local"


Source: TypeAlias = "PrivateData | Pairs | Teaching | Beside | Together"
"""What a phase trains on."""


def steps_of(epochs: int, samples: int, batch_size: int) -> int:
    """Steps of `epochs` passes over `samples`: ceil(epochs * samples / batch_size)."""
    return -(-epochs * samples // batch_size)


def positions(samples: int, steps: int, batch_size: int, stream: np.random.Generator) -> np.ndarray:
    """Positions in a set of `samples`, shape (steps, batch_size): reshuffled passes joined end to end."""
    wanted = steps * batch_size
    passes = [stream.permutation(samples) for _ in range(-(-wanted // samples))] if wanted else []
    joined = np.concatenate(passes) if passes else np.empty(0, dtype=np.int64)
    return joined[:wanted].reshape(steps, batch_size)
