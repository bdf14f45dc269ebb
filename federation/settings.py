"""What a run fixes for every method alike: local training, participation and the clients' architectures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from fl_bench.errors import ConfigError
from fl_bench.later import LATER
from fl_bench.limits import BATCH_SIZE, FEATURES
from fl_bench.spaces import Integers, Log, space

from .optimizers import Optimizer

UNSEEN = "unseen"
"""The view of clients that were kept out of training: scored once, after the last round, on their test data alone."""


LOCAL = ("local_epochs", "batch_size", "optimizer", "lr", "momentum", "weight_decay", "clip", "optimizer_state")
"""Settings of `Training` that a method may have values of its own for in a comparison; all others are what a comparison
holds equal."""


@dataclass(frozen=True)
class Training:
    """Rounds and local training (methods.md 1.3). Methods of a comparison share it, but for what a grid's entry gives a
    method of its own, among `LOCAL`."""

    rounds: int = 20
    """Communication rounds T."""
    local_epochs: int = field(default=1, metadata=space(Integers(1, 10, log=True)))
    """Passes over the private data per round, E_loc; ceil(E_loc * n_i / batch_size) steps for client i."""
    batch_size: int = 32
    """Samples per step, in every phase; batches have this size always (passes are joined end to end)."""
    optimizer: Literal["adam", "sgd"] = "adam"
    """Optimizer of local training and, unless a method says otherwise, of distillation."""
    lr: float = field(default=1e-3, metadata=space(Log(1e-4, 1e-1)))
    """Learning rate of local training."""
    momentum: float = 0.0
    """Momentum of `sgd`."""
    weight_decay: float = 0.0
    """L2 penalty added to the gradient (coupled, as in torch's Adam and SGD)."""
    clip: float | None = None
    """Largest gradient norm of one client's local step; none by default."""
    optimizer_state: Literal["reset", "persist"] = "reset"
    """`reset`: a phase starts with fresh moments. `persist`: a client keeps the moments of each kind of phase."""
    participation: float = 1.0
    """Fraction of clients drawn per round, uniformly, max(1, round(fraction * clients)) of them."""
    init: Literal["shared_per_arch", "per_client"] = "shared_per_arch"
    """Whether clients of one architecture start with equal weights; parameter averaging needs that they do."""
    augment: Literal["online", "frozen", "none"] = "online"
    """Crops and flips of private training images, where the data set has a rule for them: drawn afresh for each
    step, once for the whole run, or never."""
    engine: Literal["auto", "loop", "stacked"] = "auto"
    """How a cohort is trained: `loop`, one client after the other; `stacked`, all clients of one architecture at once,
    or as many as memory takes; `auto` stacks on a GPU and small dense nets on a CPU (docs/engines.md). Results agree
    but for rounding."""
    precision: Literal["float32", "float64", "tf32", "bf16"] = "float32"
    """Number format of weights and activations. `tf32`: float32, with a GPU's matrix products and convolutions in
    TensorFloat-32 (on a CPU the same as float32). `bf16`: weights in float32, nets compute in bfloat16. Messages hold
    float32 in both."""
    store: Literal["float32", "float16"] = field(default="float32", metadata=LATER)
    """Format in which predictions on the public pool are kept between rounds, where they wait for clients or the server
    remembers them: half the memory, values rounded to three digits. What is sent, and its bytes, stay the same."""
    views: Literal["all", "deployed"] = field(default="all", metadata=LATER)
    """Which views of a method are scored in every round: each that it has, or the deployed one alone, which it is
    compared by. Every view sends all test samples through a net once more."""
    admission_epochs: int | None = field(default=None, metadata=LATER)
    """Passes over its private data with which a client that was kept out of training (`partition.unseen`) is admitted
    at the end; null: the run's local epochs."""
    risks: bool = field(default=False, metadata=LATER)
    """Whether the record keeps each client's Brier score in every view, to six decimals, beside its accuracy and
    cross-entropy; `fl-bench contraction` needs all three."""

    leakage: bool = field(default=False, metadata=LATER)
    """Whether the messages of the last round are attacked, as a curious server could: class shares and membership of
    training samples (docs/leakage.md). It changes no weight, and costs about as much as a round or two."""

    @property
    def dtype_name(self) -> Literal["float32", "float64"]:
        """Number format of weights and messages."""
        return "float64" if self.precision == "float64" else "float32"

    @property
    def local_optimizer(self) -> Optimizer:
        """The update rule of local training."""
        return Optimizer(self.optimizer, self.lr, self.momentum, self.weight_decay)

    def __post_init__(self) -> None:
        for name in ("rounds", "local_epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"training.{name} must be at least 1, got {getattr(self, name)}")
        if self.batch_size > BATCH_SIZE:
            raise ConfigError(f"training.batch_size must be at most {BATCH_SIZE}, got {self.batch_size}")
        if self.admission_epochs is not None and self.admission_epochs < 1:
            raise ConfigError(f"training.admission_epochs must be at least 1 or null, got {self.admission_epochs}")
        if not 0 < self.lr < float("inf"):
            raise ConfigError(f"training.lr must be above 0 and finite, got {self.lr}")
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"training.momentum must be in [0, 1), got {self.momentum}")
        if self.momentum and self.optimizer != "sgd":
            raise ConfigError(f"training.momentum is a setting of sgd; adam has its own (got momentum={self.momentum})")
        if not self.weight_decay >= 0:
            raise ConfigError(f"training.weight_decay must not be negative, got {self.weight_decay}")
        if self.clip is not None and not self.clip > 0:
            raise ConfigError(f"training.clip must be above 0 or null, got {self.clip}")
        if not 0 < self.participation <= 1:
            raise ConfigError(f"training.participation must be in (0, 1], got {self.participation}")


@dataclass(frozen=True)
class Execution:
    """How a run uses its machine. No setting of a comparison: results differ by rounding at most, and keys do not."""

    threads: int | None = None
    """Clients that the `loop` engine trains side by side on a CPU; changes no bit. None: one, and on the command line
    as many as there are cores for each run."""
    stack: int | None = None
    """Most clients that the `stacked` engine trains at once; None: as many as memory takes."""
    graphs: bool = True
    """Whether the `stacked` engine records steps as CUDA graphs."""
    channels_last: bool | None = None
    """Memory format of images; None: channels last for the `loop` engine on a CPU, where convolutions are faster so."""
    compile: bool = False
    """Whether nets go through `torch.compile`, for the `loop` engine. It takes 10 to 25 seconds per net, and seldom
    pays (docs/engines.md)."""

    def __post_init__(self) -> None:
        for name in ("threads", "stack"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")


@dataclass(frozen=True)
class ModelMix:
    """Which architecture each client has, and the server's where a method has server models."""

    names: tuple[str, ...] = ("mlp-64",)
    """Architectures of the clients."""
    assignment: Literal["balanced", "random"] | tuple[str, ...] = "balanced"
    """`balanced`: round-robin inside each latent group, so that architecture and group are not confounded;
    `random`: every client draws one; or one name per client."""
    server: str | None = None
    """Architecture of server models and of the centralized bound; the first of `names` when not given."""
    width: int | None = None
    """Features between body and head, pooled to so many in every net (adaptive average pooling, as HtFLlib does), so
    that methods which share heads or prototypes run with mixed architectures; null leaves each net its own."""

    def __post_init__(self) -> None:
        if not self.names:
            raise ConfigError("models.names must name at least one architecture")
        if len(set(self.names)) < len(self.names):
            raise ConfigError(f"models.names must not repeat a name, got {', '.join(self.names)}")
        if self.width is not None and not 1 <= self.width <= FEATURES:
            raise ConfigError(f"models.width must be from 1 to {FEATURES} or null, got {self.width}")
        if isinstance(self.assignment, tuple):
            strangers = sorted(set(self.assignment) - set(self.names))
            if strangers:
                raise ConfigError(f"models.assignment uses {', '.join(strangers)}, which models.names does not list")

    @property
    def server_name(self) -> str:
        """The architecture of server models."""
        return self.server or self.names[0]

    @property
    def used(self) -> tuple[str, ...]:
        """The architectures that clients may get."""
        return (
            tuple(sorted(set(self.assignment), key=self.names.index))
            if isinstance(self.assignment, tuple)
            else self.names
        )
