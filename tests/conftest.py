"""A federation small enough to compute by hand, softmax regression once more in NumPy, and how tests are run."""

from __future__ import annotations

import gc
import json
import math
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from fl_bench.benchmarks.grid import plugins
from fl_bench.benchmarks.grid.executors import EXECUTORS
from fl_bench.datasets.catalogue import DATASETS
from fl_bench.datasets.dataset import Dataset, Description
from fl_bench.datasets.partition import PARTITIONS
from fl_bench.datasets.split import Split
from fl_bench.federation.models import MODELS
from fl_bench.federation.settings import ModelMix, Training
from fl_bench.lazy import np, torch
from fl_bench.methods.registry import METHODS
from fl_bench.sealed import Sealed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from fl_bench.federation.deployed import Deployed
    from fl_bench.federation.run import Run

CLASSES = 3

gc.disable()  # what is imported stays: looking through it again and again would take a tenth of the time


def pytest_configure(config: pytest.Config) -> None:
    """Set what tests run under, unless other processes run them: those start without waiting for torch here."""
    if config.option.numprocesses:
        return
    from hypothesis import settings

    settings.register_profile("no clock", deadline=None)  # a busy machine is no failure of a property
    settings.load_profile("no clock")
    torch.set_num_threads(1)  # as the executor does; two threads of tiny kernels beside a busy neighbour only wait


def pytest_collection_finish() -> None:
    """Collect garbage again, but not among modules, tests and their parameters."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """Let what ends with the process be collected: libraries count what they leak."""
    gc.unfreeze()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Who names files or tests gets them in this process; everything runs in a process per core."""
    return 0 if all(".py" in argument for argument in config.args) else None


@dataclass
class Softmax:
    """f(x) = W x + b with full-batch gradient steps; every gradient is written out."""

    w: np.ndarray
    b: np.ndarray

    def logits(self, x: np.ndarray) -> np.ndarray:
        return x @ self.w.T + self.b

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        return softmax(self.logits(x))

    def descend(self, x: np.ndarray, slope: np.ndarray, lr: float) -> None:
        """One step against the gradient, given dL/dlogits, shape (samples, classes)."""
        self.w, self.b = self.w - lr * slope.T @ x, self.b - lr * slope.sum(axis=0)

    def train(self, x: np.ndarray, y: np.ndarray, lr: float, steps: int = 1) -> None:
        """Cross-entropy, mean over samples: dL/dz = (p - onehot(y)) / n."""
        for _ in range(steps):
            self.descend(x, (self.probabilities(x) - np.eye(CLASSES)[y]) / len(x), lr)

    def distil(self, x: np.ndarray, target: np.ndarray, lr: float, steps: int = 1) -> None:
        """KL(target || p), summed over classes, mean over samples: dL/dz = (p - target) / n."""
        for _ in range(steps):
            self.descend(x, (self.probabilities(x) - target) / len(x), lr)

    def copy(self) -> Softmax:
        return Softmax(self.w.copy(), self.b.copy())


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@dataclass
class World:
    """Two-feature data of both signs: clients' private samples, three public samples, one test sample a client.

    Every set is as large as a batch (three), so that each step sees all of it whatever the order.
    """

    private: list[tuple[np.ndarray, np.ndarray]]
    public: np.ndarray
    start: list[Softmax]
    lr: float = 0.5
    rounds: int = 3
    epochs: int = 2
    model: str = "linear"
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def dataset(self) -> Dataset:
        inputs = np.concatenate([*(x for x, _ in self.private), self.public, np.ones((len(self.private), 2))])
        labels = np.concatenate([*(y for _, y in self.private), [0, 1, 2], np.zeros(len(self.private), dtype=int)])
        about = Description("by hand", CLASSES, (2,), "tabular", "this test", "-", "none")
        train = len(inputs) - len(self.private)
        return Dataset(torch.from_numpy(inputs), torch.from_numpy(labels.astype(np.int64)), train, about)

    @property
    def split(self) -> Split:
        from fl_bench.datasets.heterogeneity import measure

        clients, ends = len(self.private), np.cumsum([len(x) for x, _ in self.private])
        rows = tuple(np.split(np.arange(ends[-1]), ends[:-1]))
        counts = np.stack([np.bincount(y, minlength=CLASSES) for _, y in self.private])
        test = tuple(np.array([ends[-1] + 3 + client]) for client in range(clients))
        empty = tuple(np.empty(0, dtype=np.int64) for _ in range(clients))
        public = ends[-1] + np.arange(3)
        groups = Sealed(np.arange(clients) % 2, "true groups")
        return Split(rows, empty, test, public, np.empty(0, dtype=np.int64), groups, measure(counts), "-")

    def build(self, name: str, **settings: Any) -> Run:
        """The method's run, from `start` where the net is linear; client weights are float64."""
        from fl_bench.federation.run import Run

        method = METHODS[name]
        training = Training(
            rounds=self.rounds,
            local_epochs=self.epochs,
            batch_size=3,
            optimizer="sgd",
            lr=self.lr,
            precision="float64",
            **self.options,
        )
        mix = ModelMix((self.model,))
        run = Run(method(method.config_type(**settings)), self.dataset, self.split, mix, training, seed=0)
        if self.model == "linear":
            self.set_start(run)
        return run

    def run(self, name: str, **settings: Any) -> Run:
        """The same, finished."""
        run = self.build(name, **settings)
        for _ in run.rounds():
            pass
        return run

    def set_start(self, run: Run) -> None:
        from fl_bench.federation.rounds import Round

        everyone = run.client_cohort("linear", range(len(self.start)), Round(0, 0, run.federation))
        everyone.load(
            {
                "head.weight": torch.from_numpy(np.stack([model.w for model in self.start])),
                "head.bias": torch.from_numpy(np.stack([model.b for model in self.start])),
            }
        )
        run.federation.start["linear"] = run.client_models("linear").first()


