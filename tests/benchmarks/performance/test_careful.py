"""The contender careful does what plain does: the same weights where batches leave nothing to chance."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from fl_bench.benchmarks.performance.contenders import careful, lean, plain
from fl_bench.benchmarks.performance.contenders.careful import Careful, Desk
from fl_bench.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fl_bench.benchmarks.performance.workloads import Workload


class Here:
    """A crew without processes: this one does the tasks."""

    def __init__(self, count: int, build: Callable[[Any], object], shared: object) -> None:
        self.built = build(shared)

    def call(self, job: str, tasks: Sequence[tuple[Any, ...]]) -> list[Any]:
        return [getattr(self.built, job)(*task) for task in tasks]

    def close(self) -> None:
        pass


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(careful, "Crew", Here)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model of plain and of careful begins with the same weights."""
    torch.manual_seed(0)
    nets = {name: plain.net(name, 10) for name in ("cnn-small", "mlp-200")}
    for module in (plain, careful):
        monkeypatch.setattr(module, "net", lambda name, classes: copy.deepcopy(nets[name]))


def whole(workload: Workload) -> Workload:
    """With one batch a pass, private or public, and steps that move weights far."""
    return replace(workload, batch_size=90, epochs=2, lr=0.1)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", ["W1", "W2", "W3 FedMD"])
def test_the_same_weights_and_accuracies_as_plain(toy: Callable[[str], Workload], start: None, name: str) -> None:
    workload = whole(toy(name))
    dealt = workload.deal()
    mine, script = Careful(workload, dealt, "cpu", 0), plain.Plain(workload, dealt, "cpu", 0)
    before = mine.shared.weights.clone()
    for _ in range(3):
        # An image of 90 is 1.1 percent, and rounding may move one.
        assert mine.round() == pytest.approx(script.round(), abs=1.2)
        assert mine.steps == script.steps
    assert (mine.shared.weights - before).abs().max() > 1e-2  # what is compared has moved
    theirs = script.script
    models = theirs.models if isinstance(theirs, plain.FedMDScript) else [theirs.model]
    for row, model in zip(mine.shared.weights[-len(models) :], models, strict=True):
        torch.testing.assert_close(row, lean.row_of(model), rtol=0, atol=1e-5)


@pytest.mark.usefixtures("here")
def test_cosmos_clusters_and_teaches_as_plain(toy: Callable[[str], Workload], start: None) -> None:
    # Noise differs, and the weights that it moves differ by less than a fifth of the way that they go: a wrong target,
    # learning rate or loss takes them elsewhere. Ten passes over private data make the clients' predictions differ.
    workload = replace(whole(toy("W3 COSMOS")), epochs=10)
    dealt = workload.deal()
    mine, script = Careful(workload, dealt, "cpu", 0), plain.Plain(workload, dealt, "cpu", 0)
    theirs = script.script
    assert isinstance(theirs, plain.CosmosScript)
    before = mine.shared.weights.clone()
    for _ in range(2):
        assert mine.round() == pytest.approx(script.round(), abs=1.2)
        assert mine.steps == script.steps
        assert mine.assignment == theirs.assignment
        for cluster, server in enumerate(theirs.servers):
            row = workload.clients + cluster
            way, other = mine.shared.weights[row] - before[row], lean.row_of(server) - before[row]
            assert float((way - other).norm()) < 0.2 * float(other.norm())
        assert theirs.feedback is not None
        taught = mine.shared.targets[: len(theirs.feedback)]
        torch.testing.assert_close(taught, theirs.feedback, rtol=0, atol=2e-4)
    for row, model in zip(mine.shared.weights[:3], theirs.models, strict=True):
        torch.testing.assert_close(row, lean.row_of(model), rtol=0, atol=1e-4)


