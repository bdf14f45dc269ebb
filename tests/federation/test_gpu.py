"""On a GPU: the stacked engine comes to what the CPU comes to, repeats itself bit by bit and waits for nothing."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fl_bench.federation import memory
from fl_bench.federation.batches import PRIVATE, Batch, Beside, Teaching, Together
from fl_bench.federation.cohort import Cohort
from fl_bench.federation.data import FederatedData
from fl_bench.federation.evaluation import evaluate
from fl_bench.federation.members import Members
from fl_bench.federation.models import build_net
from fl_bench.federation.optimizers import Optimizer
from fl_bench.federation.phase import Step
from fl_bench.federation.precision import gpu_arithmetic
from fl_bench.federation.run import Run
from fl_bench.federation.settings import Execution, ModelMix, Training
from fl_bench.federation.storage import Models
from fl_bench.federation.work import WorkLog
from fl_bench.methods.registry import METHODS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")

SIZES = (50, 90, 30, 90, 7)
"""Samples of the clients; in batches of four and two passes 25, 45, 15, 45 and 4 batches: two graphs and a rest."""


def cross_entropy(model: nn.Module, batch: Batch) -> torch.Tensor:
    assert batch.y is not None
    return F.cross_entropy(model(batch.x), batch.y)


def taught(model: nn.Module, batch: Batch) -> torch.Tensor:
    assert batch.target is not None
    return F.cross_entropy(model(batch.x), batch.target)


def beside(model: nn.Module, batch: Batch) -> torch.Tensor:
    assert batch.public is not None
    return cross_entropy(model, batch) + 0.5 * taught(model, batch.public)


def noisy(model: nn.Module, batch: Batch) -> torch.Tensor:
    assert batch.noise is not None
    return (model(batch.x) - model(batch.x + 0.1 * batch.noise)).square().mean() + taught(model, batch)


def cohort(
    deal: Any,
    device: str,
    name: str = "mlp-6",
    shape: tuple[int, ...] = (4,),
    *,
    middle: Sequence[nn.Module] = (),
    execution: Execution | None = None,
    augment: str = "none",
    **training: Any,
) -> Cohort:
    inputs = None
    if len(shape) == 3:
        generator = torch.Generator().manual_seed(1)
        rows = sum(SIZES) + 6 * len(SIZES) + 43
        inputs = torch.randint(0, 256, (rows, *shape), generator=generator, dtype=torch.uint8)
    made = FederatedData(
        *deal(SIZES, public=40, shape=shape, inputs=inputs, augment=augment), torch.device(device), torch.float64
    )
    nets: list[nn.Module] = [build_net(name, shape, 3, key=key) for key in range(len(SIZES))]
    if middle:
        for net in nets:
            net.body.extend(middle)  # type: ignore[operator]
    ids = tuple(range(len(SIZES)))
    defaults = {"batch_size": 4, "lr": 0.01, "optimizer": "adam", "precision": "float64", "local_epochs": 2}
    members = Members(
        Models.stacked("nets", nets, torch.device(device), torch.float64),
        ids=ids,
        rows=ids,
        keys=ids,
        private_rows=made.train.split(),
        data=made,
        training=Training(**{**defaults, **training}),
        execution=Execution() if execution is None else execution,
        seed=5,
    )
    return Cohort(members, WorkLog(), made.label_counts)


def told(members: Cohort) -> Teaching:
    inputs = members.members.data.public.inputs()
    generator = torch.Generator().manual_seed(3)
    target = torch.randn(len(members), len(inputs), 3, generator=generator, dtype=torch.float64).softmax(dim=2)
    return Teaching(inputs, target.to(inputs.device))


PHASES: dict[str, Any] = {
    "private": lambda members: {"objective": cross_entropy},
    "clipped": lambda members: {"objective": cross_entropy, "clip": 0.1},
    "public": lambda members: {"objective": taught, "on": told(members)},
    "noisy": lambda members: {"objective": noisy, "on": told(members), "noise": True},
    "beside": lambda members: {"objective": beside, "on": Beside(told(members))},
    "together": lambda members: {"objective": taught, "on": Together(told(members))},
    "steps": lambda members: {
        "objective": [
            Step(cross_entropy, lambda name: name.startswith("head.")),
            Step(cross_entropy, repeat=2, within={"head.bias": (-0.1, 0.1)}),
            Step(cross_entropy, batches=2),
        ],
    },
    "masked": lambda members: {
        "objective": cross_entropy,
        "entries": {
            name: torch.arange(tensor.numel(), device=tensor.device).view_as(tensor) % 2 == 0
            for name, tensor in members.parameters.items()
        },
    },
    "cosine": lambda members: {
        "objective": taught,
        "on": told(members),
        "optimizer": Optimizer("adam", 0.01, schedule="cosine"),
    },
}


@contextmanager
def no_waiting() -> Iterator[None]:
    """Inside, whatever waits for the device raises."""
    torch.cuda.synchronize()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch says that the mode is a prototype
            torch.cuda.set_sync_debug_mode("error")
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def assert_alike(found: Cohort, expected: Cohort, atol: float = 1e-9) -> None:
    for name, tensor in expected.weights.items():
        torch.testing.assert_close(found.weights[name].cpu(), tensor.cpu(), rtol=0, atol=atol)
    for phase, tree in expected.members.models.moments.items():
        for name, tensor in tree.items():
            torch.testing.assert_close(found.members.models.moments[phase][name].cpu(), tensor.cpu(), rtol=0, atol=atol)


@pytest.mark.parametrize("state", ["reset", "persist"])
@pytest.mark.parametrize("phase", PHASES)
def test_a_phase_comes_to_what_the_loop_on_a_cpu_comes_to(deal: Any, phase: str, state: str) -> None:
    looped = cohort(deal, "cpu", engine="loop", optimizer_state=state)
    stacked = cohort(deal, "cuda", optimizer_state=state)
    for index in (0, 1):
        expected, found = (members.at(index).fit(**PHASES[phase](members)) for members in (looped, stacked))
        assert found.steps == expected.steps
        torch.testing.assert_close(found.loss.cpu(), expected.loss, rtol=0, atol=1e-9)
        assert_alike(stacked, looped)


@pytest.mark.parametrize("name", ["linear", "lenet5", "cnn-small", "resnet8", "resnet8-bn"])
def test_nets_come_to_the_same(deal: Any, name: str) -> None:
    options: Any = {"name": name, "shape": (2, 16, 16), "augment": "crop-flip", "optimizer": "sgd", "momentum": 0.9}
    looped, stacked = cohort(deal, "cpu", engine="loop", **options), cohort(deal, "cuda", **options)
    for members in (looped, stacked):
        members.fit(cross_entropy)
    assert_alike(stacked, looped, atol=1e-7)  # 45 steps with momentum magnify the rounding of convolutions
    rows = stacked.members.data.test.split()
    found = evaluate(stacked.deployed(), stacked.members.data, rows)
    expected = evaluate(looped.deployed(), looped.members.data, looped.members.data.test.split())
    assert found.loss == pytest.approx(expected.loss, abs=1e-6)
    public = looped.members.data.public.inputs()
    torch.testing.assert_close(stacked.predict(public.cuda()).cpu(), looped.predict(public), rtol=0, atol=1e-6)


@pytest.mark.parametrize("options", [{"engine": "loop"}, {"execution": Execution(graphs=False)}, {}], ids=str)
def test_dropout_drops_the_same_with_every_engine(deal: Any, options: dict[str, Any]) -> None:
    middle = [nn.Dropout(0.5), nn.BatchNorm1d(6)]
    looped, found = cohort(deal, "cpu", engine="loop", middle=middle), cohort(deal, "cuda", middle=middle, **options)
    for members in (looped, found):
        members.fit(cross_entropy)
    assert_alike(found, looped)


@pytest.mark.parametrize("phase", [name for name in PHASES if name != "cosine"])
def test_nothing_in_a_phase_waits_for_the_device(deal: Any, phase: str) -> None:
    members = cohort(deal, "cuda")
    arguments = PHASES[phase](members)
    members.fit(**arguments)  # libraries are set up at the first call
    with no_waiting():
        members.at(1).fit(**arguments)


@pytest.mark.parametrize("engine", ["loop", "stacked"])
def test_the_same_seed_has_the_same_bits(deal: Any, engine: str) -> None:
    first, second = (cohort(deal, "cuda", "cnn-small", (1, 8, 8), engine=engine) for _ in "ab")
    for members in (first, second):
        with gpu_arithmetic(members.training, members.members.data.device):
            members.fit(cross_entropy)
            members.fit(taught, on=told(members))
    for name, tensor in first.weights.items():
        assert torch.equal(second.weights[name], tensor)


def test_a_cohort_that_does_not_fit_is_trained_in_chunks(deal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, chunks, halves = (cohort(deal, "cuda", execution=Execution(stack=n)) for n in (None, 2, None))
    monkeypatch.setattr(memory, "SHARE", 100.0)  # no estimate stands in the way of running out of memory
    tried: list[int] = []

    def greedy(model: nn.Module, batch: Batch) -> torch.Tensor:
        active = torch._C._functorch.get_unwrapped(batch.x).shape[0]
        tried.append(active)
        if active > 2:
            torch.empty(2**44, device="cuda", dtype=torch.uint8)
        return cross_entropy(model, batch)

    whole.fit(cross_entropy)
    chunks.fit(cross_entropy)
    halves.fit(greedy)
    assert tried[0] == 5
    assert_alike(chunks, whole)
    assert_alike(halves, whole)


def test_an_objective_that_looks_at_its_numbers_is_not_recorded(deal: Any) -> None:
    def looks(model: nn.Module, batch: Batch) -> torch.Tensor:
        torch.ones(1, device="cuda").item()
        return cross_entropy(model, batch)

    plain, looking = cohort(deal, "cuda"), cohort(deal, "cuda")
    plain.fit(cross_entropy)
    looking.fit(looks)
    plain.fit(cross_entropy)
    looking.fit(cross_entropy)
    assert_alike(looking, plain)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_lower_precision_is_near(deal: Any, precision: str) -> None:
    exact, rough = (cohort(deal, "cuda", precision=number) for number in ("float32", precision))
    for members in (exact, rough):
        with gpu_arithmetic(members.training, members.members.data.device):
            members.fit(cross_entropy, on=PRIVATE)
    assert_alike(rough, exact, atol=0.05)


@pytest.mark.parametrize("method", ["fedavg", "fedmd", "cosmos", "ifca", "ktpfl", "fedproto", "pfedhn", "fedselect"])
def test_methods_learn_what_they_learn_on_a_cpu(deal: Any, method: str) -> None:
    dataset, split = deal((20, 30, 25, 10), public=16, test=30, groups=(0, 0, 1, 1))
    training = Training(rounds=3, batch_size=8, precision="float64", engine="stacked", optimizer="sgd", lr=0.05)
    found, expected = (
        list(Run(METHODS[method](), dataset, split, ModelMix(("mlp-6",)), training, seed=0, device=device).rounds())
        for device in ("cuda", "cpu")
    )
    for row, other in zip(found, expected, strict=True):
        for name, value in other.values.items():
            if not name.startswith("seconds_"):
                assert row.values[name] == pytest.approx(value, abs=1e-6), name
