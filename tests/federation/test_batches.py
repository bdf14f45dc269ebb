"""Batches of one fixed size, cut from reshuffled passes joined end to end; what joint phases show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fl_bench.federation.batches import PRIVATE, Batch, Beside, Teaching, Together, positions, steps_of
from fl_bench.streams import numpy_stream

if TYPE_CHECKING:
    from fl_bench.federation.cohort import Cohort


@pytest.mark.parametrize(
    ("epochs", "samples", "batch_size", "steps"),
    [
        (1, 10, 5, 2),  # two batches of 5 are one pass
        (1, 11, 5, 3),  # the third batch has one sample of the first pass and four of the second
        (3, 11, 5, 7),  # 33 / 5 = 6.6; a pass is not rounded up by itself, which would make 9
        (2, 1, 32, 1),  # a batch may be larger than the set, and one batch then serves both passes
        (0, 11, 5, 0),
    ],
)
def test_steps(epochs: int, samples: int, batch_size: int, steps: int) -> None:
    assert steps_of(epochs, samples, batch_size) == steps


@given(
    samples=st.integers(1, 30),
    steps=st.integers(0, 20),
    batch_size=st.integers(1, 40),
    seed=st.integers(0, 2**32),
)
def test_every_pass_shows_every_sample_once(samples: int, steps: int, batch_size: int, seed: int) -> None:
    order = positions(samples, steps, batch_size, np.random.default_rng(seed))
    assert order.shape == (steps, batch_size)
    joined = order.ravel()
    for start in range(0, len(joined), samples):
        seen = joined[start : start + samples]
        assert len(set(seen)) == len(seen)  # a permutation of the set, or the beginning of one at the end
        assert set(seen) <= set(range(samples))


def test_a_pass_ends_within_a_batch() -> None:
    # Three samples in batches of two: samples 0 and 1 of the first pass, then its last and the first of the next.
    stream = numpy_stream(0, "order")
    first, second = stream.permutation(3), stream.permutation(3)
    order = positions(3, 3, 2, numpy_stream(0, "order"))
    assert order.tolist() == [first[:2].tolist(), [first[2], second[0]], second[1:].tolist()]


def test_passes_are_shuffled_anew_and_repeatably() -> None:
    order = positions(20, 3, 20, numpy_stream(4, "order"))
    assert len({tuple(row) for row in order}) == 3
    assert (order == positions(20, 3, 20, numpy_stream(4, "order"))).all()
    assert (order != positions(20, 3, 20, numpy_stream(5, "order"))).any()


def test_more_steps_leave_earlier_ones_as_they_are() -> None:
    assert (positions(7, 9, 3, numpy_stream(1, "order"))[:4] == positions(7, 4, 3, numpy_stream(1, "order"))).all()


def told(data: Any, members: int, classes: int = 3) -> Teaching:
    """The public pool, with soft labels and weights that differ between members."""
    generator = torch.Generator().manual_seed(9)
    samples = len(data.public)
    target = torch.rand(members, samples, classes, generator=generator, dtype=torch.float64).softmax(dim=2)
    weight = torch.rand(members, samples, generator=generator, dtype=torch.float64)
    return Teaching(data.public.inputs(), target, weight)


def shown(cohort: Cohort, on: Any, **options: Any) -> list[list[Batch]]:
    """Each member's batches of a phase."""
    seen: list[Batch] = []

    def look(model: nn.Module, batch: Batch) -> torch.Tensor:
        seen.append(batch)
        return 0 * model(batch.x).sum()

    steps = cohort.fit(look, on=on, **options).steps
    ends = np.cumsum(steps)
    return [seen[end - count : end] for end, count in zip(ends, steps, strict=True)]


def test_beside_private_batches_stand_the_public_ones(make_data, make_cohort, nets) -> None:
    # Clients of 5, 8 and 3 samples take 3, 4 and 2 batches of four in two passes; six public samples wrap after 1.5.
    data = make_data((5, 8, 3))
    public = told(data, 3)
    cohort = make_cohort(data, nets(3), round_index=2)
    joint, plain = shown(cohort, Beside(public), epochs=2), shown(cohort, PRIVATE, epochs=2)
    assert [len(batches) for batches in joint] == [3, 4, 2]
    order = torch.from_numpy(positions(6, 4, 4, numpy_stream(5, "public", 2)))  # the longest; the others are prefixes
    for member in range(3):
        for step, (batch, alone) in enumerate(zip(joint[member], plain[member], strict=True)):
            assert torch.equal(batch.x, alone.x)
            assert torch.equal(batch.y, alone.y)
            assert batch.target is batch.weight is None
            beside = batch.public
            assert beside.y is None
            assert torch.equal(beside.x, public.inputs[order[step]])
            assert torch.equal(beside.target, public.target[member, order[step]])
            assert torch.equal(beside.weight, public.weight[member, order[step]])
            assert alone.public is None
    assert cohort.work.steps == {"local": 18}  # a joint phase is local training, both times