@pytest.fixture(autouse=True)
def _plugins_end_with_their_test() -> Iterator[None]:
    """What a test registers is gone after it: other tests take every method there is, and some plugins end badly."""
    registries: tuple[Any, ...] = (METHODS, DATASETS, PARTITIONS, MODELS, EXECUTORS)
    before = [set(registry.names()) for registry in registries]
    files = set(plugins._digests)
    yield
    for registry, names in zip(registries, before, strict=True):
        for name in set(registry.names()) - names:
            del registry._entries[name]
    for file in set(plugins._digests) - files:
        plugins._paths.pop(file, None)  # which one that registers nothing has not
        del plugins._digests[file], sys.modules[file]


@pytest.fixture
def world() -> World:
    """Three clients with data and starting weights of both signs."""
    stream = np.random.default_rng(3)
    private = [(stream.normal(size=(3, 2)), np.array(labels)) for labels in ([0, 1, 1], [2, 2, 0], [1, 0, 2])]
    start = [Softmax(stream.normal(size=(CLASSES, 2)), stream.normal(size=CLASSES)) for _ in range(3)]
    return World(private, stream.normal(size=(3, 2)), start)


@pytest.fixture
def weights_of() -> Callable[[Run], list[Softmax]]:
    """Clients' final weights of a run."""

    def read(run: Run) -> list[Softmax]:
        tree = run.client_weights()["linear"]
        return [Softmax(w.numpy(), b.numpy()) for w, b in zip(tree["head.weight"], tree["head.bias"], strict=True)]

    return read


@pytest.fixture
def assert_equal() -> Callable[[list[Softmax], list[Softmax]], None]:
    """Two lists of models agree to 1e-12."""

    def compare(found: list[Softmax], expected: list[Softmax]) -> None:
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one.w, other.w, rtol=0, atol=1e-12)
            np.testing.assert_allclose(one.b, other.b, rtol=0, atol=1e-12)

    return compare


@pytest.fixture
def served() -> Callable[[Deployed], Softmax]:
    """The single model of a view."""

    def read(deployed: Deployed) -> Softmax:
        return Softmax(deployed.weights["head.weight"][0].numpy(), deployed.weights["head.bias"][0].numpy())

    return read


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden", action="store_true", help="write golden numbers anew where a protocol version is new")