@pytest.mark.parametrize("row", [0, 3], ids=["client", "server"])
def test_distilling_takes_plains_steps(toy: Callable[[str], Workload], start: None, row: int) -> None:
    # The same noise and the same order of images. Weights times 4 make nets so sure that gradients are clipped, and
    # that what noise does to the outputs counts.
    workload = whole(toy("W3 COSMOS"))
    shared = careful.shared_memory(workload, workload.deal(), 0)
    shared.weights.mul_(4)
    shared.targets[2] = torch.rand(70, 10, generator=torch.Generator().manual_seed(1)).softmax(dim=1)
    desk = Desk(shared)
    model = plain.net(workload.model, 10)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 4
    before, batches = shared.weights[row].clone(), desk.public_batches(2, 0, epochs=5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    desk.draws[row].manual_seed(7)
    torch.manual_seed(7)
    norms = []
    for images, target in batches:
        optimizer.zero_grad()
        plain.consistent(model, images, target).backward()  # type: ignore[no-untyped-call]  # torch's
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)))
        optimizer.step()
    assert max(norms) > 1.0
    assert desk.distill(row, 2, 0, 0.1) == len(batches)
    moved = float((shared.weights[row] - before).norm())
    assert float((shared.weights[row] - lean.row_of(model)).norm()) < 1e-3 * moved


def test_public_batches_are_passes_joined_end_to_end(toy: Callable[[str], Workload]) -> None:
    # Three passes over 70 images in batches of 32 are ceil(210 / 32) = 7 batches, the last one of 18; a round has an
    # order of its own, and rows of the target go with their images.
    shared = careful.shared_memory(toy("W3 COSMOS"), toy("W3 COSMOS").deal(), 0)
    shared.targets[1, :, 0] = torch.arange(70)
    desk = Desk(shared)
    batches = desk.public_batches(1, 4, epochs=3)
    assert [len(images) for images, _ in batches] == [32] * 6 + [18]
    rows = torch.cat([target[:, 0] for _, target in batches]).long()
    assert all(sorted(one.tolist()) == list(range(70)) for one in rows.split(70))
    assert torch.equal(torch.cat([images for images, _ in batches]), shared.pool[rows])
    other = desk.public_batches(1, 5, epochs=3)
    assert not torch.equal(rows, torch.cat([target[:, 0] for _, target in other]).long())


def test_a_gradient_that_is_too_long_is_shortened() -> None:
    # d/dw (3 w1 + 4 w2) = (3, 4) has norm 5; clipped to 1 and times 0.5, the step is (0.3, 0.4). In two parameters.
    weights = [torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)]
    lean.descend(weights, (3 * weights[0] + 4 * weights[1]).sum(), 0.5, clip=1.0)
    assert [weight.item() for weight in weights] == pytest.approx([-0.3, -0.4], abs=1e-5)
    lean.descend(weights, (3 * weights[0] + 4 * weights[1]).sum(), 0.5, clip=10.0)
    assert [weight.item() for weight in weights] == pytest.approx([-1.8, -2.4], abs=1e-5)


@pytest.mark.parametrize("name", ["cnn-small", "mlp-200"])
def test_nets_on_rows_are_plains(name: str) -> None:
    model = plain.net(name, 10)
    weights = lean.leaves(lean.row_of(model), [parameter.shape for parameter in model.parameters()])
    images = torch.randn(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        seen = images.flatten(1) if name == "mlp-200" else images
        torch.testing.assert_close(lean.forward(weights, seen), model(images))


def test_a_gpu_is_refused(toy: Callable[[str], Workload]) -> None:
    with pytest.raises(ConfigError, match="not for the device cuda"):
        Careful(toy("W2"), toy("W2").deal(), "cuda", 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["W1", "W2", "W3 FedMD", "W3 COSMOS"])
def test_processes_change_nothing(toy: Callable[[str], Workload], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    workload = replace(toy(name), epochs=2)
    dealt = workload.deal()
    monkeypatch.setattr(careful, "available_cores", lambda: 2)
    apart = Careful(workload, dealt, "cpu", 0)
    try:
        found = [(apart.round(), apart.steps) for _ in range(2)]
    finally:
        apart.close()
    monkeypatch.setattr(careful, "Crew", Here)
    here = Careful(workload, dealt, "cpu", 0)
    assert [(here.round(), here.steps) for _ in range(2)] == found
    torch.testing.assert_close(apart.shared.weights, here.shared.weights, rtol=0, atol=1e-5)
