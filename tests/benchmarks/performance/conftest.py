"""The workloads of the performance suite at toy size, on noise."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fl_bench.benchmarks.performance.workloads import W1, W2, W3_COSMOS, W3_FEDMD

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.benchmarks.performance.workloads import Workload

TOY = {
    workload.name: replace(workload, images="noise", clients=3, samples=40, test=90, public=workload.public and 70)
    for workload in (W1, W2, W3_FEDMD, W3_COSMOS)
}


@pytest.fixture
def toy() -> Callable[[str], Workload]:
    """The workload of a name: 3 clients with 40 images, batches of 32, 90 test images, 70 public ones."""
    return TOY.__getitem__