Golden = dict[str, Any]
"""`protocol` (part to version), `asked` (what was run), `numbers`: plain values, as they stand in a golden file."""


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Compares what was found with its golden file, or writes the file (`make golden`); see `check_golden`."""

    def check(path: Path, found: Golden, versions: str, *, write: bool = request.config.getoption("--golden")) -> None:
        check_golden(path, found, versions, write=write)

    return check


@pytest.fixture
def numbers_of(sums: Callable[..., dict[str, float]]) -> Callable[[Run], dict[str, Any]]:
    """A handful of numbers that a finished run comes to, for golden files."""

    from fl_bench.methods.contract import finish

    def read(run: Run) -> dict[str, Any]:
        outcome, view = finish(run), run.method.deployed_view
        kept = {key: tensor for key, tensor in outcome.weights.items() if key.startswith("method")}
        losses = [[client[f"{view}.loss"] for client in row["clients"]] for row in outcome.rows]
        moved = {
            way: [sum(row["clients"][client][way] for row in outcome.rows) for client in range(run.data.clients)]
            for way in ("bytes_up", "bytes_down")
        }
        return {
            "accuracy": [row[f"{view}.acc_mean"] for row in outcome.rows],
            "test loss": [float(np.mean(row)) for row in losses],
            "clients' weights": sums(tensor for key, tensor in outcome.weights.items() if key not in kept),
            "kept by the method": sums(kept.values()),
            **moved,
        }

    return read


@pytest.fixture
def coarse_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Initial weights are multiples of 1/256: as torch draws them, machines differ in the last bit of a float32."""

    def coarse(draw: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def drawn(*arguments: Any, **options: Any) -> torch.Tensor:
            with torch.no_grad():
                return draw(*arguments, **options).mul_(256).round_().div_(256)

        return drawn

    # The lazy name, which remembers functions, and the module that it stands for.
    places = ((torch.Tensor, "uniform_"), (torch.Tensor, "normal_"), (torch, "randn"), (sys.modules["torch"], "randn"))
    for owner, name in places:
        monkeypatch.setattr(owner, name, coarse(getattr(owner, name)))


@pytest.fixture
def sums() -> Callable[..., dict[str, float]]:
    """Sum and sum of squares over all entries of some tensors, in float64."""

    def add(tensors: Iterable[torch.Tensor]) -> dict[str, float]:
        wide = [tensor.double() for tensor in tensors]
        return {
            "sum": math.fsum(float(tensor.sum()) for tensor in wide),
            "squares": math.fsum(float(tensor.square().sum()) for tensor in wide),
        }

    return add


def check_golden(path: Path, found: Golden, versions: str, *, write: bool) -> None:
    """Fail where numbers moved and no version was raised, and where the file is of another version.

    Args:
        path: the golden file; its name without suffix is what messages speak of.
        found: what there is now.
        versions: where the versions stand, for who has to raise one.
        write: whether the file is written anew; numbers that moved under an unchanged version never are.
    """
    name = path.stem
    kept: Golden | None = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    if kept is None:
        outdated = "there are no golden numbers"
    elif lower := [part for part, version in found["protocol"].items() if version < kept["protocol"].get(part, 1)]:
        pytest.fail(f"{name}: the version of {', '.join(lower)} is below that of {path.name}; versions only rise")
    elif kept["protocol"] != found["protocol"]:
        outdated = f"the golden numbers are of protocol {kept['protocol']}, the code is at {found['protocol']}"
    elif differing(kept["asked"], found["asked"]):
        outdated = f"the golden numbers are of another run ({', '.join(differing(kept['asked'], found['asked']))})"
    elif moved := differing(kept["numbers"], found["numbers"]):
        pytest.fail(
            f"{name}: numbers moved ({', '.join(moved[:6])}{', ...' if len(moved) > 6 else ''}): "
            f"raise its protocol version ({versions}) and run `make golden`"
        )
    else:
        return
    if not write:
        pytest.fail(f"{name}: {outdated}: run `make golden`")
    path.parent.mkdir(exist_ok=True)
    path.write_text(json_lines(found) + "\n", encoding="utf-8")


def differing(kept: Any, found: Any, place: str = "") -> list[str]:
    """Where plain values differ: accuracies by more than 1e-6, other floats by more than 1e-8 of their size."""
    if isinstance(kept, dict) and isinstance(found, dict):
        names = dict.fromkeys([*kept, *found])
        return [
            where
            for name in names
            for where in differing(kept.get(name), found.get(name), f"{place}.{name}" if place else name)
        ]
    if isinstance(kept, list) and isinstance(found, list) and len(kept) == len(found):
        return [place] if any(differing(*pair, place) for pair in zip(kept, found, strict=True)) else []
    if isinstance(kept, float) and isinstance(found, float):
        nearly = {"abs_tol": 1e-6} if "accuracy" in place else {"rel_tol": 1e-8, "abs_tol": 1e-12}
        return [] if math.isclose(kept, found, **{"rel_tol": 0.0, **nearly}) else [place]
    return [] if type(kept) is type(found) and kept == found else [place]


def json_lines(value: Any, indent: str = "") -> str:
    """JSON with a line per name; lists stay on one line."""
    if isinstance(value, dict) and value:
        inner = indent + " "
        items = [f"{inner}{json.dumps(name)}: {json_lines(part, inner)}" for name, part in value.items()]
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    return json.dumps(value)
