"""Workloads: exactly as many images as they say, whatever the number of clients, classes and public images."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fl_bench.benchmarks.performance.workloads import SIZES, W3_FEDMD, series

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.benchmarks.performance.workloads import Workload


@pytest.mark.parametrize("public", [0, 70, 2000])
@pytest.mark.parametrize("classes", [10, 20])
def test_every_client_has_its_images(toy: Callable[[str], Workload], public: int, classes: int) -> None:
    workload = replace(toy("W1"), clients=4, samples=25, test=100, public=public * classes // 10, classes=classes)
    split = workload.deal().split
    assert [len(rows) for rows in split.train] == [25] * 4
    assert [len(rows) for rows in split.test] == [25] * 4
    assert len(split.public) == workload.public
    assert sum(map(len, split.validation)) == 0


def test_classes_are_balanced_and_as_many_as_asked_for(toy: Callable[[str], Workload]) -> None:
    workload = replace(toy("W1"), clients=4, samples=30, classes=20)
    dataset = workload.deal().dataset
    assert np.bincount(dataset.labels[: dataset.train_size]).tolist() == [6] * 20


def test_published_w3_leaves_the_images_that_it_names() -> None:
    # 8000 training images, a quarter of which are public; 13 340 test images, of each 1334 of a class 334 (rounded
    # up from 333.5) go to the global test set and 1000 to the clients.
    assert W3_FEDMD.share == 0.25
    assert W3_FEDMD.location == "performance:fashion-mnist?train=8000&test=13340&classes=10"


def test_an_image_is_what_its_label_says(toy: Callable[[str], Workload]) -> None:
    # More rows than there are: they repeat, with their labels. Real data only differ in where they come from.
    dataset = replace(toy("W1"), clients=30, samples=100).deal().dataset
    assert bool((dataset.inputs[:1000] == dataset.inputs[1000:2000]).all())
    assert bool((dataset.labels[:1000] == dataset.labels[1000:2000]).all())


def test_images_that_pass_through_a_net(toy: Callable[[str], Workload]) -> None:
    fedavg, fedmd, cosmos = (toy(name) for name in ("W1", "W3 FedMD", "W3 COSMOS"))
    assert fedavg.passes(2) == (2 * 3 * 40, 2 * 90)
    # Round 0 digests nothing: 3 x 70 images once in two rounds; predictions on 3 x 70 images in each.
    assert fedmd.passes(2) == (240 + 210, 180 + 420)
    # 3 clients distil five passes over 70 images in round 1, five servers in both rounds; every image with its noisy
    # copy. Three clients and five servers predict 70 images in both rounds.
    assert cosmos.passes(2) == (240 + 2 * 70 * (3 * 5 + 2 * 5 * 5), 180 + 2 * 70 * 8)
    assert cosmos.passes(1, first=1) == (120 + 2 * 70 * (3 * 5 + 5 * 5), 90 + 70 * 8)


def test_series_grow_in_one_thing() -> None:
    for line in series(SIZES["full"]):
        grown = [getattr(point, line.grows) for point in line.points]
        assert grown == sorted(set(grown))
        assert len(grown) > 3
        fixed = {replace(point, **{line.grows: 10}, samples=1) for point in line.points}
        assert len(fixed) == 1
    assert max(point.clients for line in series(SIZES["full"]) for point in line.points) == 1000