def test_the_public_half_is_that_of_a_public_phase(make_data, make_cohort, nets) -> None:
    # A client of six samples and a pool of six: both phases take three batches in two passes.
    data = make_data((6, 6))
    public, cohort = told(data, 2), make_cohort(data, nets(2))
    joint, alone = shown(cohort, Beside(public), epochs=2), shown(cohort, public, epochs=2)
    for mine, theirs in zip(joint, alone, strict=True):
        assert [batch.public.x.tolist() for batch in mine] == [batch.x.tolist() for batch in theirs]
        assert [batch.public.target.tolist() for batch in mine] == [batch.target.tolist() for batch in theirs]


def test_a_stream_of_its_own_moves_the_private_half_alone(make_data, make_cohort, nets) -> None:
    data = make_data((6,))
    public, cohort = told(data, 1), make_cohort(data, nets(1))
    (usual,), (named,) = shown(cohort, Beside(public)), shown(cohort, Beside(public), stream="joint")
    assert [batch.x.tolist() for batch in usual] != [batch.x.tolist() for batch in named]
    assert [batch.public.x.tolist() for batch in usual] == [batch.public.x.tolist() for batch in named]


def test_noise_and_what_the_method_gave_come_with_joint_batches(make_data, make_cohort, nets) -> None:
    data = make_data((5, 8, 3))
    public, cohort = told(data, 3), make_cohort(data, nets(3))
    for source in (Beside(public), Together(public)):
        found = shown(cohort, source, noise=True, per_client={"mu": torch.tensor([1.0, 2.0, 3.0])})
        for member, batches in enumerate(found):
            assert all(batch.noise.shape == batch.x.shape for batch in batches)
            assert {float(batch.extra["mu"]) for batch in batches} == {member + 1.0}


def test_private_and_public_samples_make_one_set(make_data, make_cohort, nets) -> None:
    # D_i of 5, 8 and 3 samples with six of the pool: 11, 14 and 9 samples, of which three passes show each three times.
    data = make_data((5, 8, 3))
    public, cohort = told(data, 3), make_cohort(data, nets(3), round_index=1)
    found = shown(cohort, Together(public), epochs=3)
    assert [len(batches) for batches in found] == [9, 11, 7]  # ceil(33/4), ceil(42/4), ceil(27/4)
    for member, (batches, rows) in enumerate(zip(found, data.train.split(), strict=True)):
        inputs = torch.cat([data.inputs[rows].double(), public.inputs])
        targets = torch.cat([torch.eye(3, dtype=torch.float64)[data.labels[rows]], public.target[member]])
        weights = torch.cat([torch.ones(len(rows), dtype=torch.float64), public.weight[member]])
        order = positions(len(inputs), len(batches), 4, numpy_stream(5, "together", member, 1))
        for index, batch in zip(torch.from_numpy(order), batches, strict=True):
            assert torch.equal(batch.x, inputs[index])
            assert torch.equal(batch.target, targets[index])
            assert torch.equal(batch.weight, weights[index])
            assert batch.y is batch.public is None
    assert cohort.work.steps == {"local": 27}


def test_together_without_public_samples_is_private_training(make_data, make_cohort, nets) -> None:
    # Before the first consensus the joint set is D_i; batches hold one-hot targets of its labels.
    data = make_data((5, 8, 3))
    nothing = Teaching(data.public.inputs()[:0], torch.empty(3, 0, 3, dtype=torch.float64))
    cohort = make_cohort(data, nets(3))
    for mine, theirs in zip(shown(cohort, Together(nothing), stream="local"), shown(cohort, PRIVATE), strict=True):
        for batch, plain in zip(mine, theirs, strict=True):
            assert torch.equal(batch.x, plain.x)
            assert torch.equal(batch.target, torch.eye(3, dtype=torch.float64)[plain.y])
            assert batch.weight is None


@pytest.mark.parametrize("how", ["online", "frozen"])
@pytest.mark.parametrize("kind", [Beside, Together])
def test_private_images_are_augmented_and_public_ones_are_not(make_data, make_cohort, kind: Any, how: str) -> None:
    # Images of one value each, 0 outside: a shifted private image has an edge of zeros (-1 after scaling), and the
    # value in the middle still says which sample it is. Samples 1..7 are private, 8..13 public, of 255.
    values = torch.arange(1, 1 + 7 + 6 + 1, dtype=torch.uint8)
    inputs = values.view(-1, 1, 1, 1).expand(-1, 1, 6, 6).clone()
    data = make_data(
        (7,), public=6, test=1, validation=0, global_test=0, shape=(1, 6, 6), inputs=inputs, augment="crop"
    )
    public = told(data, 1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 3)).double()
    cohort = make_cohort(data, [net], augment=how)
    (batches,) = shown(cohort, kind(public), epochs=12)
    pictures: dict[int, set[bool]] = {}
    fixed: dict[int, set[tuple[float, ...]]] = {}
    for batch in batches:
        for x in torch.cat([batch.x] if batch.public is None else [batch.x, batch.public.x]):
            value = round((float(x.max()) + 1) / 2 * 255)
            pictures.setdefault(value, set()).add(bool((x == x.max()).all()))
            fixed.setdefault(value, set()).add(tuple(x.flatten().tolist()))
    assert sorted(pictures) == list(range(1, 14))
    for value in range(8, 14):
        assert pictures[value] == {True}  # whole, every time
    assert any(False in pictures[value] for value in range(1, 8))
    versions = [len(fixed[value]) for value in range(1, 8)]
    assert versions == [1] * 7 if how == "frozen" else min(versions) > 1
